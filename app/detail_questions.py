"""What the pages ask about components, neurons, self-reinforcement and trust."""

from app.queries import MOST_MARKS, Answer, Serving, ask

MOST_COMPONENTS = 60  # rows and columns of the matrix of who repairs whom


def who_repairs_whom(serving: Serving, run: str, ablation: str) -> Answer:
    """The heads that are repaired most, and the components that repair them most."""
    return ask(
        serving,
        f"""
        with

        pairs as (
            select
                layer,
                head,
                format('L{{}}H{{}}', layer, head) as ablated,
                case
                    when component = 'mlp' then format('MLP {{}}', component_layer)
                    else format('L{{}}H{{}}', component_layer, component_head)
                end as repairer,
                component_layer,
                component_head,
                direct_effect_change,
                direct_effect_change_se
            from component_repairs
            where run_id = $run
                and ablation = $ablation
        ),

        repaired as (
            select ablated
            from pairs
            group by ablated
            order by sum(abs(direct_effect_change)) desc
            limit {MOST_COMPONENTS // 2}
        ),

        repairers as (
            select repairer
            from pairs
            semi join repaired using (ablated)
            group by repairer
            order by sum(abs(direct_effect_change)) desc
            limit {MOST_COMPONENTS}
        )

        select *
        from pairs
        semi join repaired using (ablated)
        semi join repairers using (repairer)
        order by
            component_layer,
            component_head nulls last,
            layer,
            head
        """,
        run=run,
        ablation=ablation,
    )


def repairers_of_token(
    serving: Serving,
    run: str,
    ablation: str,
    layer: int,
    head: int,
    sequence: int,
    position: int,
) -> Answer:
    """The 16 components whose direct effect changed most at one token, where that was kept."""
    return ask(
        serving,
        """
        with

        kept as (
            select
                head_changes,
                mlp_changes,
                n_layers,
                n_heads
            from component_changes
            join runs using (run_id)
            where run_id = $run
                and ablation = $ablation
                and layer = $layer
                and head = $head
                and sequence = $sequence
                and position = $position
        ),

        heads as (
            select
                n_layers,
                n_heads,
                len(head_changes) as n,
                unnest(range(len(head_changes))) as i,
                unnest(head_changes) as direct_effect_change
            from kept
        ),

        mlps as (
            select
                n_layers - len(mlp_changes) + unnest(range(len(mlp_changes))) as component_layer,
                unnest(mlp_changes) as direct_effect_change
            from kept
        ),

        components as (
            select
                format('L{}H{}', n_layers - n // n_heads + i // n_heads, i % n_heads) as component,
                direct_effect_change
            from heads
            union all
            select
                format('MLP {}', component_layer),
                direct_effect_change
            from mlps
        )

        select *
        from components
        order by abs(direct_effect_change) desc
        limit 16
        """,
        run=run,
        ablation=ablation,
        layer=layer,
        head=head,
        sequence=sequence,
        position=position,
    )


def of_head(serving: Serving, view: str, run: str, ablation: str, layer: int, head: int) -> Answer:
    """The rows of a view about one head under one ablation; a sample where there are many."""
    return ask(
        serving,
        f"""
        select * exclude (run_id, ablation, layer, head)
        from {view}
        where run_id = $run
            and ablation = $ablation
            and layer = $layer
            and head = $head
        qualify row_number() over () <= {MOST_MARKS}
        """,
        run=run,
        ablation=ablation,
        layer=layer,
        head=head,
    )


def reinforcing_heads(serving: Serving, run: str) -> Answer:
    """Section 5.3: which heads are self-reinforcing, self-repressing or neither."""
    return ask(
        serving,
        """
        select
            format('L{}H{}', layer, head) as name,
            * exclude (run_id)
        from self_reinforcing_heads
        where run_id = $run
        order by relative_slope
        """,
        run=run,
    )


def reinforcement(serving: Serving, run: str, layer: int, head: int) -> Answer:
    """Fig. 9 and 19: a sample of positions, the same ones at each scale."""
    return ask(
        serving,
        f"""
        select * exclude (run_id, layer, head)
        from self_reinforcement_by_token
        where run_id = $run
            and layer = $layer
            and head = $head
        qualify row_number() over (
            partition by scale
            order by md5(concat(sequence, ':', position)), sequence, position
        ) <= {MOST_MARKS // 3}
        order by scale
        """,
        run=run,
        layer=layer,
        head=head,
    )


def reinforcement_by_scale(serving: Serving, run: str, layer: int, head: int) -> Answer:
    """Appendix E: the means at each scale."""
    return ask(
        serving,
        """
        select * exclude (run_id, layer, head)
        from self_reinforcement_by_scale
        where run_id = $run
            and layer = $layer
            and head = $head
        order by scale
        """,
        run=run,
        layer=layer,
        head=head,
    )
