import json
import re
import time

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from score_tables import drawn, make, table

from mmreward.analysis.comparison import common_sets, compare
from mmreward.analysis.findings import comparison_findings, run_warnings, warnings
from mmreward.analysis.runs import read_runs
from mmreward.report.comparison import screen_tables, write_comparison
from mmreward.report.wording import p_text, percent, points, points_span, span, words


def kinds(metrics):
    return [warning.kind for warning in warnings(metrics)]


def photos(folder, n):
    folder.mkdir()
    for i in range(n):
        Image.new("RGB", (700, 500), (i % 256, 80, 160)).save(folder / f"{i}.png")


def scored(folder, records, rng, gain, blind=None):
    def noisy(mean):
        return [
            [mean * (r.rank == 0) + rng.normal() / 2 for r in record.responses]
            for record in records
        ]

    scores = {"intact": noisy(gain)}
    if blind == gain:
        scores["blind_image"] = scores["intact"]
    elif blind is not None:
        scores["blind_image"] = noisy(blind)
    return table(folder, records, scores, "digits")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A comparison of three runs, its folder and the report's text; the third has 60 of 90 pairs
    and no controls."""
    tmp_path = tmp_path_factory.mktemp("comparison")
    rng = np.random.default_rng(0)
    photos(tmp_path / "photos", 90)
    records = [
        make(
            f"question {i} <script>alert(1)</script>",
            ("good ``` `\nfence", "bad, and much longer than the good one"),
            (0, 1) if i % 2 else (1, 0),
            image=tmp_path / "photos" / f"{i}.png",
            category="a|b" if i % 3 else "c",
        )
        for i in range(90)
    ]
    scored(tmp_path / "weak", records, rng, 0.4, blind=0.4)
    scored(tmp_path / "strong", records, rng, 2.0, blind=0.0)
    scored(tmp_path / "part", records[:60], rng, 0.5)
    runs = read_runs([], [tmp_path / name for name in ("weak", "strong", "part")])
    sets = common_sets(runs)
    comparison = compare(runs, sets)
    page = write_comparison(tmp_path / "out", comparison, sets)
    return comparison, tmp_path / "out", (tmp_path / "out" / "report.md").read_text(), page


def test_every_number_has_its_interval(written):
    comparison, folder, text, _ = written
    digits = comparison["benchmarks"]["digits"]
    for run, row in digits["runs"].items():
        metrics, own = row["metrics"], row["own"]
        (line,) = [
            x
            for x in text.splitlines()
            if x.startswith(f"| {run} | {percent(metrics['accuracy'])} [")
        ]
        assert f"[{span(metrics['accuracy_ci95'])}]" in line
        assert f"{percent(metrics['strict'])} [{span(row['strict_ci95'])}]" in line
        assert f"{percent(own['accuracy'])} [{span(own['accuracy_ci95'])}]" in line
        assert f"n = {own['n']}" in line
        for category in metrics["categories"].values():
            assert f"{percent(category['accuracy'])} [{span(category['accuracy_ci95'])}]" in text
        if row["difference"]:
            for kind in ("half", "strict", "macro"):
                test = row["difference"][kind]
                assert f"| {points(test['difference'])} | {points_span(test['ci95'])} |" in text
    strict = digits["runs"]["strong"]["difference"]
    assert f"| {strict['only_this']} | {strict['only_first']} |" in text
    assert "a\\|b" in text
    assert json.loads((folder / "comparison.json").read_text()) == comparison


def test_findings_and_warnings_are_in_the_report(written):
    comparison, _, text, _ = written
    digits = comparison["benchmarks"]["digits"]
    sentences = [words(finding) for finding in comparison_findings(digits)]
    assert "60 pairs" in sentences[0] and "30 of weak, 30 of strong" in sentences[0]
    assert "strong is better" in sentences[1] and "not distinguishable" in sentences[2]
    assert re.search(r"takes about [\d,]+ pairs", sentences[2])
    for sentence in sentences:
        assert f"- {sentence}" in text
    found = run_warnings(digits)
    assert "image_gain_unshown" in [warning.kind for warning in found["weak"]]
    assert "strong" not in found
    assert "| weak | no use of the images is shown |" in text
    assert "| strong | uses the images |" in text
    assert "| part | not measured |" in text


def test_every_run_stands_under_every_condition_it_was_scored_under(tmp_path):
    records = [make(f"q{i}", image=f"i{i}") for i in range(60)]
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    scores = {"intact": [right] * 60, "blind_image": [wrong] * 60}
    table(tmp_path / "one", records, {**scores, "text_only": [right] * 45 + [wrong] * 15})
    table(tmp_path / "two", records, {**scores, "untrained": [wrong] * 60})
    runs = read_runs([], [tmp_path / "one", tmp_path / "two"])
    sets = common_sets(runs)
    page = write_comparison(tmp_path / "out", compare(runs, sets), sets)
    text = page.with_suffix(".md").read_text()
    assert "| run | without its image | untrained model |" in text
    (one,) = re.findall(r"\| one \| \+25.0 \[\+(\S+) to \+(\S+)\], n = 60 \|  \|", text)
    assert 10 < float(one[0]) < 25 < float(one[1]) < 40
    assert re.search(r"\| two \|  \| \+100.0 \[.*\], n = 60 \|", text)


def test_an_order_that_gives_labels_away_is_told(tmp_path):
    records = [make(f"q{i}") for i in range(30)]
    for name in ("one", "two"):
        table(tmp_path / name, records, {"intact": [[1.0, 0.0]] * 30})
    runs = read_runs([], [tmp_path / "one", tmp_path / "two"])
    found = compare(runs, common_sets(runs))["benchmarks"]["b"]
    told = {finding.kind: finding for finding in comparison_findings(found)}
    assert told["order_tells_all"].numbers["accuracy"] == 1
    assert "100.0 % of the pairs" in words(told["order_tells_all"])
    # 'first' is not called the best rule: no scalar model can follow it.
    assert told["best_rule_of_runs"].numbers["rule"] != "first"
    # Told once of all runs, and of none again.
    assert all(w.kind != "order_tells" for own in run_warnings(found).values() for w in own)
    assert all("order_tells" in kinds(row["metrics"]) for row in found["runs"].values())


def test_gallery_shows_the_pairs_that_divide_them_with_their_images(written):
    _, folder, text, _ = written
    gallery = text[text.index("### Where they disagree") :]
    assert len(re.findall(r"\*\*\d+\. strong is right, weak is wrong\*\*", gallery)) == 2
    shown = re.findall(r"Margins: weak (\S+), strong (\S+)\.", gallery)
    right = re.findall(r"\*\*\d+\. (\w+) is right", gallery)[: len(shown)]
    for (weak, strong), winner in zip(shown, right, strict=True):
        assert (float(weak) > 0, float(strong) > 0) == (winner == "weak", winner == "strong")
    for link in re.findall(r"\]\((figures/image_[^)]+)\)", gallery):
        with Image.open(folder / link) as thumbnail:
            assert thumbnail.size == (360, 257)


def test_gallery_says_where_an_image_is_missing(tmp_path):
    rng = np.random.default_rng(1)
    photos(tmp_path / "photos", 20)
    on_disk = [make(f"q{i}", image=tmp_path / "photos" / f"{i}.png") for i in range(20)]
    drawn = [make(f"d{i}", image="not a file") for i in range(20)]
    for name in ("one", "two"):
        scored(tmp_path / name, [*on_disk, *drawn], rng, 0.3)
    for photo in (tmp_path / "photos").iterdir():
        photo.unlink()
    runs = read_runs([], [tmp_path / "one", tmp_path / "two"])
    sets = common_sets(runs)
    page = write_comparison(tmp_path / "out", compare(runs, sets), sets)
    text = page.with_suffix(".md").read_text()
    assert "is not on this machine" in text or "was not kept" in text


def test_page_is_one_file_and_runs_nothing_that_data_says(written):
    _, folder, text, page = written
    html = page.read_text()
    images = re.findall(r'<img src="([^"]+)"', html)
    assert len(images) == text.count("](figures/")
    assert all(
        src.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for src in images
    )
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "http" not in re.sub(r"data:[^\"]+", "", html)
    assert html.count("<table>") == text.count("\n| ---")
    figures = list((folder / "figures").glob("*.png"))
    assert len(figures) == 5
    for path in figures:
        with Image.open(path) as figure:
            assert drawn(figure), path


@pytest.mark.slow
def test_five_runs_of_1250_pairs_take_less_than_ten_seconds(tmp_path):
    """Processor seconds of one thread, so that what else runs does not count; figures included."""
    rng = np.random.default_rng(0)
    photos(tmp_path / "photos", 20)
    records = [
        make(
            f"question {i} " * 20,
            ("good " * int(rng.integers(5, 200)), "bad " * int(rng.integers(5, 200))),
            image=tmp_path / "photos" / f"{i % 20}.png",
            category=f"category {i % 7}",
            group=f"group {i // 3}",
        )
        for i in range(1250)
    ]
    names = [tmp_path / f"run {k}" for k in range(5)]
    for k, name in enumerate(names):
        scored(name, records, rng, 0.1 * k, blind=0.05 * k)
    before = time.process_time()
    runs = read_runs([], names)
    sets = common_sets(runs)
    write_comparison(tmp_path / "out", compare(runs, sets), sets)
    assert time.process_time() - before < 10


def test_p_values_never_become_zero():
    assert [p_text(p) for p in (0.5264, 0.04, 1.0, 1e-9)] == [
        "p = .526", "p = .040", "p = 1.000", "p < .001"
    ]  # fmt: skip


def test_screen_fits_eighty_columns(written):
    comparison, *_ = written
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        for table_ in screen_tables(comparison):
            console.print(table_.rich())
    text = capture.get()
    strong = comparison["benchmarks"]["digits"]["runs"]["strong"]
    (line,) = [line for line in text.splitlines() if "│ strong" in line]
    assert f"{100 * strong['metrics']['accuracy']:.1f} [" in line
    assert points(strong["difference"]["half"]["difference"]) in line and "…" not in text
    assert "left out because another run lacks them: 30 of weak, 30 of strong." in " ".join(
        text.split()
    )
