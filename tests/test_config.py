"""Every yaml composes, every `_target_` can be called with what its yaml gives it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from mmreward.config import CONF, _targets, allowed_targets, build, check_keys, load_run_config
from mmreward.errors import UserError

OPTIONS = sorted(
    path.relative_to(CONF).with_suffix("")
    for path in CONF.rglob("*.yaml")
    if path.parent != CONF and path.parts[len(CONF.parts)] != "hydra"
)
# What the command line must give besides the option's name.
NEEDED = {
    "task/evaluate": ["run=somewhere"],
    "task/score": ["run=somewhere", "input=a.jsonl", "output=b.jsonl"],
    "task/sync": ["run=somewhere"],
    "model/backbone/hf": ["model.backbone.path=somewhere"],
}


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def compose_with(option: Path) -> DictConfig:
    group, name = option.parent.as_posix(), option.name
    plus = "+" if group == "sweep" else ""  # the one group that no configuration has by default
    return config(f"{plus}{group}={name}", *NEEDED.get(option.as_posix(), []))


def bind(node: DictConfig, key: str) -> int:
    """Binds the arguments of every `_target_` in the node; how many there were."""
    count = 0
    for where, child in _targets(node, key):
        target = get_object(child["_target_"])
        arguments = {n: child[n] for n in child if not str(n).startswith("_")}
        signature = inspect.signature(target)
        complete = not child.get("_partial_") and where not in ("trainer", "task")
        try:
            (signature.bind if complete else signature.bind_partial)(**arguments)
        except TypeError as error:
            # A callback's folder is known only when it is built.
            if "dirpath" not in signature.parameters:
                pytest.fail(f"{where}: {error}")
        count += 1
    return count


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_binds(option: Path) -> None:
    cfg = compose_with(option)
    assert not OmegaConf.missing_keys(cfg)
    plain = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(plain, DictConfig)
    assert sum(bind(node, str(key)) for key, node in plain.items() if node is not None) >= 1


def test_the_options_were_found() -> None:
    groups = {option.parent.as_posix() for option in OPTIONS}
    assert len(OPTIONS) >= 25
    assert {"task", "model", "model/backbone", "loss", "data/source", "trainer"} <= groups


def test_every_model_brings_its_loss_and_the_command_line_wins() -> None:
    for path in (CONF / "model").glob("*.yaml"):
        entries = yaml.safe_load(path.read_text())["defaults"]
        (own,) = [e["/loss@_global_.loss"] for e in entries if "/loss@_global_.loss" in e]
        targets = {
            name: yaml.safe_load((CONF / "loss" / f"{name}.yaml").read_text())["_target_"]
            for name in (own, "bradley_terry")
        }
        assert config(f"model={path.stem}").loss._target_ == targets[own]
        chosen = config(f"model={path.stem}", "loss=bradley_terry")
        assert chosen.loss._target_ == targets["bradley_terry"]


def test_nested_choices_compose() -> None:
    cfg = config("model=base", "model/backbone=tiny_gpt2", "model.backbone.layers=2")
    assert cfg.model.backbone._target_.endswith("tiny_gpt2")
    assert cfg.model.backbone.layers == 2


@pytest.mark.parametrize("extra", ["model=base", "+model=base", "loss=bradley_terry", "seed=1"])
def test_an_evaluation_takes_no_model_that_could_disagree(extra: str) -> None:
    with pytest.raises(HydraException):
        config("task=evaluate", "run=x", extra)


def test_a_top_level_key_that_was_added_is_refused() -> None:
    check_keys(config())
    with pytest.raises(UserError, match="nonsense is not a key of this task"):
        check_keys(config("+nonsense=1"))


@pytest.mark.parametrize("override", ["seed=abc", "nonsense=1", "loss=contrastiv"])
def test_unknown_keys_options_and_wrong_types_are_refused(override: str) -> None:
    with pytest.raises(HydraException):
        config(override)


class TestBuild:
    def test_only_exact_names_that_conf_lists(self) -> None:
        assert "torch.optim.AdamW" in allowed_targets()
        for name in ("torch.load", "torch.optim.SGD", "os.system", "mmreward.config.os.system"):
            with pytest.raises(UserError, match="not one of the classes"):
                build(OmegaConf.create({"_target_": name}), "model")

    def test_nested_nodes_too(self) -> None:
        node = OmegaConf.create({**config().loss, "centring": [{"_target_": "os.getcwd"}]})
        with pytest.raises(UserError, match=r"loss\.centring\[0\]\._target_=os\.getcwd"):
            build(node, "loss")

    def test_an_unknown_argument_names_the_key_and_the_nearest(self) -> None:
        node = {**config().loss, "label_smothing": 0.1}
        with pytest.raises(UserError, match=r"did you mean loss\.label_smoothing\?"):
            build(OmegaConf.create(node), "loss")

    def test_a_wrong_type_names_the_key(self) -> None:
        node = {**config().loss, "centring": "much"}
        with pytest.raises(UserError, match=r"loss\.centring='much'"):
            build(OmegaConf.create(node), "loss")

    def test_what_the_target_refuses_is_said_with_the_key(self) -> None:
        node = {**config().loss, "centring": -1.0}
        with pytest.raises(UserError, match=r"loss.*centring=-1\.0 must not be negative"):
            build(OmegaConf.create(node), "loss")

    def test_nothing_gives_nothing(self) -> None:
        assert build(None, "early_stopping") is None


def test_help_says_what_a_model_is_made_of() -> None:
    header = OmegaConf.load(CONF / "config.yaml").hydra.help.header
    rows = [line.split() for line in header.splitlines() if line.startswith("  model=")]
    models = {path.stem for path in (CONF / "model").glob("*.yaml")} - {"base", "text"}
    assert {row[0] for row in rows} == {f"model={name}" for name in models}
    for whole, *parts in rows:
        assert len(parts) > 1 and config(whole) == config(*parts), whole


def test_a_strangers_config_is_read_without_resolving_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "swordfish")
    (tmp_path / "config.yaml").write_text("seed: ${oc.env:SECRET}\n")
    with pytest.raises(UserError, match="interpolation") as error:
        load_run_config(tmp_path)
    assert "swordfish" not in str(error.value)


def test_what_older_runs_say_twice_is_forgotten(tmp_path: Path) -> None:
    """A source had data.images too; a backbone's argument of that name would be another matter."""
    source = {"_target_": "mmreward.data.sources.jsonl.Jsonl", "path": "a", "images": "keep"}
    mix = {"_target_": "mmreward.data.sources.mix.Mix", "sources": {"a": source, "b": source}}
    other = {"_target_": "mmreward.benchmarks.mmrb2.MMRB2", "images": "drop"}
    saved = {"data": {"source": mix, "images": "keep"}, "benchmark": {"mmrb2": other}}
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(saved))
    cfg = load_run_config(tmp_path)[1]
    assert [list(one) for one in cfg.data.source.sources.values()] == [["_target_", "path"]] * 2
    assert (cfg.data.images, cfg.benchmark.mmrb2.images) == ("keep", "drop")
