import numpy as np

from mmreward.analysis.rules import RULES


def row(record="r", texts=("ab\nc\n", "abcdefg")):
    answers = [{"chars": len(t), "newlines": t.count("\n")} for t in texts]
    return {"record": record, "answers": answers}


def preferred(rule, **kwargs):
    scores = RULES[rule](row(**kwargs))
    return int(np.argmax(scores))


def test_rules_prefer_what_their_name_says():
    assert preferred("longer") == 1
    assert preferred("shorter") == 0
    assert preferred("newlines") == 0
    assert preferred("first") == 0
    assert preferred("first", texts=("a", "b", "c")) == 0


def test_equal_answers_tie():
    for rule in ("longer", "shorter", "newlines"):
        scores = RULES[rule](row(texts=("a\n", "b\n")))
        assert scores[0] == scores[1]


def test_random_depends_on_the_record_alone_and_is_fair():
    assert RULES["random"](row("x")) == RULES["random"](row("x", texts=("other", "texts")))
    scores = np.array([RULES["random"](row(f"record {i}")) for i in range(2000)])
    assert abs(np.mean(scores[:, 0] > scores[:, 1]) - 0.5) < 0.04
    assert abs(scores.mean() - 0.5) < 0.02 and scores.min() >= 0 and scores.max() < 1
