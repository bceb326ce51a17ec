"""What the Token page asks: where a text stands in a run, and every head at one token."""

from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import Subject
from selfrepair.app.questions.token_questions import KINDS, NUMBERS, ORDERS

BEFORE, AFTER = 12, 8  # tokens of context in the list of what was found
LONGEST = 24  # tokens that one searched text may be cut into
MOST_REPAIRERS = 3  # that are named beside a head


def found(subject: Subject, text: str, *, limit: int, offset: int) -> Answer:
    """The tokens at which `text` begins, in the order of the corpus; all, where it is empty.

    A text may go over several tokens. n_found: how many there are in all.
    """
    return subject.ask(
        f"""
        with

        texts as (
            select
                sequence,
                position,
                document,
                target_text,
                logit,
                string_agg(lower(target_text), '') over (
                    partition by sequence
                    order by position
                    rows between current row and {LONGEST - 1} following
                ) as text
            from tokens
            where run_id = $run
        ),

        places as (
            select
                * exclude (text),
                count(*) over () as n_found
            from texts
            where $search = ''
                or strpos(text, $search) between 1 and length(lower(target_text))
            order by
                sequence,
                position
            limit $limit
            offset $offset
        )

        select
            string_agg(around.target_text, '' order by around.position)
                filter (where around.position < places.position) as text_before,
            places.target_text,
            string_agg(around.target_text, '' order by around.position)
                filter (where around.position > places.position) as text_after,
            places.logit,
            places.document,
            places.sequence,
            places.position,
            n_found
        from places
        join tokens as around
            on around.run_id = $run
            and around.sequence = places.sequence
            and around.position between places.position - {BEFORE} and places.position + {AFTER}
        group by all
        order by
            places.sequence,
            places.position
        """,
        search=text.lower(),
        limit=limit,
        offset=offset,
    )


def sequence_of(subject: Subject, sequence: int) -> Answer:
    """One sequence's tokens."""
    return subject.ask(
        """
        select
            position,
            token_text,
            target_text,
            logit,
            document
        from tokens
        where run_id = $run
            and sequence = $sequence
        order by position
        """,
        sequence=sequence,
    )


def heads_at(subject: Subject, sequence: int, position: int, *, order: str, kind: str) -> Answer:
    """One row per ablated head at one token, with the components that changed most after it.

    order, kind: of `ORDERS` and `KINDS`. repairers: null where they were not kept, which they are
    for a head's top rows by direct effect.
    """
    here = """where run_id = $run
                and ablation = $ablation
                and sequence = $sequence
                and position = $position"""
    return subject.ask(
        f"""
        with

        changes as (
            select
                layer,
                head,
                component_name,
                direct_effect_change
            from token_repairers
            {here}
            qualify row_number() over (
                partition by
                    layer,
                    head
                order by abs(direct_effect_change) desc
            ) <= {MOST_REPAIRERS}
        ),

        named as (
            select
                layer,
                head,
                string_agg(
                    format('{{}} {{:+.2f}}', component_name, direct_effect_change),
                    ', '
                    order by abs(direct_effect_change) desc
                ) as repairers
            from changes
            group by all
        )

        select
            name,
            layer,
            head,
            {NUMBERS},
            repairers
        from self_repair
        left join named using (layer, head)
        {here}
            and {KINDS[kind]}
        order by {ORDERS[order]}, layer, head
        """,
        sequence=sequence,
        position=position,
    )
