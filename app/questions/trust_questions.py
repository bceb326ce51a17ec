"""What the pages ask about trust in ablations, and about the authors' published numbers."""

from selfrepair.app.questions.queries import Answer, Serving, ask


def trust(serving: Serving, run: str, ablation: str, row_set: str) -> Answer:
    """Section 5.1: each head's place by direct effect and by ablation."""
    return ask(
        serving,
        """
        select
            format('L{}H{}', layer, head) as name,
            * exclude (run_id, ablation, row_set)
        from ablation_trust
        where run_id = $run
            and ablation = $ablation
            and row_set = $row_set
        order by abs(rank_difference) desc, layer, head
        """,
        run=run,
        ablation=ablation,
        row_set=row_set,
    )


def trust_by_run(serving: Serving, run: str, row_set: str) -> Answer:
    """How far each ablation agrees with direct effects over a run's heads."""
    return ask(
        serving,
        """
        select * exclude (run_id, row_set)
        from ablation_trust_by_run
        where run_id = $run
            and row_set = $row_set
        order by ablation = 'resample' desc, ablation
        """,
        run=run,
        row_set=row_set,
    )


def trust_by_ablation(serving: Serving, run: str, row_set: str) -> Answer:
    """Section 5.2: what each ablation says of a head, side by side."""
    return ask(
        serving,
        """
        select
            format('L{}H{}', layer, head) as name,
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
        run=run,
        row_set=row_set,
    )


def beside_paper(serving: Serving, run: str, quantity: str) -> Answer:
    """A run's means beside the authors', head by head."""
    return ask(
        serving,
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
        run=run,
        quantity=quantity,
    )


def paper_agreement(serving: Serving, run: str) -> Answer:
    """How well the run agrees with the authors, per quantity."""
    return ask(
        serving,
        """
        select * exclude (run_id)
        from paper_correlation
        where run_id = $run
        order by quantity
        """,
        run=run,
    )
