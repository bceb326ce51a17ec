"""What the Head page asks: one head of one run, its rows, their distribution, its tokens."""

from typing import Any

from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import OF_HEAD, WHERE_HEAD, Subject

MOST_BINS = 60
SAMPLE = 1_000  # tokens per ablation in a scatter

ROWS_OF = {
    "top by direct effect": "top_by_direct_effect",
    "top by last MLP's repair": "top_by_mlp_repair",
    "all tokens": "self_repair",
}


def summary(subject: Subject) -> Answer:
    """The head's means under each ablation, on the top rows and on all."""
    return subject.ask(
        f"""
        select *
        from head_summary
        {WHERE_HEAD}
        order by ablation = 'resample' desc, ablation
        """,
    )


def noise(subject: Subject, row_set: str) -> Answer:
    """Correlation, slope, spread, and the shares overcorrected and broken, per ablation."""
    return subject.ask(
        f"""
        select * exclude (run_id, layer, head, name, row_set)
        from self_repair_noise
        {WHERE_HEAD}
            and row_set = $row_set
        order by ablation = 'resample' desc, ablation
        """,
        row_set=row_set,
    )


def sampled_tokens(subject: Subject) -> Answer:
    """Fig. 3 and 5: a sample of tokens, the same ones under every ablation."""
    return subject.ask(
        f"""
        select
            ablation,
            sequence,
            position,
            token_text,
            target_text,
            direct_effect,
            logit_change,
            self_repair
        from logit_change_by_token
        join tokens using (run_id, sequence, position)
        {WHERE_HEAD}
        qualify row_number() over (
            partition by ablation
            order by md5(concat(sequence, ':', position)), sequence, position
        ) <= {SAMPLE}
        order by ablation, sequence, position
        """,
    )


def per_token(subject: Subject, rows: str) -> Answer:
    """Self-repair per token, in equal bins; what lies beyond the 0.1 % ends is in the last ones."""
    return binned(
        subject,
        f"select ablation, self_repair from {ROWS_OF[rows]} {WHERE_HEAD}",
    )


def per_sequence(subject: Subject, row_set: str) -> Answer:
    """Mean self-repair per sequence ("per prompt"), in equal bins."""
    return binned(
        subject,
        f"""select ablation, self_repair from self_repair_by_sequence {WHERE_HEAD}
            and row_set = $row_set""",
        row_set=row_set,
    )


def binned(subject: Subject, values: str, **parameters: Any) -> Answer:
    return subject.ask(
        f"""
        with

        drawn as (
            {values}
        ),

        ends as (
            select
                quantile_cont(self_repair, 0.001) as low,
                greatest(quantile_cont(self_repair, 0.999), low + 1e-6) as high,
                least({MOST_BINS}, ceil(sqrt(count(*))) + 4) as n_bins
            from drawn
        ),

        counted as (
            select
                ablation,
                least(
                    floor((greatest(self_repair, low) - low) / (high - low) * n_bins),
                    n_bins - 1
                ) as bin,
                any_value(low) as low,
                any_value((high - low) / n_bins) as width,
                count(*) as n_rows
            from drawn
            cross join ends
            group by all
        )

        select
            ablation,
            low + bin * width as bin_start,
            low + (bin + 1) * width as bin_end,
            n_rows,
            n_rows / sum(n_rows) over (partition by ablation) as share
        from counted
        order by ablation, bin
        """,
        **parameters,
    )


def by_position(subject: Subject) -> Answer:
    """The head's means over all its rows, position by position, then bin by bin."""
    return subject.ask(
        f"""
        select * exclude (run_id, ablation, layer, head)
        from effects_by_position
        {OF_HEAD}
        order by position_from
        """,
    )


def with_and_without(subject: Subject) -> Answer:
    """The head's means over all positions, without BOS, and without the attention sinks."""
    return subject.ask(
        f"""
        select * exclude (run_id, ablation, layer, head, name)
        from head_means_by_positions
        {OF_HEAD}
        order by row_set desc, positions_left_out
        """,
    )


def histogram(subject: Subject, view: str) -> Answer:
    """Fig. 4, 17 and 18, and Fig. 16: the bins of a view of ratios, all of one width.

    share_above_one: where the view has it.
    """
    return subject.ask(
        f"""
        select
            ablation,
            bin_start,
            least(bin_end, bin_start + 0.005) as bin_end,
            n_rows,
            columns('^share(_above_one)?$')
        from {view}
        {WHERE_HEAD}
        order by ablation, bin_start
        """,
    )
