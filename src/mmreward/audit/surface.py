"""How far looks alone decide: ten features of an answer's surface and a logistic regression.

A data set that this classifier solves teaches a model to look at the form of answers, whatever
else it holds. Nothing here knows what the words mean, and no image is read.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreward.analysis.metrics import accuracy
from mmreward.records import Record

FEATURES = (
    "characters",
    "words",
    "line breaks",
    "sentence ends",
    "digits",
    "list items and headings",
    "commas",
    "characters per word",
    "share of distinct words",
    "share of words from the prompt",
)
FOLDS = 5
MIN_PAIRS = 50

_WORD = re.compile(r"\w+")
_LIST_ITEM = re.compile(r"^\s*(?:[-*•#]|\d+[.)])\s", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")


def features(prompt: str, answer: str) -> NDArray[np.float64]:
    """(10,) numbers in the order of `FEATURES`; counts as log(1 + count)."""
    words = _WORD.findall(answer.lower())
    of_prompt = set(_WORD.findall(prompt.lower()))
    counts = (
        len(answer),
        len(words),
        answer.count("\n"),
        len(_SENTENCE_END.findall(answer)),
        sum(sign.isdigit() for sign in answer),
        len(_LIST_ITEM.findall(answer)),
        answer.count(","),
    )
    shares = (
        sum(map(len, words)) / max(1, len(words)),
        len(set(words)) / max(1, len(words)),
        sum(word in of_prompt for word in words) / max(1, len(words)),
    )
    return np.array([*np.log1p(counts), *shares])


def classify(
    records: Sequence[Record], groups: Sequence[str], seed: int = 0
) -> dict[str, Any] | None:
    """Accuracy of the classifier on the pairs of `records`, cross-validated.

    groups: per record; a group is never on both sides of a fold (the rows of one image or prompt)

    Gives n, accuracy, accuracy_ci95 (clustered by group), and `weights`, feature -> weight in the
    fit on everything (per standard deviation of the difference; above 0: more of it wins). None
    with fewer groups than folds or fewer than `MIN_PAIRS` pairs.

    The regression sees feature differences in a random orientation and has no intercept, so that
    "the first one" is nothing it could learn.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold

    differences, names = [], []
    for record, group in zip(records, groups, strict=True):
        found = [features(record.prompt, response.text) for response in record.responses]
        for pair in record.pairs:
            differences.append(found[pair.better] - found[pair.worse])
            names.append(group)
    if len(set(names)) < FOLDS or len(names) < MIN_PAIRS:
        return None
    x = np.stack(differences)
    x = x / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], len(x))
    right = np.zeros(len(x))

    def fitted(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        if len(set(sign[rows])) < 2:
            return np.zeros(x.shape[1])
        model = LogisticRegression(fit_intercept=False, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # separable data; the accuracy is what matters
            model.fit(x[rows] * sign[rows, None], sign[rows])
        weights: NDArray[np.float64] = model.coef_[0]
        return weights

    clusters = np.array(names)
    for train, test in GroupKFold(FOLDS).split(x, groups=clusters):
        right[test] = (np.sign(np.round(x[test] @ fitted(train), 12)) + 1) / 2
    weights = fitted(np.arange(len(x)))
    return {
        **accuracy(right, clusters),
        "weights": dict(zip(FEATURES, (round(float(w), 3) for w in weights), strict=True)),
    }
