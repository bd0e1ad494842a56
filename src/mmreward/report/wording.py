"""Numbers and findings in words: the same on screen, in figures and in reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from mmreward.analysis.findings import Finding

LABELS = {
    "intact": "model",
    "blind_image": "image greyed out",
    "swapped_image": "image of another record",
    "text_only": "without its image",
    "normalised": "white space collapsed",
    "untrained": "untrained model",
    "longer": "longer answer wins",
    "shorter": "shorter answer wins",
    "newlines": "more line breaks win",
    "random": "random",
    "first": "first answer wins",
}

INTERVALS = {
    "wilson": "Wilson; the pairs are independent",
    "clustered": "clustered by group, because the pairs of a group are not independent",
}

# What an audited record shares with one of another set (mmreward.audit.overlap.KINDS).
SHARED = {
    "same": "text and images",
    "near": "nearly the text, and images",
    "same_question": "prompt and images",
    "same_images": "an image",
    "same_text": "text, other images",
}


def label(name: str) -> str:
    return LABELS.get(name, name)


def count(number: int) -> str:
    """1105793 -> '1,105,793'"""
    return f"{number:,}"


def quantity(value: float | str | None) -> str:
    """1105793 -> '1,105,793', 734.62 -> '734.6', None -> ''"""
    if isinstance(value, float):
        return f"{value:,.1f}"
    return count(value) if isinstance(value, int) else value or ""


def percent(share: float) -> str:
    """0.9632 -> '96.3 %'"""
    return f"{100 * share:.1f} %"


def span(interval: Sequence[float] | None) -> str:
    """[0.9412, 0.98] -> '94.1 to 98.0 %'"""
    if interval is None:
        return "unknown"
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def share(value: float, interval: Sequence[float] | None) -> str:
    """0.9632, [0.9412, 0.98] -> '96.3 % [94.1 to 98.0 %]'"""
    return f"{percent(value)} [{span(interval)}]"


def accuracy(row: Mapping[str, Any]) -> str:
    """That of a set, rule or category with its interval."""
    return share(row["accuracy"], row["accuracy_ci95"])


def points(difference: float) -> str:
    """Percentage points with their sign: 0.462 -> '+46.2'"""
    return f"{100 * difference:+.1f}"


def points_span(interval: Sequence[float] | None) -> str:
    return "unknown" if interval is None else f"{points(interval[0])} to {points(interval[1])}"


def gain(difference: float, interval: Sequence[float] | None) -> str:
    """0.462, [0.41, 0.5] -> '+46.2 [+41.0 to +50.0]'"""
    return f"{points(difference)} [{points_span(interval)}]"


def p_value(p: float) -> str:
    """0.5263 -> '.526'; never '.000'"""
    return "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def p_text(p: float) -> str:
    """0.5263 -> 'p = .526'"""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def inline(text: str) -> str:
    """Text that stays inside its backticks and its table cell."""
    return " ".join(text.replace("`", "'").split())[:160]


# -- findings --------------------------------------------------------------------------------

_BEST_RULE = "is right in {{ control|accuracy }}"
_IMAGES = (
    "Its images are worth {{ gain.difference|points }} points (95 % interval "
    "{{ gain.ci95|points_span }}; {{ blind.accuracy|percent }} of {{ gain.n }} pairs with them "
    "greyed out): "
)
_LAYOUT = (
    "Line breaks and indents of the answers are worth {{ difference|points }} points (95 % "
    "interval {{ difference_ci95|points_span }}; {{ accuracy|percent }} of {{ n }} pairs with "
    "white space collapsed{% if n_changed is not none %}; {{ n_changed }} pairs change{% endif %}"
    "{% if n_same %}, {{ n_same }} of them into the same text twice, a tie{% endif %}): "
)
_LOST = (
    "{% if left_out.values()|sum %}Pairs left out because another run lacks them: "
    "{% for run, n in left_out.items() if n %}{{ ', ' if not loop.first }}{{ n|count }} of "
    "{{ run }}{% endfor %}. {% endif %}"
    "{% if missing %}Not scored on this set: {{ missing|join(', ') }}.{% endif %}"
)
_SEEDS = (
    "{% if most == 1 %}1 seed each{% elif least == most %}{{ most }} seeds each"
    "{% else %}{{ least }} to {{ most }} seeds each{% endif %}"
)
_SHOWN = "{{ shown[0] }} is shown to be {{ 'better' if better else 'worse' }} than {{ first }}"

# One sentence for every kind, a Jinja template of the finding's numbers.
SENTENCES = {
    # A run on one set: mmreward.analysis.findings.findings and warnings.
    "accuracy": "The model prefers the better answer in {{ accuracy|percent }} of {{ n }} pairs "
    "(95 % interval {{ accuracy_ci95|span }}); a coin would in 50 %.",
    "official": "By the benchmark's own script: {% for number in headlines %}"
    "{{ '; ' if not loop.first }}{{ number.name }} {{ number.value|share(number.ci95) }} of "
    "{{ number.n|count }} {{ number.unit }}{% endfor %}.",
    "images_taken": "Its images were taken away before it was scored.",
    "no_images": "No record of this set has an image.",
    "images_not_measured": "What the images contribute was not measured: no scores with the image "
    "greyed out.",
    "images_used": _IMAGES + "the model uses them.",
    "images_unused": _IMAGES + "no use of them is shown.",
    "best_rule": "The best rule that needs no model, '{{ rule|label }}', " + _BEST_RULE + " of "
    "{{ control.n }} pairs, {{ 'below' if control.difference > 0 else 'not below' }} the model"
    "{% if untrained %}; training brought {{ untrained.difference|points }} points "
    "[{{ untrained.difference_ci95|points_span }}] over {{ untrained.n }} pairs{% endif %}.",
    "layout_even": "Collapsing the white space of the answers changes none of them.",
    "layout_used": _LAYOUT + "the model goes by layout too.",
    "layout_misleads": _LAYOUT + "the layout misleads the model.",
    "layout_unused": _LAYOUT + "no use of the layout is shown.",
    "rows_unusable": "{{ n|count }} of {{ rows|count }} rows could not be scored: "
    "{% for reason, n in reasons.items() %}{{ '; ' if not loop.first }}{{ reason }} "
    "({{ n|count }}){% endfor %}. No number here is about them, and none is that of the whole set.",
    "scored_without_images": "The set was scored without its images (images=drop): its numbers "
    "are about the text alone.",
    "coin": "The interval of the accuracy, {{ accuracy_ci95|span }}, contains one half: the model "
    "cannot be told from a coin.",
    "worse_than_coin": "The model is worse than a coin: it prefers the worse answers.",
    "image_gain_unshown": "The interval of the image gain, {{ ci95|points_span }} points, contains "
    "0: nothing shows that the model uses its images.",
    "better_without_images": "The model does better without its images.",
    "rules_do_better": "What needs no model does as well or better, over these {{ metrics.n }} "
    "pairs: {% for rule, row in better.items() %}{{ ', ' if not loop.first }}'{{ rule|label }}' "
    "{{ row|accuracy }}{% endfor %}; the model {{ metrics.accuracy|percent }}.",
    "order_tells": "The data lists the better answer first in {{ accuracy|percent }} of the pairs: "
    "whatever sees the order of the answers can use that.",
    "training_unshown": "Training is not shown to help: trained minus untrained is "
    "{{ difference|points }} points [{{ difference_ci95|points_span }}].",
    "ties": "{{ n_ties }} of {{ n }} pairs have equal scores and count one half; counted wrong, "
    "the accuracy is {{ strict|percent }}.",
    "few_groups": "Only {{ n_groups }} independent groups: the intervals may be too narrow.",
    # Several runs on one set: comparison_findings.
    "compared": "{{ 'Both runs' if runs|length == 2 else 'All %d runs'|format(runs|length) }} were "
    "scored on {{ n|count }} pairs. " + _LOST,
    "pairs_lost": _LOST,
    "difference": "{{ run }} minus {{ first }}: {{ half.difference|points }} points (95 % interval "
    "{{ half.ci95|points_span }}; {{ half.p|p_text }}, by Holm {{ half.p_holm|p_value }}). "
    "{{ run }} alone is right in {{ only_this }} pairs, {{ first }} alone in {{ only_first }}: "
    "{% if half.p <= 0.05 %}{{ run }} is {{ 'better' if half.difference > 0 else 'worse' }}"
    "{% if half.p_holm > 0.05 %}, but not after Holm's correction for the number of runs{% endif %}"
    "{% else %}not distinguishable{% if half.pairs_needed %}; a difference of this size takes "
    "about {{ half.pairs_needed|count }} pairs{% endif %}{% endif %}.",
    "more_runs": "The table has the other {{ n }} runs.",
    "best_rule_of_runs": "The best of the rules that need no model, '{{ rule|label }}', "
    + _BEST_RULE + " of these pairs: {% if not beaten %}below every run{% else %}as good as or "
    "better than {{ 'every run' if beaten|length == n_runs else beaten|join(', ') }}{% endif %}.",
    "images_measured_by_none": "What the images contribute was not measured: no run has scores "
    "with the image greyed out.",
    "order_tells_all": "The order gives labels away: the answer that the data lists first is the "
    "better one in {{ accuracy|percent }} of the pairs. Whatever sees the order can use that.",
    # Variants: variants_finding and remarks.
    "no_other_variant": "{{ set }}: {{ first }} alone (" + _SEEDS + ")",
    "one_variant": "{{ set }}: {% if here %}{{ others[0] }} differs from {{ first }} with these "
    "seeds, is not shown to in general{% elif shown %}" + _SHOWN + "{% else %}{{ others[0] }} is "
    "not shown to differ from {{ first }}{% endif %} (" + _SEEDS + ")",
    "variants": "{{ set }}: {% if not shown %}none of {{ others|length }} variants is shown to "
    "differ from {{ first }}{% elif shown|length == 1 %}of {{ others|length }} variants only "
    + _SHOWN + "{% else %}{{ shown|length }} of {{ others|length }} variants are shown to differ "
    "from {{ first }}{% endif %}{% if here %}, {{ here|length }} {{ 'more ' if shown }}with these "
    "seeds only{% endif %} (" + _SEEDS + ")",
    "job_left_out": "left out: {{ job }}",
    "seed_again": "left out: {{ run }} has the same seed as {{ kept }} and does not count again",
    "uneven_seeds": "p of {{ name }} is the largest of as many seeds as both have: {{ first }} has "
    "{{ most }}, {{ name }} {{ seeds }}",
    "several_codes": "not all runs come from the same code: {% for state, runs in code.items() %}"
    "{{ '; ' if not loop.first }}{{ state }}: {{ runs|join(', ') }}{% endfor %}",
    # A data set: mmreward.audit.findings.
    "audit": "data audit: {{ n_pairs|count }} pairs ({{ n_sampled|count }} of "
    "{{ n_records|count }} records of {{ split }}); '{{ rule|label }}' is right in "
    "{{ accuracy|percent }}"
    "{% if classifier %}; surface features alone in {{ classifier.accuracy|percent }}{% endif %}"
    "{% for kind, n in repeats.items() %}; {{ kind|replace('_', ' ') }}: {{ n|count }}{% endfor %}"
    "{% for sets, n in leaks.items() %}; records in both {{ sets|replace(' -> ', ' and ') }}: "
    "{{ n|count }}{% endfor %}{% if left_out %}; rows left out: {{ left_out|count }}{% endif %}",
    "records": "{% for split, n in splits.items() %}{{ ', ' if not loop.first }}{{ n|count }} "
    "{{ split }}{% endfor %} records.",
    "surface": "{{ split }}: {{ n_pairs|count }} pairs; the best rule that needs no model, "
    "'{{ rule|label }}', " + _BEST_RULE + "{% if classifier %}, surface features with a classifier "
    "in {{ classifier|accuracy }}{% endif %}.",
    "rows_left_out": "{{ '1 row' if n == 1 else n|count ~ ' rows' }} cannot be used; the table "
    "says why.",
    "first_is_better": "The answer listed first is the better one in {% for split, row in "
    "splits.items() %}{{ ', ' if not loop.first }}{{ row.accuracy|percent }} of {{ split }}"
    "{% endfor %}. A model that scores answers one by one cannot use that; a judge that sees both "
    "can.",
    "surface_decides": "{{ split }}: {{ 'the rule \\'' ~ rule|label ~ '\\'' if rule else "
    "'a classifier of surface features' }} decides {{ accuracy|percent }} of the pairs without "
    "image or meaning. A model can learn that instead.",
    "contradictions": "{{ split }}: {{ n|count }} of {{ n_pairs|count }} pairs prefer the opposite "
    "of an earlier pair.",
    "duplicates": "{{ split }}: {{ n|count }} of {{ n_pairs|count }} pairs repeat an earlier one.",
    "same_answers": "{{ split }}: {{ n|count }} of {{ n_pairs|count }} pairs have the same text on "
    "both sides, but for case and spaces.",
    "images_unreadable": "{{ split }}: {{ n|count }} images cannot be read.",
    "answer_tells": "{{ split }}: one answer wins {{ wins|count }} of its "
    "{{ (wins + losses)|count }} pairs whatever is asked: `{{ text|inline }}`.",
    "records_shared": "Of the {{ n|count }} records of {{ right }}, some are shared with "
    "{{ left }}: {% for kind, n in kinds.items() %}{{ ', ' if not loop.first }}{{ n|count }} "
    "({{ kind|shared }}){% endfor %}. Accuracy on them is partly memory.",
}  # fmt: skip

_WORDS = Environment(undefined=StrictUndefined, autoescape=False)
_WORDS.filters |= {
    form.__name__: form
    for form in (accuracy, count, inline, label, p_text, p_value, percent, points, points_span,
                 share, span)
} | {"shared": SHARED.__getitem__}  # fmt: skip


@cache
def _sentence(kind: str) -> Template:
    return _WORDS.from_string(SENTENCES[kind])


def words(finding: Finding) -> str:
    """The sentence of a finding; KeyError for a kind without one."""
    return _sentence(finding.kind).render(finding.numbers).strip()


def bullets(found: Iterable[Finding]) -> str:
    """A Markdown list of the findings."""
    return "\n".join(f"- {words(finding)}" for finding in found)
