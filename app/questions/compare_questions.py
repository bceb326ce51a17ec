"""What the Compare page asks: two heads' means, their difference, and both spreads."""

from dataclasses import dataclass

from selfrepair.app.questions.head_questions import ROWS_OF, binned
from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.run_questions import ROW_SETS
from selfrepair.app.questions.subject import Subject


@dataclass(frozen=True)
class Side:
    """What is compared: a head under one ablation of one run, on some of its rows.

    rows: of `ROW_SETS`.
    """

    subject: Subject
    rows: str

    def label(self, other: "Side") -> str:
        """What this side is called beside the other: its head, and what they do not share."""
        own, their = self.subject, other.subject
        named = [own.head_name]
        named += [own.run] if own.run != their.run else []
        named += [own.ablation] if own.ablation != their.ablation else []
        named += [self.rows] if self.rows != other.rows else []
        return ", ".join(named)


def differences(one: Side, other: Side) -> Answer:
    """Every quantity of both, the other's less the one's, and the error of that."""
    return one.subject.ask(
        """
        from heads_compared(
            {
                run_id: $run, ablation: $ablation, layer: $layer, head: $head, row_set: $rows
            },
            {
                run_id: $other_run, ablation: $other_ablation, layer: $other_layer,
                head: $other_head, row_set: $other_rows
            }
        )
        """,
        rows=ROW_SETS[one.rows],
        other_run=other.subject.run,
        other_ablation=other.subject.ablation,
        other_layer=other.subject.layer,
        other_head=other.subject.head,
        other_rows=ROW_SETS[other.rows],
    )


def spreads(one: Side, other: Side) -> Answer:
    """Self-repair per token of both, in the same bins; `ablation` has what each is called."""
    return binned(
        one.subject,
        f"""select $one_label as ablation, self_repair
            from {ROWS_OF[one.rows]}
            where run_id = $run
                and ablation = $ablation
                and layer = $layer
                and head = $head
            union all
            select $other_label, self_repair
            from {ROWS_OF[other.rows]}
            where run_id = $other_run
                and ablation = $other_ablation
                and layer = $other_layer
                and head = $other_head""",
        one_label=one.label(other),
        other_label=other.label(one),
        other_run=other.subject.run,
        other_ablation=other.subject.ablation,
        other_layer=other.subject.layer,
        other_head=other.subject.head,
    )
