"""What the Glossary alone asks for its examples: a few rows of one run, and of one head of it.

All of it reads what is stored per head or the rows kept of one head, so that a page with every
example takes no longer on a long run.
"""

from selfrepair.app.questions.queries import Answer, Generation, ask
from selfrepair.app.questions.subject import OF_HEAD, Subject


def published(generation: Generation) -> Answer:
    """The generation that is looked at."""
    return ask(
        generation,
        """
        select
            generation,
            published_at,
            (select count(*) from runs) as n_runs
        from generation
        """,
    )


def tokens(subject: Subject) -> Answer:
    """Top rows of a head that are an example of something: the one of largest direct effect."""
    return subject.ask(
        f"""
        with

        kept as (
            select *
            from top_by_direct_effect
            {OF_HEAD}
        ),

        examples as (
            select
                unnest([
                    'first',
                    'last',
                    case when overcorrected then 'overcorrected' end,
                    case when broken then 'broken' end,
                    case when layernorm_fraction not between 0 and 1 then 'clipped' end
                ]) as example,
                *
            from kept
        ),

        picked as (
            select *
            from examples
            where example is not null
            qualify row_number() over (
                partition by example
                order by
                    case
                        when example = 'last' then direct_effect
                        else -direct_effect
                    end,
                    sequence,
                    position
            ) = 1
        )

        select
            example,
            sequence,
            position,
            token_text,
            target_text,
            direct_effect,
            self_repair,
            self_repair_from_layernorm,
            layernorm_fraction,
            picked.ln_scale,
            ln_scale_ablated,
            layernorm_ratio
        from picked
        join tokens using (run_id, sequence, position)
        order by example
        """,
    )


def neuron(subject: Subject) -> Answer:
    """The top-repairing neuron that changes most, of this head or of another that was followed.

    anti_erasure: whether that one is; share_anti_erasure: of the head's kept tokens.
    """
    return subject.ask(
        """
        with

        followed as (
            select *
            from top_repairing_neuron
            where run_id = $run
                and ablation = $ablation
        ),

        one_head as (
            select
                layer,
                head,
                count(*) as n_rows,
                avg(anti_erasure::integer) as share_anti_erasure
            from followed
            group by
                layer,
                head
            order by
                layer = $layer and head = $head desc,
                share_anti_erasure desc,
                layer,
                head
            limit 1
        ),

        most as (
            select *
            from followed
            join one_head using (layer, head)
            order by
                anti_erasure desc,
                direct_effect_ablated - direct_effect desc,
                sequence,
                position
            limit 1
        )

        select
            name,
            n_layers - 1 as mlp_layer,
            neuron,
            token_text,
            target_text,
            direct_effect,
            direct_effect_ablated,
            anti_erasure,
            n_rows,
            share_anti_erasure
        from most
        join tokens using (run_id, sequence, position)
        join runs using (run_id)
        """,
    )
