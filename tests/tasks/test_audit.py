"""task=audit through run.py on a machine without torch."""

import json
from pathlib import Path

import pytest
from without_torch import run


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(start: int, n: int) -> list[dict[str, object]]:
    return [
        {
            "id": f"r{i}",
            "query": f"What is {i} plus {i}?",
            "response": [f"It is {2 * i}.", "I do not know"],
            "human_ranking": [i % 2, 1 - i % 2],
        }
        for i in range(start, start + n)
    ]


def test_a_file_is_audited_against_another(tmp_path):
    mine = write(tmp_path / "mine.jsonl", [*rows(0, 120), {"query": "no answers"}])
    bench = write(tmp_path / "bench.jsonl", rows(100, 40))
    out = tmp_path / "out"
    done = run(
        "task=audit",
        "data/source=jsonl",
        f"data.source.path={mine}",
        "data/source@against=jsonl",
        f"against.path={bench}",
        f"hydra.run.dir={out}",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data audit: ") and f"report: {out}/report.html" in done.stdout
    found = json.loads((out / "audit.json").read_text())
    assert sum(count for count, _ in found["left_out"].values()) == 1
    shared = [v["same"] for name, v in found["overlap"].items() if name.endswith("-> bench")]
    assert sum(shared) == 20
    assert "some are shared with" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data/source=jsonl",), "path"),
        (("data/source=nothing",), "nothing"),
        (("data.source.train_records=3",), "even"),
        (("max_records=many",), "max_records"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    done = run("task=audit", *arguments, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
