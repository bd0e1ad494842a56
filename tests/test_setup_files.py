"""pyproject.toml, constraints.txt, environment.yml, Makefile and .ci/run say the same thing."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
PINS = {canonicalize_name(n): Version(v) for n, v in (line.split("==") for line in LINES)}
DECLARED = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]


def test_constraints_are_names_and_public_versions_each_once() -> None:
    for line in LINES:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*", line), line
    assert len(PINS) == len(LINES)


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda r: r.name)
def test_every_declared_dependency_has_a_pin_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier, f"{requirement.name} has no range"
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


def test_dependencies_of_dependencies_are_pinned_too() -> None:
    """Follows what is installed, so that no version is left to the day of the installation."""
    waiting, seen, unpinned = list(DECLARED), set(), []
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        step = (name, frozenset(requirement.extras))
        if step in seen:
            continue
        seen.add(step)
        if name not in PINS:
            unpinned.append(name)
        if name == "torch":  # brings and pins its CUDA libraries, other ones on every platform
            continue
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # an extra that is not installed here
            continue
        for need in needs:
            extras = requirement.extras or {""}
            if need.marker is None or any(need.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(need)
    assert not unpinned
    assert len(seen) > 2 * len(DECLARED)  # it did follow


def test_conda_installs_the_same_as_make() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["name"] == PROJECT["name"]
    assert sorted(pip) == ["-c constraints.txt", "-e .[dev]"]

    python = next(entry for entry in conda if entry.startswith("python="))
    assert Version(python.removeprefix("python=")) in SpecifierSet(PROJECT["requires-python"])
    assert {entry.split("=")[0] for entry in conda} == {"python", "pip"}  # the rest is pinned

    setup = dry_run("setup")
    assert '-c constraints.txt -e ".[dev]"' in setup


def test_ci_runs_what_the_readme_tells_to_run() -> None:
    steps = (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^make test$", steps, re.MULTILINE)
    assert re.search(r"^make test-slow$", steps, re.MULTILINE)
    assert re.search(r"^make check$", steps, re.MULTILINE)
    fast, slow, long = (dry_run(target) for target in ("test", "test-slow", "test-long"))
    assert '-m "not slow and not long"' in fast
    assert '-m "slow and not long"' in slow
    assert "-m long" in long
    for line in (fast + slow + long).splitlines():
        if "pytest" in line:
            assert "tests/" not in line, "a listed folder would leave new tests out"


def dry_run(target: str) -> str:
    """What `make <target>` would do on a fresh checkout."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    "file", ["pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run"]
)
def test_no_setup_file_names_a_host(file: str) -> None:
    text = (ROOT / file).read_text()
    assert not re.search(r"https?://|git\+|--(extra-)?index-url|--find-links", text)
