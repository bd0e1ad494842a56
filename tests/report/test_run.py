import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from score_tables import drawn

from mmreward.analysis.findings import findings, warnings
from mmreward.analysis.metrics import evaluate, write_metrics
from mmreward.records import Media, Message, Record, Response
from mmreward.report.run import print_summary, write_report
from mmreward.report.wording import percent, points, span, words
from mmreward.scoring.table import Key, ScoreWriter, read_table, record_row, write_records

CONDITIONS = ("intact", "blind_image", "untrained")


def run(
    folder,
    gains,
    n=120,
    texts=("first\nfence ``` in text", "other, much longer answer text"),
    seed=0,
):
    """A folder scored by a model whose margins have mean `gains[condition]` and deviation 1."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(n):
        # Both answers are the better one equally often, so that no rule can win.
        ranks = (0, 1) if i % 2 else (1, 0)
        responses = tuple(Response(t, r) for t, r in zip(texts, ranks, strict=True))
        media = (Media(data=f"image {i}".encode()),)
        category = "a|b" if i % 3 else "c"
        records.append(
            Record((Message("user", (0, f"question {i}")),), responses, media, category=category)
        )
    write_records(folder, [record_row(r, "digits", "test") for r in records])
    with ScoreWriter(folder, {}) as writer:
        for record in records:
            for condition, gain in gains.items():
                for answer, response in enumerate(record.responses):
                    score = gain * (response.rank == 0) + rng.normal() / np.sqrt(2)
                    writer.write(Key(record.id, answer, condition), score)
    table = read_table(folder)
    training = {"seconds": 61.25, "pairs_per_second": 412.0, "peak_memory_mb": 812, "steps": 800}
    return table, write_metrics(folder, evaluate(table), training)


LOOKS = dict(zip(CONDITIONS, (2.0, 0.0, 0.0), strict=True))
BLIND = dict(zip(CONDITIONS, (2.0, 2.0, 0.0), strict=True))
COIN = dict(zip(CONDITIONS, (0.0, 0.0, 0.0), strict=True))


def test_a_good_model_gets_no_warning(tmp_path):
    _, metrics = run(tmp_path, LOOKS)
    digits = metrics["benchmarks"]["digits"]
    assert warnings(digits) == []
    first, image, rules = map(words, findings(digits))
    assert percent(digits["accuracy"]) in first and "120 pairs" in first
    assert span(digits["accuracy_ci95"]) in first
    assert points(digits["image_gain"]["difference"]) in image and "the model uses them" in image
    assert "below the model; training brought +" in rules and "not below" not in rules


def test_a_model_that_does_not_look_is_called_so(tmp_path):
    _, metrics = run(tmp_path, BLIND)
    digits = metrics["benchmarks"]["digits"]
    (warning,) = warnings(digits)
    assert warning.kind == "image_gain_unshown" and warning.numbers == digits["image_gain"]
    assert findings(digits)[1].kind == "images_unused"


def test_a_coin_is_called_a_coin(tmp_path):
    _, metrics = run(tmp_path, COIN, seed=2)
    kinds = [warning.kind for warning in warnings(metrics["benchmarks"]["digits"])]
    assert "coin" in kinds and "training_unshown" in kinds


def test_a_rule_that_beats_the_model_is_named(tmp_path):
    _, metrics = run(tmp_path, {"intact": 2.0})
    digits = metrics["benchmarks"]["digits"]
    assert "rules_do_better" not in [warning.kind for warning in warnings(digits)]
    better = {**digits["controls"]["longer"], "accuracy": 0.99, "difference": -0.05}
    digits["controls"]["longer"] = better
    (warning,) = warnings(digits)
    assert warning.kind == "rules_do_better" and list(warning.numbers["better"]) == ["longer"]
    digits["controls"]["newlines"] = {**better, "accuracy": 0.98}
    (both,) = map(words, warnings(digits))  # one sentence, however many rules
    assert "'longer answer wins' 99.0 % [" in both and "'more line breaks win' 98.0 % [" in both
    assert f"the model {percent(digits['accuracy'])}" in both
    _, image, rule = findings(digits)
    assert "not below the model" in words(rule)
    assert image.kind == "images_not_measured"


def test_an_order_that_gives_labels_away_is_no_rule_a_model_could_follow(tmp_path):
    _, metrics = run(tmp_path, {"intact": 2.0})
    digits = metrics["benchmarks"]["digits"]
    listed = {"accuracy": 0.996, "accuracy_ci95": [0.99, 1.0], "difference": -0.1}
    digits["controls"]["first"] = {**digits["controls"]["first"], **listed}
    (warning,) = warnings(digits)
    assert warning.kind == "order_tells"
    assert "lists the better answer first in 99.6 %" in words(warning)
    assert findings(digits)[2].numbers["rule"] != "first"


def test_what_the_layout_of_the_answers_is_worth_is_said(tmp_path):
    _, metrics = run(tmp_path, {"intact": 2.0, "normalised": 0.0})
    digits = metrics["benchmarks"]["digits"]
    control = digits["controls"]["normalised"]
    *_, found = findings(digits)
    layout = words(found)
    assert found.kind == "layout_used"
    assert f"worth {points(control['difference'])} points" in layout
    assert "120 pairs change)" in layout and "the model goes by layout too" in layout
    control |= {"n_same": 7, "difference_ci95": [-0.01, 0.4]}
    *_, found = findings(digits)
    layout = words(found)
    assert found.kind == "layout_unused"
    assert "7 of them into the same text twice" in layout and "no use of the layout" in layout
    control |= {"n_changed": 0}
    assert findings(digits)[-1].kind == "layout_even"


def test_ties_and_few_groups_are_warned_of(tmp_path):
    _, metrics = run(tmp_path, LOOKS, n=12)
    digits = metrics["benchmarks"]["digits"] | {"n_ties": 6}
    text = " ".join(map(words, warnings(digits)))
    assert "6 of 12 pairs have equal scores" in text and "Only 12 independent groups" in text


def test_report_shows_every_number_with_interval_and_n_and_its_figures(tmp_path):
    table, metrics = run(tmp_path, BLIND)
    curve = [(step, 1 - 1 / step) for step in range(1, 9)]
    path = write_report(tmp_path, metrics, table, {"validation accuracy": curve})
    text = path.read_text(encoding="utf-8")
    digits = metrics["benchmarks"]["digits"]
    for row in (digits, *digits["controls"].values(), *digits["categories"].values()):
        cells = f"{percent(row['accuracy'])} | {span(row['accuracy_ci95'])} | {row['n']} |"
        assert cells in text.replace("  ", " ")
    for warning in warnings(digits):
        assert f"**Warning.** {words(warning)}" in text
    calibration, length = digits["calibration"], digits["length"]
    assert f"| {calibration['brier']:.3f} | {calibration['log_loss']:.3f} |" in text
    assert f"| {calibration['temperature']:.3g} | cross-fitted |" in text
    shorter = length["better_is_shorter"]
    assert f"{percent(shorter['accuracy'])} [{span(shorter['accuracy_ci95'])}], n = 60 |" in text
    assert "a\\|b" in text and "| seconds | 61.2 |" in text and "| steps | 800 |" in text
    links = re.findall(r"\]\((figures/[^)]+\.png)\)", text)
    assert len(links) == 6
    for link in links:
        with Image.open(tmp_path / link) as figure:
            assert drawn(figure), link


def test_report_shows_the_worst_mistakes_first(tmp_path):
    table, metrics = run(tmp_path, COIN)
    text = write_report(tmp_path, metrics, table).read_text(encoding="utf-8")
    shown = [float(x) for x in re.findall(r"\*\*\d\.\*\* margin (-[\d.]+)", text)]
    scores = table.scores["intact"]
    margins = sorted(
        scores[row["record"], better] - scores[row["record"], worse]
        for row in table.records
        for better, worse, _ in row["pairs"]
    )
    assert shown == pytest.approx(margins[:3], abs=0.01)
    worst = min(
        table.records,
        key=lambda row: (
            scores[row["record"], row["pairs"][0][0]] - scores[row["record"], row["pairs"][0][1]]
        ),
    )
    assert text.index(worst["prompt"] + "\n") == text.index("question ")
    # The answer's own fence cannot close the block it is quoted in.
    assert "````text\nfirst\nfence ``` in text\n````" in text


def test_report_survives_one_pair_texts_left_out_and_odd_characters(tmp_path):
    table, metrics = run(tmp_path, {"intact": -50.0}, n=1, texts=("lone \ud800", "other"))
    del table.records[0]["answers"][1]["text"]
    text = write_report(tmp_path, metrics, table).read_text(encoding="utf-8")
    assert "(text not stored)" in text and "unknown" in text and "lone ?" in text


def test_screen_table_has_interval_and_n_in_every_row(tmp_path):
    _, metrics = run(tmp_path, LOOKS)
    console = Console(width=80, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        print_summary(console, metrics)
    text = capture.get()
    digits = metrics["benchmarks"]["digits"]
    rows = {"model": digits, "image greyed out": digits["controls"]["blind_image"]}
    rows |= {"untrained model": digits["controls"]["untrained"]}
    rows |= {"longer answer wins": digits["controls"]["longer"]}
    for name, row in rows.items():
        (line,) = [line for line in text.splitlines() if name in line and "%" in line
                   and percent(row["accuracy"]) in line]  # fmt: skip
        assert span(row["accuracy_ci95"]) in line and "120" in line


@pytest.mark.parametrize(("gains", "warned"), [(LOOKS, 0), (BLIND, 1)])
def test_screen_says_what_the_images_are_worth(tmp_path, gains, warned):
    _, metrics = run(tmp_path, gains)
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        print_summary(console, metrics)
    after_table = capture.get().split("┘")[-1]
    digits = metrics["benchmarks"]["digits"]
    assert f"digits: Its images are worth {points(digits['image_gain']['difference'])}" in (
        after_table
    )
    assert after_table.count("Warning: ") == warned
    for warning in warnings(digits):
        assert f"digits: Warning: {words(warning)}" in after_table
