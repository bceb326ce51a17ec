"""What the pages ask about trust in ablations, and about the authors' published numbers."""

from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import Subject


def trust(subject: Subject, row_set: str) -> Answer:
    """Section 5.1: each head's place by direct effect and by ablation."""
    return subject.ask(
        """
        select
            head_name(layer, head) as name,
            * exclude (run_id, ablation, row_set)
        from ablation_trust
        where run_id = $run
            and ablation = $ablation
            and row_set = $row_set
        order by abs(rank_difference) desc, layer, head
        """,
        row_set=row_set,
    )


def trust_by_run(subject: Subject, row_set: str) -> Answer:
    """How far each ablation agrees with direct effects over a run's heads."""
    return subject.ask(
        """
        select * exclude (run_id, row_set)
        from ablation_trust_by_run
        where run_id = $run
            and row_set = $row_set
        order by ablation = 'resample' desc, ablation
        """,
        row_set=row_set,
    )


def trust_by_ablation(subject: Subject, row_set: str) -> Answer:
    """Section 5.2: what each ablation says of a head, side by side."""
    return subject.ask(
        """
        select
            name,
            rank_by_direct_effect,
            rank_by_ablation_resample,
            rank_by_ablation_mean,
            rank_by_ablation_zero,
            rank_spread,
            share_hidden_resample,
            share_hidden_mean,
            share_hidden_zero
        from ablation_trust_by_ablation
        where run_id = $run
            and row_set = $row_set
        order by rank_spread desc, layer, head
        """,
        row_set=row_set,
    )


def beside_paper(subject: Subject, quantity: str) -> Answer:
    """A run's means beside the authors', head by head."""
    return subject.ask(
        """
        select
            layer,
            head,
            paper_value,
            value,
            value_se,
            difference_in_errors
        from beside_paper
        where run_id = $run
            and quantity = $quantity
        order by layer, head
        """,
        quantity=quantity,
    )


def paper_agreement(subject: Subject) -> Answer:
    """How well the run agrees with the authors, per quantity."""
    return subject.ask(
        """
        select * exclude (run_id)
        from paper_correlation
        where run_id = $run
        order by quantity
        """,
    )
