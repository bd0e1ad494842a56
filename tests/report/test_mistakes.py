import warnings

import numpy as np
import pytest
from PIL import Image
from score_tables import make, table

from mmreward.analysis.pairs import pair_tables
from mmreward.report.examples import SHOWN, mistakes_figure, worst_mistakes
from mmreward.report.figures import save


def pairs(folder, margins, records=None):
    records = records or [make(f"question {i}") for i in range(len(margins))]
    scores = {"intact": [[margin, 0.0] for margin in margins]}
    return pair_tables(table(folder, records, scores))["b"]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_worst_come_first_and_what_is_right_never(tmp_path):
    found = pairs(tmp_path, [1.0, -0.5, -3.0, 0.0, -1.0, 2.0])
    assert worst_mistakes(found, 2) == [2, 4]
    assert worst_mistakes(found, 9) == [2, 4, 1]


def test_the_gallery_shows_prompt_answers_margin_and_image(tmp_path):
    Image.new("RGB", (300, 20), "red").save(tmp_path / "red.png")
    records = [make("what?", ("good", "bad"), image=tmp_path / "red.png"), make("how?")]
    figure = mistakes_figure("trial", pairs(tmp_path / "run", [-2.5, 1.0], records))
    assert figure.get_suptitle() == "trial: the clearest of 1 mistakes"
    assert texts(figure) == ["what?", "better: good", "preferred: bad", "margin -2.5"]
    (shown,) = [image for axes in figure.axes for image in axes.images]
    pixels = np.asarray(shown.get_array())
    assert pixels.shape[:2] == (360, 360), "a strip is shown whole, in a square"
    assert (pixels[180, 180] == [255, 0, 0]).all() and (pixels[0, 0] == 255).all()


def test_no_mistake_no_gallery(tmp_path):
    assert mistakes_figure("trial", pairs(tmp_path, [1.0, 2.0])) is None


@pytest.mark.parametrize("count", [1, 3, 4, 20])
def test_at_most_six_are_shown(tmp_path, count):
    figure = mistakes_figure("trial", pairs(tmp_path, [-1.0 - i for i in range(count)]))
    assert texts(figure).count("better: good") == min(count, SHOWN)
    figure.savefig(tmp_path / "drawn.png")


def test_any_text_can_be_drawn(tmp_path):
    odd = ["$\\frac{1}{", "a\x00b\x1b[31m", "很好 👍", "x" * 5000, "two\n\nlines", "\ud800"]
    records = [make(f"{text} {i}", (f"{text}!", f"{text}?")) for i, text in enumerate(odd)]
    figure = mistakes_figure("$broken", pairs(tmp_path, [-1.0] * len(odd), records))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the fonts lack some signs, which is no one's concern
        save(figure, tmp_path / "drawn.png")
    assert max(len(line) for text in texts(figure) for line in text.split("\n")) <= 60
