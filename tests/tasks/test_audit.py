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


def test_a_file_is_audited_against_benchmarks(tmp_path):
    """One that it leaks into, one that it does not, and any file of the user's."""
    mine = write(tmp_path / "mine.jsonl", [*rows(0, 120), {"query": "no answers"}])
    theirs = write(tmp_path / "theirs.jsonl", rows(100, 40))
    leaked = write(
        tmp_path / "vlrb.jsonl",
        [
            {
                "id": f"wildvision-{i}",
                "prompt": f"What is {i} plus {i}?",
                "chosen": f"It is {2 * i}.",
                "rejected": "I do not know",
                "image": f"{i}.png",
            }
            for i in range(110, 130)
        ],
    )
    out = tmp_path / "out"
    done = run(
        "task=audit",
        "data/source=jsonl",
        f"data.source.path={mine}",
        "benchmark=[preference,vl_rewardbench,digits]",
        "data/source@benchmark.preference.source=jsonl",
        f"benchmark.preference.source.path={theirs}",
        "benchmark.preference.split=all",
        f"benchmark.vl_rewardbench.path={leaked}",
        "benchmark.vl_rewardbench.rows=20",
        f"hydra.run.dir={out}",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("data audit: ") and f"report: {out}/report.html" in done.stdout
    found = json.loads((out / "audit.json").read_text())
    assert sum(count for count, _ in found["left_out"].values()) == 1

    def shared(benchmark: str, kind: str = "same") -> int:
        ends = f"-> {benchmark}"
        return sum(v[kind] for name, v in found["overlap"].items() if name.endswith(ends))

    assert shared("theirs") == 20 and shared("digits") == 0
    # Its images are not there: compared by text, and said.
    assert shared("vl_rewardbench") == 10
    report = (out / "report.md").read_text()
    assert "20 records of vl_rewardbench were compared by text alone" in report
    assert "some are shared with" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data/source=jsonl",), "path"),
        (("data/source=nothing",), "nothing"),
        (("data.source.train_records=3",), "even"),
        (("max_records=many",), "max_records"),
        (("benchmark=[preference]",), "benchmark=preference is the test split of the data itself"),
        (("benchmark=[vl_rewardbench]", "benchmark.vl_rewardbench.path=nowhere"), "nowhere"),
        (("benchmark=[nothing]",), "benchmark=nothing is not one of the options, which are digits"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path):
    done = run("task=audit", *arguments, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
