"""What the list of a head's tokens asks, and one token opened."""

from selfrepair.app.questions.head_questions import ROWS_OF
from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import OF_HEAD, WHERE_HEAD, Subject

# How the token list can be ordered, and the SQL for it.
ORDERS = {
    "largest direct effect": "direct_effect desc",
    "most removed": "direct_effect_removed desc",
    "largest self-repair": "self_repair desc",
    "smallest self-repair": "self_repair",
    "largest fall of the logit": "logit_change",
}
KINDS = {
    "all": "true",
    "at least half removed": "direct_effect_removed / nullif(direct_effect, 0) >= 0.5",
    "overcorrected": "overcorrected",
    "broken": "broken",
}
WITH_TEXT = """(sequence, position) in (
                    select (sequence, position)
                    from tokens
                    where run_id = $run
                        and (
                            contains(lower(target_text), $search)
                            or contains(lower(token_text), $search)
                        )
                )"""
# What a list has of each row.
NUMBERS = """direct_effect,
            direct_effect_removed,
            logit_change,
            self_repair,
            self_repair_from_heads,
            self_repair_from_mlps,
            self_repair_from_post_norm,
            self_repair_from_layernorm,
            overcorrected,
            broken"""
FULL_COLOR = 0.995
"""The quantile of a head's absolute values that gets the full colour.

Seldom one token's number, and above the threshold of the top 2 %, so that these differ in colour.
"""


def color_scale(subject: Subject, quantity: str) -> Answer:
    """Over all of the head's tokens, the absolute value that gets the full colour."""
    return subject.ask(
        f"""
        select quantile_cont(abs({quantity}), {FULL_COLOR}) as largest
        from self_repair
        {OF_HEAD}
        """,
    )


def instances(
    subject: Subject,
    *,
    rows: str,
    order: str,
    kind: str,
    search: str,
    limit: int,
    offset: int,
) -> Answer:
    """One page of the head's tokens; `n_found` is how many there are in all.

    All of them are ordered by one column, and what else is shown is read for the page alone.
    """
    key, _, direction = ORDERS[order].partition(" ")
    return subject.ask(
        f"""
        with

        found as materialized (
            select
                sequence,
                position,
                {key} as sort_key
            from {ROWS_OF[rows]}
            {OF_HEAD}
                and {KINDS[kind]}
                and {WITH_TEXT if search else "true"}
        ),

        page as (
            from found
            order by sort_key {direction}, sequence, position
            limit $limit
            offset $offset
        )

        select
            sequence,
            position,
            token_text,
            target_text,
            {NUMBERS},
            (select count(*) from found) as n_found
        from page
        join {ROWS_OF[rows]} using (sequence, position)
        join tokens using (run_id, sequence, position)
        {OF_HEAD}
        order by sort_key {direction}, sequence, position
        """,
        search=search.lower(),
        limit=limit,
        offset=offset,
    )


def stretches(
    subject: Subject,
    *,
    places: list[tuple[int, int]],
    before: int,
    after: int,
) -> Answer:
    """The text around places (sequence, position), with the head's numbers at each token."""
    return subject.ask(
        f"""
        with

        places as (
            select
                unnest($sequences::integer[]) as sequence,
                unnest($positions::integer[]) as place
        )

        select
            sequence,
            place,
            position,
            token_text,
            target_text,
            direct_effect,
            direct_effect_removed,
            self_repair,
            logit_change
        from self_repair
        join tokens using (run_id, sequence, position)
        join places using (sequence)
        {OF_HEAD}
            and position between place - $before and place + $after
        order by sequence, place, position
        """,
        sequences=[sequence for sequence, _ in places],
        positions=[position for _, position in places],
        before=before,
        after=after,
    )


def instance(subject: Subject, sequence: int, position: int) -> Answer:
    """One token under every ablation: what the head did there and what repaired it."""
    return subject.ask(
        f"""
        select
            target_text,
            ablation,
            direct_effect,
            direct_effect_ablated,
            direct_effect_removed,
            logit,
            logit_change,
            self_repair,
            self_repair_from_heads,
            self_repair_from_mlps,
            self_repair_from_last_mlp,
            self_repair_from_post_norm,
            self_repair_from_layernorm,
            layernorm_ratio,
            overcorrected,
            broken
        from self_repair
        join tokens using (run_id, sequence, position)
        {WHERE_HEAD}
            and sequence = $sequence
            and position = $position
        order by ablation = 'resample' desc, ablation
        """,
        sequence=sequence,
        position=position,
    )
