"""The charts that a page makes of what its visitor chose, which no row of `figures` is about."""

from selfrepair.app.charts import compare_charts, detail_charts, run_charts, token_charts
from selfrepair.app.figures.figure import Drawn, Figure
from selfrepair.app.questions import (
    compare_questions,
    detail_questions,
    head_questions,
    neuron_questions,
    queries,
    run_questions,
    token_questions,
    trust_questions,
)
from selfrepair.app.questions.compare_questions import Side
from selfrepair.app.questions.run_questions import ABOUT_REPAIR, QUANTITIES, RATIOS
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words

TOP, ALL = run_questions.ROW_SETS


def heat_map(
    subject: Subject,
    *,
    quantity: str = "self_repair",
    rows: str = TOP,
    kept: str = "all",
    dark: bool = False,
) -> Drawn:
    """A cell per head. rows: which ones the means are over, of `ROW_SETS`. kept: which heads."""
    answer = run_questions.heads(subject)
    suffix = _suffix(rows)
    column, removed = f"{quantity}{suffix}", f"share_removed{suffix}"
    heads = kinds.kept(answer.frame, kept, suffix)
    caption = "Mean over " + (
        f"the top {words.share(heads['top_fraction'].max())}" if rows == TOP else "all tokens"
    )
    little = int(heads[removed].map(kinds.is_little).sum())
    if quantity in ABOUT_REPAIR and little:
        caption += (
            f". ○: {kinds.LITTLE} of the head's direct effect ({little} of {len(heads)} heads), so "
            "that its self-repair says little"
        )
    if quantity in RATIOS:
        caption += ". Colours end at ±1; ▲ ▼: beyond that"
    said = queries.meaning(subject.generation, quantity, "head_summary")
    chart = run_charts.heat_map(
        heads,
        column,
        has_sign=QUANTITIES[quantity],
        dark=dark,
        unit=words.unit(said),
        ends=1.0 if quantity in RATIOS else None,
        removed=removed if quantity in ABOUT_REPAIR else None,
    )
    return Drawn(chart, answer, f"{caption}.", f"{words.name(quantity).capitalize()} of every head")


def parts(subject: Subject, *, rows: str = TOP) -> Drawn:
    """Self-repair broken into its parts, per ablation. rows: of `ROW_SETS`."""
    answer = head_questions.summary(subject)
    suffix = _suffix(rows)
    removed = ", ".join(
        f"{ablation} {words.share(share)}"
        + (f" ({kinds.LITTLE})" if kinds.is_little(share) else "")
        for ablation, share in zip(
            answer.frame["ablation"], answer.frame[f"share_removed{suffix}"], strict=True
        )
    )
    return Drawn(
        run_charts.parts(answer.frame, suffix=suffix),
        answer,
        f"{subject.head_name}: means with their standard errors; {kinds.clusters(subject).errors}. "
        f"Removed: {removed}.",
        f"Who repairs: {words.rows(rows)}",
    )


def authors(subject: Subject, *, quantity: str = "self_repair_from_layernorm") -> Drawn:
    """The run's means beside those that the paper's authors published, a dot per head."""
    answer = trust_questions.beside_paper(subject, quantity)
    name = words.name(quantity)
    return Drawn(
        detail_charts.against(answer.frame, "value", "paper_value", f" {name}"),
        answer,
        "A dot is a head: means over its top rows under resample ablation. The text that was "
        "measured may differ.",
        f"{name.capitalize()}, this run against the authors'",
    )


def one_token(subject: Subject, *, sequence: int, position: int) -> Drawn:
    """How one token's logit changed: what was removed, and what came back from where."""
    answer = token_questions.instance(subject, sequence, position)
    own = answer.frame[answer.frame["ablation"] == subject.ablation]
    here = own.iloc[0]
    return Drawn(
        token_charts.one_token(own),
        answer,
        f"The head's direct effect of {words.signed(here['direct_effect'])} logits goes (or "
        "changes), later heads, MLPs and the final norm answer, and the logit ends "
        f"{words.signed(here['logit_change'])} from where it was.",
        f"What happened to the logit of “{words.token(here['target_text'])}” under "
        f"{subject.ablation} ablation",
    )


def token_components(subject: Subject, *, sequence: int, position: int) -> Drawn:
    """The later heads and MLP layers that repaired one token."""
    answer = detail_questions.repairers_of_token(subject, sequence, position)
    return Drawn(
        detail_charts.bars(answer.frame, label="component", value="direct_effect_change"),
        answer,
        "The later heads and MLP layers whose direct effect changed most.",
        "Which components repaired this token",
    )


def token_neurons(subject: Subject, *, sequence: int, position: int) -> Drawn:
    """The neurons of the last MLP layer that repaired one token."""
    answer = neuron_questions.neurons_of_token(subject, sequence, position)
    changed = answer.frame.assign(
        change=answer.frame["direct_effect_ablated"] - answer.frame["direct_effect"],
        name="neuron " + answer.frame["neuron"].astype(str),
    )
    return Drawn(
        detail_charts.bars(changed, label="name", value="change"),
        answer,
        "The most repairing ones.",
        "Which neurons of the last MLP layer repaired it",
    )


def compared(subject: Subject, **sides: str) -> Drawn:
    """Two heads' means and their difference. sides: as `_sides` takes them."""
    one, other = _sides(subject, **sides)
    answer = compare_questions.differences(one, other)
    names = one.label(other), other.label(one)
    return Drawn(
        compare_charts.means(compare_charts.present(answer.frame), *names),
        answer,
        "Means with their standard errors by cluster; the difference is other − one. "
        + compare_charts.how_paired(answer.frame),
        f"{names[0]} and {names[1]}",
    )


def compared_spread(subject: Subject, **sides: str) -> Drawn:
    """Two heads' self-repair, token by token, in the same bins. sides: as `_sides` takes them."""
    one, other = _sides(subject, **sides)
    answer = compare_questions.spreads(one, other)
    names = one.label(other), other.label(one)
    return Drawn(
        token_charts.histogram(
            answer.frame,
            x="self-repair (logits)",
            line_at=0,
            y="share of tokens",
            colors=dict(zip(names, compare_charts.SIDES, strict=True)),
        ),
        answer,
        "The same bins for both. What lies beyond the outer 0.1 % is counted in the outermost "
        "bins.",
        "Self-repair, token by token",
    )


def _sides(
    subject: Subject,
    *,
    other_run: str,
    other_ablation: str,
    other_head: str,
    rows: str = TOP,
    other_rows: str = TOP,
) -> tuple[Side, Side]:
    """The subject, and another head that it is compared with. rows, other_rows: of `ROW_SETS`."""
    layer, number = words.layer_and_head(other_head) or (0, 0)
    other = Subject(subject.generation, other_run, other_ablation, layer, number)
    return Side(subject, rows), Side(other, other_rows)


def _suffix(rows: str) -> str:
    """What the columns of `head_summary` over these rows end with."""
    return "" if rows == TOP else "_all"


_AT = ("sequence", "position")
_OTHER = ("other_run", "other_ablation", "other_head", "rows", "other_rows")
FIGURES = {
    "map": Figure(
        heat_map, relation="head_summary", choices=("quantity", "rows", "kept"), follows_theme=True
    ),
    "parts": Figure(parts, ("self_repair", *run_charts.PARTS), of_head=True, choices=("rows",)),
    "authors": Figure(authors, ("paper_value", "value"), "beside_paper", choices=("quantity",)),
    "one token": Figure(one_token, ("self_repair", *run_charts.PARTS), of_head=True, choices=_AT),
    "one token, components": Figure(
        token_components,
        ("direct_effect_change",),
        "component_repairs",
        of_head=True,
        choices=_AT,
    ),
    "one token, neurons": Figure(
        token_neurons, ("neurons",), "neuron_repairs", of_head=True, choices=_AT
    ),
    "compared": Figure(
        compared, compare_charts.QUANTITIES, "head_summary", of_head=True, choices=_OTHER
    ),
    "compared, token by token": Figure(
        compared_spread, ("self_repair",), of_head=True, choices=_OTHER
    ),
}
