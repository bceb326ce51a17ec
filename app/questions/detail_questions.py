"""What the pages ask about components, neurons, self-reinforcement and trust."""

from selfrepair.app.questions.queries import MOST_MARKS, Answer
from selfrepair.app.questions.subject import OF_HEAD, WHERE_HEAD, Subject

MOST_HEADS, MOST_COMPONENTS = 30, 60  # rows and columns of the matrix of who repairs whom
LEFT_OUT = {"none": 0, "the first": 1, "the first 4": 4}  # of a sequence's positions
N_ERRORS = 2  # a change is beyond noise where it is more standard errors than this away from 0


def who_repairs_whom(
    subject: Subject,
    left_out: int = 0,
    *,
    most_heads: int = MOST_HEADS,
    most_components: int = MOST_COMPONENTS,
) -> Answer:
    """The most self-repaired heads, and the components whose part in it is largest beyond noise.

    left_out: how many first positions of every sequence do not count. most_heads, most_components:
    how many of each.
    """
    return subject.ask(
        f"""
        with

        repaired as (
            select
                layer,
                head,
                self_repair,
                share_removed
            from head_summary
            semi join component_repair_means using (run_id, ablation, layer, head)
            where run_id = $run
                and ablation = $ablation
            order by
                self_repair desc nulls last,
                layer,
                head
            limit {int(most_heads)}
        ),

        pairs as (
            select
                layer,
                head,
                head_name(layer, head) as ablated,
                self_repair,
                share_removed,
                component_name(component_layer, component_head) as repairer,
                component_layer,
                component_head,
                direct_effect_change,
                direct_effect_change_se,
                direct_effect_change_trimmed,
                coalesce(
                    abs(direct_effect_change) > {N_ERRORS} * direct_effect_change_se,
                    false
                ) as beyond_noise,
                n_rows,
                n_clusters
            from component_repair_means
            join repaired using (layer, head)
            where run_id = $run
                and ablation = $ablation
                and positions_left_out = $left_out
        ),

        repairers as (
            select repairer
            from pairs
            group by repairer
            order by
                sum(abs(direct_effect_change)) filter (where beyond_noise) desc nulls last,
                repairer
            limit {int(most_components)}
        )

        select *
        from pairs
        semi join repairers using (repairer)
        order by
            self_repair desc nulls last,
            layer,
            head,
            component_layer,
            component_head nulls last
        """,
        left_out=left_out,
    )


def repairers_of_token(
    subject: Subject,
    sequence: int,
    position: int,
) -> Answer:
    """The 16 components whose direct effect changed most at one token, where that was kept."""
    return subject.ask(
        f"""
        select
            component_name as component,
            direct_effect_change
        from token_repairers
        {OF_HEAD}
            and sequence = $sequence
            and position = $position
        order by abs(direct_effect_change) desc
        limit 16
        """,
        sequence=sequence,
        position=position,
    )


def of_head(subject: Subject, view: str) -> Answer:
    """The rows of a view about one head under one ablation; a sample where there are many."""
    return subject.ask(
        f"""
        select * exclude (run_id, ablation, layer, head, name)
        from {view}
        {OF_HEAD}
        qualify row_number() over () <= {MOST_MARKS}
        """,
    )


def reinforcing_heads(subject: Subject) -> Answer:
    """Section 5.3: which heads are self-reinforcing, self-repressing or neither."""
    return subject.ask(
        """
        select * exclude (run_id)
        from self_reinforcing_heads
        where run_id = $run
        order by relative_slope
        """,
    )


def reinforcement(subject: Subject) -> Answer:
    """Fig. 9 and 19: a sample of positions, the same ones at each scale."""
    return subject.ask(
        f"""
        select * exclude (run_id, layer, head, name)
        from self_reinforcement_by_token
        {WHERE_HEAD}
        qualify row_number() over (
            partition by scale
            order by md5(concat(sequence, ':', position)), sequence, position
        ) <= {MOST_MARKS // 3}
        order by
            scale,
            sequence,
            position
        """,
    )


def reinforcement_by_scale(subject: Subject) -> Answer:
    """Appendix E: the means at each scale."""
    return subject.ask(
        f"""
        select * exclude (run_id, layer, head, name)
        from self_reinforcement_by_scale
        {WHERE_HEAD}
        order by scale
        """,
    )
