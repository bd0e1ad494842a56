"""Variants over seeds: the numbers of the table at the end of a sweep."""

import math

import numpy as np
import pytest
from rich.console import Console
from score_tables import make
from sweeps import draws, records, run

from mmreward.analysis.comparison import common_sets, compare
from mmreward.analysis.findings import remarks, variants_finding
from mmreward.analysis.paired import holm, sign_flip
from mmreward.analysis.runs import expand, read_runs
from mmreward.report.comparison_figures import variants_figure
from mmreward.report.variants import screen_tables, summary_metrics, write_variants
from mmreward.report.wording import words

N = 120
VARIANTS = ("base", "enhanced", "contrastive")


def compared(*runs):
    """The comparison of these runs, or of a sweep's by its folder."""
    read = read_runs(expand(runs)[0])
    return compare(read, common_sets(read))


@pytest.fixture(scope="module")
def outcomes():
    return draws(N, (0.6, 0.62, 0.45), seeds=3)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory, outcomes):
    """Three variants with three seeds each, in groups of two; base is right by one half blind."""
    folder = tmp_path_factory.mktemp("sweep")
    asked = records(N, per_group=2)
    for place, (model, seeds) in enumerate(zip(VARIANTS, outcomes, strict=True)):
        for seed, right in enumerate(seeds):
            run(
                folder / str(3 * place + seed),
                asked,
                right,
                model,
                seed,
                blind=np.full(N, 0.5),
                seconds=10.0 * place + seed,
                peak_memory_mb=500.0 + seed,
            )
    return compared(folder)


def test_numbers_by_hand(comparison, outcomes):
    found = comparison["benchmarks"]["digits"]["variants"]
    assert list(found) == list(VARIANTS)
    groups = np.arange(N) // 2
    matrices = [np.stack(seeds) for seeds in outcomes]
    for (name, row), right in zip(found.items(), matrices, strict=True):
        assert row["runs"] == [f"{name} s{seed}" for seed in range(3)] and row["seeds"] == 3
        assert row["accuracy"] == pytest.approx(right.mean())
        assert row["sd"] == pytest.approx(right.mean(axis=1).std(ddof=1))
        low, high = row["over_pairs_ci95"]
        assert low < row["accuracy"] < high
        assert row["image_gain"]["difference"] == pytest.approx(right.mean() - 0.5)
        # One half without the images, always: no more is known than of the accuracy.
        ends = np.array(row["image_gain"]["ci95"]) + 0.5
        assert ends == pytest.approx([low, high], abs=0.01)
    assert found["base"]["difference"] is None
    for place, name in ((1, "enhanced"), (2, "contrastive")):
        difference = found[name]["difference"]
        paired = matrices[place].mean(axis=0) - matrices[0].mean(axis=0)
        assert difference["difference"] == pytest.approx(paired.mean())
        low, high = difference["over_pairs_ci95"]
        assert low < paired.mean() < high
        # Differences are multiples of a third: tripled, the exact test takes them. A p is sampled
        # with a standard error of sqrt(p (1 - p) / 100,000).
        exact = sign_flip(3 * paired, groups)
        error = math.sqrt(exact * (1 - exact) / 100_000)
        assert difference["p"] == pytest.approx(exact, abs=4 * error + 2e-5)
    ps = [found[name]["difference"]["p"] for name in VARIANTS[1:]]
    adjusted = [found[name]["difference"]["p_holm"] for name in VARIANTS[1:]]
    assert adjusted == pytest.approx(holm(ps))
    assert found["enhanced"]["seconds"] == 11.0 and found["enhanced"]["peak_memory_mb"] == 502.0


def test_a_variant_that_is_the_first_again_does_not_differ(tmp_path, outcomes):
    for place, model in enumerate(("base", "twin")):
        for seed, right in enumerate(outcomes[0]):
            run(tmp_path / str(3 * place + seed), records(N), right, model, seed)
    twin = compared(tmp_path)["benchmarks"]["digits"]["variants"]["twin"]
    assert twin["difference"]["difference"] == 0 and twin["difference"]["p"] == 1
    assert twin["image_gain"] is None and twin["seconds"] is None


def test_the_image_gain_is_that_of_the_records_with_images(tmp_path):
    """Ten records without an image have no score without it, whatever the seed."""
    asked = records(20) + [make(f"text {i}") for i in range(10)]
    right = np.concatenate([np.ones(16), np.zeros(4), np.zeros(10)])
    blind = [0.0] * 8 + [1.0] * 8 + [0.0] * 4 + [None] * 10
    for seed in (0, 1):
        run(tmp_path / str(seed), asked, right, seed=seed, blind=blind)
    found = compared(tmp_path)["benchmarks"]["digits"]
    gain = found["variants"]["base"]["image_gain"]
    assert gain == {"n": 20, "difference": 0.4, "ci95": gain["ci95"]}
    # Two seeds that judge alike tell what one does.
    assert gain == found["runs"]["base s0"]["metrics"]["image_gain"]


def test_models_that_are_always_right_are_not_known_to_be_alike(tmp_path):
    for place, model in enumerate(("base", "twin")):
        for seed in range(3):
            run(tmp_path / str(3 * place + seed), records(40), np.ones(40), model, seed)
    found = compared(tmp_path)["benchmarks"]["digits"]["variants"]
    low, high = found["base"]["over_pairs_ci95"]
    assert low == pytest.approx(40 / (40 + 1.96**2), abs=1e-4) and high == 1  # Wilson, 40 of 40
    low, high = found["twin"]["difference"]["over_pairs_ci95"]
    assert low == -high and high == pytest.approx(0.066, abs=0.001)


def test_one_seed_three_times_is_one_seed(tmp_path, outcomes):
    base, other, enhanced = outcomes[0][0], outcomes[0][1], outcomes[1][0]
    for folder in ("0", "1", "2"):
        run(tmp_path / folder, records(N), base, seed=0)
    run(tmp_path / "3", records(N), enhanced, "enhanced", seed=0)
    comparison = compared(tmp_path)
    row = comparison["benchmarks"]["digits"]["variants"]["base"]
    first = row["runs"][0]
    assert row["seeds"] == 1 and row["sd"] is row["over_seeds_ci95"] is None
    alone = comparison["benchmarks"]["digits"]["runs"][first]
    assert row["over_pairs_ci95"] == alone["metrics"]["accuracy_ci95"]
    assert list(row["repeats"].values()) == [first, first]
    sentences = [words(remark) for remark in remarks(comparison)]
    assert len(sentences) == 2
    said = f"base s0 (1) has the same seed as {first} and does not count again"
    assert sentences[0] == f"left out: {said}"
    (text, _) = write_variants(tmp_path, comparison, tmp_path / "report.html")
    assert all(sentence in text.read_text() for sentence in sentences)
    assert "1 seed each" in text.read_text()

    # Further seeds count, in whichever order the repeats stand.
    run(tmp_path / "4", records(N), other, seed=1)
    comparison = compared(tmp_path)
    found = comparison["benchmarks"]["digits"]["variants"]
    said = "p of enhanced is the largest of as many seeds as both have: base has 2, enhanced 1"
    assert words(remarks(comparison)[-1]) == said
    row = found["base"]
    assert row["seeds"] == 2 and len(row["repeats"]) == 2
    assert row["accuracy"] == pytest.approx((base.mean() + other.mean()) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(3, 3), (3, 1)])
@pytest.mark.parametrize("accuracy", [0.6, 0.97])
def test_the_rate_of_false_findings_is_the_level(seeds, accuracy):
    """Models alike in skill, pairs in groups: p below 5 % in at most 5 % of the cases, also where
    jobs have failed and one model has fewer seeds."""
    from mmreward.analysis.seeds import seed_difference

    rng = np.random.default_rng(0)
    groups = np.arange(72) // 2
    below = 0
    for _ in range(400):
        easy = np.clip(rng.normal(accuracy, 0.5 * (1 - accuracy), 36), 0, 1)[groups]
        first, second = ((rng.random((n, 72)) < easy).astype(float) for n in seeds)
        below += seed_difference(first, second, groups)["p"] <= 0.05
    assert below <= 32  # 20 expected, standard deviation 4.4
    # Cautious where hardly a pair is judged wrongly, and where the largest of several p is taken.
    if accuracy < 0.9 and seeds == (3, 3):
        assert below >= 8


def test_one_seed_each(tmp_path, outcomes):
    for place, model in enumerate(VARIANTS):
        blind = np.roll(outcomes[place][0], 7)
        run(tmp_path / str(place), records(N), outcomes[place][0], model, blind=blind)
    comparison = compared(tmp_path)
    found = comparison["benchmarks"]["digits"]
    for name, row in found["variants"].items():
        own = found["runs"][f"{name} s0"]
        assert row["accuracy"] == own["metrics"]["accuracy"]
        assert row["over_pairs_ci95"] == own["metrics"]["accuracy_ci95"]
        assert row["seeds"] == 1 and row["sd"] is None
        assert row["image_gain"] == own["metrics"]["image_gain"]
        if row["difference"]:
            half = own["difference"]["half"]
            assert row["difference"]["over_pairs_ci95"] == half["ci95"]
            assert row["difference"]["p"] == pytest.approx(half["p"], abs=0.01)
    variants_figure(comparison)
    assert "1 seed each" in words(variants_finding("digits", found["variants"]))


def test_screen_and_files(tmp_path, comparison):
    console = Console(width=110)
    with console.capture() as capture:
        for table in screen_tables(comparison):
            console.print(table.rich())
    screen = capture.get()
    found = comparison["benchmarks"]["digits"]["variants"]
    for name, row in found.items():
        (line,) = [line for line in screen.splitlines() if line.startswith(f"│ {name}")]
        assert f"{100 * row['accuracy']:.1f} [" in line
        if row["difference"]:
            assert f"{100 * row['difference']['difference']:+.1f} [" in line
    assert "…" not in screen, "nothing is cut off at 110 columns"

    job = "job 9 (model=fusion seed=0): killed by SIGKILL; see 9/console.log"
    with_job = comparison | {"jobs_left_out": [job]}
    written = write_variants(tmp_path, with_job, tmp_path / "report.html")
    assert [path.name for path in written] == ["comparison.md", "comparison.png"]
    text = written[0].read_text()
    assert job in text and "3 seeds each" in text and "](report.html)" in text
    assert text.count("\n| ") == 2 + len(found)


def test_pairs_that_one_run_lacks_are_told_beside_the_table(tmp_path, outcomes):
    asked, right = records(N), outcomes[0][0]
    run(tmp_path / "0", asked, right)
    run(tmp_path / "1", asked[:-5], right[:-5], "enhanced")
    comparison = compared(tmp_path)
    lost = "Pairs left out because another run lacks them: 5 of base s0."
    (table,) = screen_tables(comparison)
    assert table.note == lost
    assert lost in write_variants(tmp_path, comparison, tmp_path / "report.html")[0].read_text()


def test_metrics_for_a_tracker_are_numbers(comparison):
    flat = summary_metrics(comparison)
    row = comparison["benchmarks"]["digits"]["variants"]["contrastive"]
    assert flat["digits/contrastive/accuracy"] == row["accuracy"]
    assert flat["digits/contrastive/difference_high"] == row["difference"]["over_pairs_ci95"][1]
    assert "digits/base/difference" not in flat
    assert all(isinstance(value, float) for value in flat.values())


def variants(*rows):
    """(p_holm, interval over seeds) of each variant but the first."""
    found = {"base": {"seeds": 2, "difference": None}}
    for place, (p, over_seeds) in enumerate(rows):
        difference = {"difference": -0.1, "p_holm": p, "over_seeds_ci95": over_seeds}
        found[f"v{place}"] = {"seeds": 2, "difference": difference}
    return {"variants": found}


NO, YES, HERE, ALONE = (0.2, [-0.3, 0.1]), (0.01, [-0.15, -0.05]), (0.01, [-0.3, 0.1]), (0.01, None)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((), "base alone"),
        ((NO,), "v0 is not shown to differ from base"),
        ((YES,), "v0 is shown to be worse than base"),
        ((ALONE,), "v0 is shown to be worse than base"),
        ((HERE,), "v0 differs from base with these seeds, is not shown to in general"),
        ((NO, NO), "none of 2 variants is shown to differ from base"),
        ((NO, HERE), "none of 2 variants is shown to differ from base, 1 with these seeds only"),
        ((NO, YES), "of 2 variants only v1 is shown to be worse than base"),
        ((YES, YES, NO), "2 of 3 variants are shown to differ from base"),
    ],
)
def test_headlines(rows, said):
    assert (
        words(variants_finding("digits", variants(*rows)["variants"]))
        == f"digits: {said} (2 seeds each)"
    )
