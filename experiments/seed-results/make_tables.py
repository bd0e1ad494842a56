"""Published scores -> score tables that `task=compare` reads.

    python experiments/seed-results/make_tables.py SCORES TEXTS OUT

SCORES  folder of *.jsonl, a line per pair: {"row", "id", "scores": [a, b], "human_preferred_idx"};
        scores[i] belongs to answer i
TEXTS   VL-RewardBench without its images, *.jsonl or *.jsonl.gz, rows in the same order:
        {"id", "prompt", "chosen", "rejected", "image"}
OUT     gets a folder per file of SCORES with records.jsonl, scores.jsonl and scores.meta.json

Plain JSON throughout: mmreward is not imported, as any other project would do it.
"""

import argparse
import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# The official split by the id's prefix; every other prefix is `general`.
CATEGORIES = {
    "hallucination": "hallucination",
    "RLAIF": "hallucination",
    "RLHF": "hallucination",
    "mathverse": "reasoning",
    "mmmu": "reasoning",
}


def category(source_id: str) -> str:
    """hallucination_pair-1003 -> hallucination, wildvision-… -> general"""
    return CATEGORIES.get(re.split("[_-]", source_id)[0], "general")


def record(text: dict[str, Any], preferred: int) -> dict[str, Any]:
    """A line of records.jsonl; `preferred` is the index of the better answer."""
    answers = [text["rejected"], text["rejected"]]
    answers[preferred] = text["chosen"]
    # Ids of this benchmark are not unique, and five rows differ in nothing but the image.
    content = json.dumps([text["prompt"], answers, preferred, text["image"]])
    return {
        "record": hashlib.sha256(content.encode()).hexdigest()[:16],
        "source_id": text["id"],
        "benchmark": "vl_rewardbench",
        "split": "test",
        "category": category(text["id"]),
        "group": None,
        "prompt": text["prompt"],
        "media": [{"sha256": None, "path": text["image"]}],
        "answers": [
            {
                "text": answer,
                "chars": len(answer),
                "newlines": answer.count("\n"),
                "rank": int(index != preferred),
            }
            for index, answer in enumerate(answers)
        ],
        "pairs": [[preferred, 1 - preferred, 1.0]],
        "ties": [],
    }


def make_table(scores: Path, texts: list[dict[str, Any]], out: Path) -> None:
    """Writes one table. Raises SystemExit if a row's id is not that of its text."""
    records, lines = [], []
    for row in read(scores):
        text = texts[row["row"]]
        if text["id"] != row["id"]:
            raise SystemExit(f"{scores}: row {row['row']} is {row['id']}, its text {text['id']}")
        records.append(record(text, row["human_preferred_idx"]))
        lines += [
            {"record": records[-1]["record"], "answer": i, "condition": "intact", "score": score}
            for i, score in enumerate(row["scores"])
        ]
    out.mkdir(parents=True, exist_ok=True)
    write(out / "records.jsonl", records)
    write(out / "scores.jsonl", lines)
    write(out / "scores.meta.json", [{"model": scores.stem, "source": "published scores"}])


def read(path: Path) -> list[dict[str, Any]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("scores", "texts", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    texts = read(given.texts)
    for path in sorted(given.scores.glob("*.jsonl")):
        make_table(path, texts, given.out / path.stem)
        print(given.out / path.stem)


if __name__ == "__main__":
    main()
