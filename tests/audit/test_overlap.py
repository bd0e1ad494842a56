import numpy as np
import pytest
from score_tables import make

from mmreward.audit.overlap import content, near_duplicates, normalised, overlap

WORDS = [f"w{i}" for i in range(400)]


def text(rng, n=60):
    return " ".join(rng.choice(WORDS, n))


def contents(*records):
    return [content(record) for record in records]


def counts(found):
    return {k: v for k, v in found.items() if k not in ("n", "examples") and v}


def test_text_is_compared_without_case_spacing_and_order_of_answers():
    assert normalised(" Ａ b\n\tC ") == "a b c"
    left = contents(make("What  is it?", ("It is RED.", "blue"), (0, 1)))
    right = contents(make("what is it?", ("blue", "it is\nred."), (0, 1)))
    found = overlap(left, right)
    assert counts(found) == {"same": 1} and found["n"] == 1


def test_images_decide_what_is_the_same():
    left = contents(make("Which digit?", image="one"), make("How many?", ("x", "y"), image="two"))
    right = contents(
        make("Which digit?", image="one"),
        make("Which digit?", image="other"),
        make("Which digit?", ("no", "yes"), image="one"),
        make("Something else?", ("no", "yes"), image="two"),
        make("Nothing in common at all?", ("n", "m"), image="new"),
    )
    assert counts(overlap(left, right)) == {
        "same": 1, "same_text": 1, "same_question": 1, "same_images": 1
    }  # fmt: skip


def test_examples_name_both_places():
    left = contents(make("q", where="a.jsonl row 3"))
    right = contents(*(make("q", where=f"b.jsonl row {i}") for i in range(5)))
    found = overlap(left, right)
    assert found["same"] == 5 and len(found["examples"]["same"]) == 3
    assert found["examples"]["same"][0] == ["a.jsonl row 3", "b.jsonl row 0", 1.0]


def test_near_duplicates_are_all_those_that_comparing_everything_finds():
    rng = np.random.default_rng(0)
    left, right = [], []
    for _ in range(60):
        words = text(rng, 80).split()
        left.append(make(" ".join(words)))
        for _ in range(int(rng.integers(0, 4))):  # nearer and farther copies
            words[int(rng.integers(0, 80))] = f"new{rng.integers(1000)}"
        right.append(make(" ".join(words)))
        right.append(make(text(rng, 80)))
    a, b = contents(*left), contents(*right)

    def shingles(one):
        words = one.text.split()
        return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}

    sets_a, sets_b = [shingles(x) for x in a], [shingles(x) for x in b]
    expected = {}
    for j, y in enumerate(sets_b):
        best = max((len(x & y) / len(x | y), -i) for i, x in enumerate(sets_a))
        if best[0] >= 0.8:
            expected[j] = (-best[1], pytest.approx(best[0]))
    assert near_duplicates(a, b) == expected
    assert 30 < len(expected) < 60


def test_near_duplicates_over_other_images_are_other_questions():
    rng = np.random.default_rng(1)
    long = text(rng)
    left = contents(make(long, image="one"))
    right = contents(make(long + " indeed", image="one"), make(long + " indeed", image="two"))
    found = overlap(left, right)
    assert found["near"] == 1 and found["examples"]["near"][0][2] > 0.9
    assert found["same"] == found["same_text"] == 0


def test_empty_sides():
    assert overlap([], contents(make("q")))["same"] == 0
    assert overlap(contents(make("q")), [])["n"] == 0
    assert near_duplicates([], []) == {}
