"""An example of each term from the run at hand, in two lines, where the run has such a row."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from selfrepair.app.questions import (
    detail_questions,
    glossary_questions,
    head_questions,
    kind_questions,
    queries,
    run_questions,
    trust_questions,
)
from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words
from selfrepair.app.wording.kinds import is_little

KINDS = ("not_removed", "repaired", "overcorrected", "broken")
LONGEST = 32  # characters of a token
Row = dict[str, Any]


@dataclass(frozen=True)
class Examples:
    """Term -> its example as Markdown, and the queries that they are from."""

    said: dict[str, str]
    answers: list[Answer]


def examples(subject: Subject) -> Examples:
    """Of every term that the run has an example of."""
    name = subject.head_name
    answers: list[Answer] = []

    def rows(answer: Answer) -> list[Row]:
        answers.append(answer)
        return [_known(row) for row in answer.frame.to_dict("records")]

    said = dict(_of_generation(rows(glossary_questions.published(subject.generation))))
    runs = rows(run_questions.runs(subject.generation))
    said |= dict(_of_run([row for row in runs if row["run_id"] == subject.run]))
    heads = [row for row in rows(head_questions.summary(subject)) if row["n_rows"]]
    said |= _of_ablations(name, heads)
    tokens = {row["example"]: row for row in rows(glossary_questions.tokens(subject))}
    for own in heads:
        if own["ablation"] == subject.ablation:
            said |= _of_head(name, own) | _of_tokens(name, own, tokens)
            for counts in rows(kind_questions.repair(subject)):
                if counts["ablation"] == subject.ablation:
                    said = _with_kinds(said, subject.ablation, counts)
            trust = rows(trust_questions.trust(subject, "top_by_direct_effect"))
            said |= _of_trust(name, own, [row for row in trust if row["name"] == name])
    if not queries.lacking(subject.generation, "self_reinforcement"):
        said |= _of_reinforcement(rows(detail_questions.reinforcing_heads(subject)))
    if not queries.lacking(subject.generation, "neuron_changes"):
        said |= _of_neuron(rows(glossary_questions.neuron(subject)))
    return Examples(said, answers)


def quoted(text: str) -> str:
    """A text of the run in Markdown, as it is, whatever it holds."""
    shown = words.token(text)
    shown = shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
    ticks = "`" * (1 + max((len(found) for found in re.findall("`+", shown)), default=0))
    return f"{ticks} {shown} {ticks}" if "`" in shown else f"`{shown}`"


def logits(value: float) -> str:
    """Three decimals with a sign, so that sums can be followed by eye."""
    return f"{value:+.3f}".replace("-", "−")


def _known(row: Row) -> Row:
    """The row without its nulls (a NaN is not equal to itself)."""
    return {
        name: value
        for name, value in row.items()
        if value is not None and not (isinstance(value, float) and value != value)
    }


def _token(row: Row) -> str:
    return f"{quoted(row['token_text'])} → {quoted(row['target_text'])}"


def _of_generation(rows: list[Row]) -> Iterator[tuple[str, str]]:
    for row in rows:
        runs = f"{row['n_runs']:,} run" + ("" if row["n_runs"] == 1 else "s")
        yield (
            "generation",
            f"You look at generation {row['generation']} with {runs}, published "
            f"{row['published_at']:%Y-%m-%d %H:%M} UTC.",
        )


def _of_run(rows: list[Row]) -> Iterator[tuple[str, str]]:
    for row in rows:
        n_sequences = row["n_tokens"] // (row["sequence_length"] - 1)
        yield (
            "run",
            f"{quoted(row['run_id'])} is {row['n_ablated_heads']:,} heads on {row['n_tokens']:,} "
            f"tokens of {quoted(row['corpus'])} in {n_sequences:,} sequences, under "
            f"{row['ablations']} ablation.",
        )


def _of_ablations(name: str, rows: list[Row]) -> dict[str, str]:
    return {
        f"{row['ablation']}_ablation": f"It takes {name}'s mean direct effect on its top rows from "
        f"{logits(row['direct_effect'])} to {logits(row['direct_effect_ablated'])} logits; the "
        f"target's logit changes by {logits(row['logit_change'])}."
        for row in rows
    }


def _of_head(name: str, row: Row) -> dict[str, str]:
    removed, repair = row["direct_effect_removed"], row["self_repair"]
    n = row["n_clusters"]
    clusters = f"{n:,} cluster" if n == 1 else f"{n:,} clusters"
    said = {
        "direct_effect_removed": f"Under {row['ablation']} ablation {name}'s mean on its top rows "
        f"goes from {logits(row['direct_effect'])} to {logits(row['direct_effect_ablated'])}: "
        f"{logits(removed)} logits were removed.",
        "logit_change": f"Without {name} the target's logit changes by "
        f"{logits(row['logit_change'])} in the mean over its top rows; without repair it would be "
        f"{logits(-removed)}.",
        "self_repair": f"{name}, mean over its top rows: {logits(row['logit_change'])} − "
        f"({logits(row['direct_effect_ablated'])} − {logits(row['direct_effect'])}) = "
        f"**{logits(repair)}** logits.",
        "cluster": f"{name}'s {row['n_rows']:,} top rows have their error from {clusters}.",
    }
    if is_little(row.get("share_removed")):
        said["direct_effect_removed"] += " Less than half, so most of the head is still there."
    if "self_repair_se" in row:
        said["standard_error"] = (
            f"{name}'s mean self-repair on its top rows is {logits(repair)} ± "
            f"{words.number(row['self_repair_se'])} logits, over {clusters}."
        )
    return said


def _of_tokens(name: str, own: Row, tokens: dict[str, Row]) -> dict[str, str]:
    said = {}
    if {"first", "last"} <= tokens.keys():
        first, last = tokens["first"], tokens["last"]
        said["top_rows"] = (
            f"{name} has {own['n_rows']:,} top rows of {own['n_rows_all']:,} "
            f"(top {words.share(own['top_fraction'])}); the last of them, {_token(last)}, has a "
            f"direct effect of {logits(last['direct_effect'])} logits."
        )
        said["direct_effect"] = (
            f"{name} gives the target {logits(own['direct_effect'])} logits in the mean over its "
            f"top rows, and most at {_token(first)}: {logits(first['direct_effect'])}."
        )
        said["layernorm_ratio"] = (
            f"At {_token(first)} the scale goes from {first['ln_scale']:.3f} to "
            f"{first['ln_scale_ablated']:.3f}: a ratio of {first['layernorm_ratio']:.4f}. The mean "
            f"over {name}'s top rows is {own['layernorm_ratio']:.4f}."
        )
    for kind in ("overcorrected", "broken"):
        if kind in tokens:
            row = tokens[kind]
            said[kind] = (
                f"At {_token(row)} {name}'s direct effect is {logits(row['direct_effect'])} and "
                f"the self-repair {logits(row['self_repair'])} logits; so it is at "
                f"{words.share(own[f'share_{kind}'])} of its top rows."
            )
    if "clipped" in tokens and "layernorm_fraction_clipped" in own:
        row = tokens["clipped"]
        cut = 1.0 if row["layernorm_fraction"] > 1 else 0.0
        said["clipped"] = (
            f"At {_token(row)} LayerNorm's part is {logits(row['self_repair_from_layernorm'])} of "
            f"{logits(row['direct_effect'])} logits, {words.share(row['layernorm_fraction'])}, "
            f"and counts as {words.share(cut)}. {name}'s clipped mean is "
            f"{words.share(own['layernorm_fraction_clipped'])}"
        )
        if "layernorm_fraction_of_means" in own:
            ratio = own["layernorm_fraction_of_means"]
            said["clipped"] += f"; the ratio of the means is {words.share(ratio)}"
        said["clipped"] += "."
    return said


def _with_kinds(said: dict[str, str], ablation: str, counts: Row) -> dict[str, str]:
    """The examples with how many heads of the run are of a kind."""
    n, where = counts["n_heads"], f"under {ablation} ablation, on their top rows"
    if "n_repaired" not in counts:
        n_clusters = counts["n_clusters"]
        clusters = f"{n_clusters} cluster{'' if n_clusters == 1 else 's'} of top rows"
        why = f"With {clusters} no head of this run is labelled."
        return said | dict.fromkeys(("not_removed", "repaired"), why)
    found = {kind: f"{int(counts[f'n_{kind}']):,} of {n:,} heads" for kind in KINDS}
    own = {kind: f"{found[kind]} are, {where}." for kind in ("not_removed", "repaired")}
    also = {
        kind: f"{said[kind]} Of the run, {found[kind]} are by their means."
        for kind in ("overcorrected", "broken")
        if kind in said
    }
    return said | own | also


def _of_trust(name: str, own: Row, rows: list[Row]) -> dict[str, str]:
    said = {}
    for row in rows:
        said["frozen"] = (
            f"On {name}'s top rows the target's logit changes by {logits(row['logit_change'])}, "
            f"and by {logits(row['logit_change_frozen'])} with the final norm frozen."
        )
        if "share_hidden" in row:
            said["hidden"] = (
                f"Of the {logits(own['direct_effect_removed'])} logits that the ablation removes "
                f"on {name}'s top rows, {words.share(row['share_hidden'])} "
                f"({logits(own['self_repair'])}) does not show in the logit."
            )
    return said


def _of_reinforcement(rows: list[Row]) -> dict[str, str]:
    more = {"self-reinforcing": "gains", "self-repressing": "loses"}
    told = [row for row in rows if row.get("kind") in more]
    most = {row["kind"]: row for row in sorted(told, key=lambda row: abs(row["relative_slope"]))}
    return {
        row["kind"].replace("-", "_"): f"{row['name']} {more[row['kind']]} "
        f"{words.share(abs(row['relative_slope']))} of its direct effect per time its own output "
        "is added, the most of this run's heads."
        for row in most.values()
    }


def _of_neuron(rows: list[Row]) -> dict[str, str]:
    said = {}
    for row in rows:
        change = (
            f"from {logits(row['direct_effect'])} to {logits(row['direct_effect_ablated'])} logits"
        )
        said["top_repairing_neuron"] = (
            f"At {_token(row)}, ablating {row['name']}, it is neuron {row['neuron']:,} of MLP "
            f"{row['mlp_layer']}: {change}."
        )
        if row["anti_erasure"]:
            said["anti_erasure"] = (
                f"Neuron {row['neuron']:,} at {_token(row)} when {row['name']} is ablated: "
                f"{change}. So it is at {words.share(row['share_anti_erasure'])} of the head's "
                f"{row['n_rows']:,} kept tokens."
            )
    return said
