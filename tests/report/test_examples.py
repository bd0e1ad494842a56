import re
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image
from score_tables import make, table

from mmreward.analysis.comparison import common_sets, compare
from mmreward.analysis.metrics import evaluate, write_metrics
from mmreward.analysis.pairs import pair_tables
from mmreward.analysis.runs import read_runs
from mmreward.records import Media, Message, Record, Response
from mmreward.report.comparison import write_comparison
from mmreward.report.examples import SHOWN, keep, mistakes_figure, pictures, worst_mistakes
from mmreward.report.figures import save
from mmreward.report.run import write_report
from mmreward.scoring.table import read_table


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


# -- images ------------------------------------------------------------------------------


def paint(colour, size):
    return Image.new("RGB", size, colour)


def drawn(i, size=(20, 10)):
    """A record whose image exists nowhere but in memory, of a shade that tells it."""
    media = Media(draw=partial(paint, (8 * i, 40, 90), size), key=f"shade {i} {size}")
    answers = (Response("good", 0), Response("bad", 1))
    return Record((Message("user", (0, f"question {i}")),), answers, (media,))


def scored(folder, records, wrong):
    scores = [[0.0, 1.0 + i] if i in wrong else [1.0, 0.0] for i in range(len(records))]
    found = table(folder, records, {"intact": scores})
    keep(folder, records, found)
    return found


def shade(path):
    with Image.open(path) as picture:
        return round(picture.convert("RGB").getpixel((3, 3))[0] / 8), picture.size


def test_images_that_are_no_files_are_kept_where_the_model_is_wrong(tmp_path):
    records = [drawn(i) for i in range(12)]
    found = scored(tmp_path, records, {2, 7})
    kept = {shade(path) for path in (tmp_path / "images").iterdir()}
    assert kept == {(2, (120, 60)), (7, (120, 60))}, "small ones are enlarged"
    # The table says where, when it is read again too.
    for rows in (found.records, read_table(tmp_path).records):
        paths = [row["media"][0]["path"] for row in rows]
        assert [i for i, path in enumerate(paths) if path] == [2, 7]
        assert shade(paths[7])[0] == 7


def test_a_large_image_is_kept_small_and_a_file_is_not_copied(tmp_path):
    paint((9, 9, 9), (30, 30)).save(tmp_path / "file.png")
    filed = Record(
        (Message("user", (0, "q")),),
        (Response("a", 0), Response("b", 1)),
        (Media(path=tmp_path / "file.png"),),
    )
    scored(tmp_path / "run", [drawn(1, (1000, 500)), filed], {0, 1})
    (kept,) = (tmp_path / "run" / "images").iterdir()
    assert shade(kept) == (1, (360, 180))


def test_a_run_shows_its_worst_mistakes_with_their_images(tmp_path):
    found = scored(tmp_path, [drawn(i) for i in range(12)], {2, 7})
    report = write_report(tmp_path, write_metrics(tmp_path, evaluate(found)), found)
    links = re.findall(r"\]\((figures/image_[^)]+)\)", report.read_text())
    assert [shade(tmp_path / link)[0] for link in links] == [7, 2]


def test_runs_that_disagree_show_the_image_although_one_of_them_was_right(tmp_path):
    records = [drawn(i) for i in range(12)]
    scored(tmp_path / "one", records, {2})
    scored(tmp_path / "two", records, {7})
    runs = read_runs([], [tmp_path / "one", tmp_path / "two"])
    sets = common_sets(runs)
    page = write_comparison(tmp_path / "out", compare(runs, sets), sets)
    text = page.with_suffix(".md").read_text()
    gallery = text[text.index("### Where they disagree") :]
    links = re.findall(r"\]\((figures/image_[^)]+)\)", gallery)
    assert {shade(tmp_path / "out" / link)[0] for link in links} == {2, 7}


@pytest.mark.parametrize(
    ("media", "said"),
    [
        ([{"sha256": "ab" * 32, "path": None}], ["(image abababababababab was not kept)"]),
        ([{"sha256": None, "path": "/no/x.png"}], ["(image `/no/x.png` is not on this machine)"]),
        ([], []),
    ],
)
def test_an_image_that_is_not_there_is_said(tmp_path, media, said):
    assert pictures(tmp_path, {"media": media}, {}) == said
