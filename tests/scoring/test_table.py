import json
import math

import pytest

from mmreward.analysis.metrics import evaluate
from mmreward.errors import UserError
from mmreward.records import Media, Message, Record, Response
from mmreward.scoring.table import (
    META,
    RECORDS,
    SCORES,
    Key,
    ScoreWriter,
    read_table,
    record_row,
    write_records,
)

META_A = {"model": "a", "versions": {"torch": "2"}}


def make(question="q", **fields):
    answers = (Response(" one\ntwo\n", 1), Response("three", 0), Response("four", 1))
    return Record((Message("user", (question,)),), answers, **fields)


def score_all(folder, records, value=1.0, condition="intact"):
    with ScoreWriter(folder, META_A) as writer:
        for record in records:
            answers = range(len(record.responses))
            writer.append((Key(record.id, answer, condition), value) for answer in answers)


def test_record_row_holds_what_metrics_need(tmp_path):
    (tmp_path / "x.png").write_bytes(b"not decoded")
    record = Record(
        (Message("user", (0, "what?")),),
        make().responses,
        (Media(path=tmp_path / "x.png"),),
        source_id="s7",
        category="c",
        group="g",
        weight=2.0,
    )
    row = record_row(record, "digits", "test", tokens=[3, 1, 1])
    assert row["record"] == record.id and row["source_id"] == "s7" and row["prompt"] == "what?"
    assert (row["benchmark"], row["split"]) == ("digits", "test")
    assert (row["category"], row["group"]) == ("c", "g")
    assert row["media"] == [{"sha256": record.media[0].sha256, "path": str(tmp_path / "x.png")}]
    assert row["answers"][0] == {
        "text": " one\ntwo\n", "chars": 9, "tokens": 3, "newlines": 2, "rank": 1
    }  # fmt: skip
    assert row["pairs"] == [[1, 0, 1.0], [1, 2, 1.0]] and row["ties"] == [[0, 2]]


def test_round_trip_keeps_any_text_and_every_digit(tmp_path):
    record = make("line\u2028separator, lone \ud800 surrogate, 数字")
    write_records(tmp_path, [record_row(record, "b", "test")])
    score_all(tmp_path, [record], value=0.1 + 0.2)
    table = read_table(tmp_path)
    assert table.records == [record_row(record, "b", "test")]
    assert table.scores["intact"] == {(record.id, a): 0.1 + 0.2 for a in range(3)}


def test_a_set_is_replaced_and_other_sets_stay(tmp_path):
    old, new, other = make("old"), make("new"), make("other")
    write_records(tmp_path, [record_row(old, "a", "test"), record_row(other, "b", "test")])
    write_records(tmp_path, [record_row(new, "a", "test")])
    lines = [json.loads(line) for line in (tmp_path / RECORDS).read_text().splitlines()]
    assert [line["record"] for line in lines] == [other.id, new.id]
    assert not list(tmp_path.glob("*.part"))


def test_an_interrupted_evaluation_continues_and_a_finished_one_is_not_repeated(tmp_path):
    record = make()
    with ScoreWriter(tmp_path, META_A) as writer:
        assert writer.write(Key(record.id, 0, "intact"), 1.5)
        assert not writer.write(Key(record.id, 0, "intact"), 9.0)
        # Read by others while the writer is still open.
        assert len((tmp_path / SCORES).read_text().splitlines()) == 1
    with ScoreWriter(tmp_path, META_A) as writer:
        assert Key(record.id, 0, "intact") in writer.scores
        assert Key(record.id, 0, "untrained") not in writer.scores
        assert Key(record.id, 1, "intact") not in writer.scores
        assert not writer.write(Key(record.id, 0, "intact"), 9.0)
        assert writer.append((Key(record.id, a, "intact"), 2.5) for a in range(2)) == 1
    rows = [json.loads(line) for line in (tmp_path / SCORES).read_text().splitlines()]
    assert [row["score"] for row in rows] == [1.5, 2.5]


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_torn_last_line_is_cut_off_and_scored_again(tmp_path, cut):
    record = make()
    write_records(tmp_path, [record_row(record, "b", "test")])
    score_all(tmp_path, [record])
    whole = (tmp_path / SCORES).read_bytes()
    (tmp_path / SCORES).write_bytes(whole[:-cut])
    # Without its line break alone the line is whole.
    assert len(read_table(tmp_path).scores["intact"]) == (3 if cut == 1 else 2)
    with ScoreWriter(tmp_path, META_A) as writer:
        assert set(writer.scores) == {Key(record.id, a, "intact") for a in range(2)}
        writer.write(Key(record.id, 2, "intact"), 1.0)
    assert (tmp_path / SCORES).read_bytes() == whole


def test_scores_of_two_models_never_mix(tmp_path):
    score_all(tmp_path, [make()])
    with pytest.raises(UserError, match=r"model='a'.*'b'.*delete"):
        ScoreWriter(tmp_path, {**META_A, "model": "b"})
    (tmp_path / META).unlink()
    with pytest.raises(UserError, match="which model"):
        ScoreWriter(tmp_path, META_A)
    (tmp_path / SCORES).unlink()
    ScoreWriter(tmp_path, {**META_A, "model": "b"}).close()
    assert json.loads((tmp_path / META).read_text())["model"] == "b"


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_not_numbers_are_refused(tmp_path, score):
    with ScoreWriter(tmp_path, META_A) as writer, pytest.raises(UserError, match="answer 4 of"):
        writer.write(Key("abc", 4, "intact"), score)
    assert (tmp_path / SCORES).read_text() == ""


def break_line(folder, name, line):
    with (folder / name).open("a") as file:
        file.write(line + "\n")


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (SCORES, "{", "line 4 is not JSON"),
        (SCORES, '{"record": "x", "answer": 0, "condition": "intact"}', "line 4 has no 'score'"),
        (
            SCORES,
            '{"record": "x", "answer": 0, "condition": "intact", "score": NaN}',
            "score nan, not a finite",
        ),
        (
            SCORES,
            '{"record": "x", "answer": 0, "condition": "intact", "score": null}',
            "line 4 has the score None, which should be a number",
        ),
        (RECORDS, '{"record": "x"}', "line 2 has no 'benchmark'"),
        (
            RECORDS,
            '{"record": "x", "benchmark": "b", "split": "test", "category": "", "group": "", '
            '"pairs": [], "answers": [{"chars": 1}]}',
            "line 2 has an answer with no 'newlines'",
        ),
        (
            RECORDS,
            '{"record": "x", "benchmark": "b", "split": "test", "category": "", "group": "", '
            '"pairs": [[0, 2, 1]], "answers": [{"chars": 1, "newlines": 0}]}',
            r"line 2 has \[0, 2, 1\] among its pairs but 1 answers",
        ),
        (
            RECORDS,
            '{"record": "x", "benchmark": "b", "split": "test", "category": 3, "group": "", '
            '"pairs": [], "answers": []}',
            "line 2 has the category 3, which should be a text",
        ),
    ],
)
def test_broken_tables_are_named(tmp_path, name, line, message):
    record = make()
    write_records(tmp_path, [record_row(record, "b", "test")])
    score_all(tmp_path, [record])
    break_line(tmp_path, name, line)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path)


WRONG = (None, True, 3, -1.5, "text", [], [3], [[0]], [None], {}, {"a": 1}, [[0, 0, 1]], [["a", 1]])


@pytest.mark.parametrize("name", [RECORDS, SCORES])
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_whatever_a_foreign_table_holds_it_is_read_or_refused_in_words(tmp_path, name, wrong):
    """Every field of a good line replaced in turn: nothing but UserError may come out."""
    records = [make(), make("other")]
    write_records(tmp_path, [record_row(record, "b", "test") for record in records])
    score_all(tmp_path, records)
    good = json.loads((tmp_path / name).read_text().splitlines()[0])
    places = [(good, key) for key in good]
    if name == RECORDS:
        places += [(good["answers"][0], key) for key in good["answers"][0]]
    refused = []
    lines = (tmp_path / name).read_text().splitlines()
    for holder, key in [*places, (None, None)]:
        before = None
        if holder is not None:
            before, holder[key] = holder[key], wrong
        lines[0] = json.dumps(good if holder is not None else wrong)
        if holder is not None:
            holder[key] = before
        (tmp_path / name).write_text("\n".join(lines))
        try:
            evaluate(read_table(tmp_path))
        except UserError as error:
            refused.append(str(error))
    assert len(refused) >= 3 and all(len(message) < 400 for message in refused)


def test_a_score_written_twice_is_named(tmp_path):
    record = make()
    write_records(tmp_path, [record_row(record, "b", "test")])
    score_all(tmp_path, [record])
    break_line(tmp_path, SCORES, (tmp_path / SCORES).read_text().splitlines()[1])
    with pytest.raises(UserError, match=r"answer 1 of record .* twice"):
        read_table(tmp_path)


def test_missing_and_empty_tables(tmp_path):
    with pytest.raises(UserError, match=r"records\.jsonl cannot be read"):
        read_table(tmp_path)
    write_records(tmp_path, [record_row(make(), "b", "test")])
    with pytest.raises(UserError, match=r"scores\.jsonl cannot be read"):
        read_table(tmp_path)
    ScoreWriter(tmp_path, META_A).close()
    with pytest.raises(UserError, match=r"scores\.jsonl is empty"):
        read_table(tmp_path)
