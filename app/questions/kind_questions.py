"""What the pages ask about kinds of heads, what is repaired of a run, and what errors rest on."""

from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import Subject


def clusters(subject: Subject) -> Answer:
    """What a run's errors are clustered by, and which text it measured."""
    return subject.ask(
        """
        select
            clustered_by,
            run_clusters.n_clusters,
            run_clusters.n_documents,
            run_clusters.n_sequences,
            sample,
            drawn_from
        from run_clusters
        join runs using (run_id)
        where run_id = $run
        """,
    )


def reinforcement_clusters(subject: Subject) -> Answer:
    """The same of self-reinforcement, which is measured on fewer tokens."""
    return subject.ask(
        """
        select
            if(count(distinct document) >= 10, 'document', 'sequence') as clustered_by,
            count(distinct cluster) as n_clusters,
            count(distinct document) as n_documents,
            count(distinct sequence) as n_sequences
        from reinforcement_clusters
        join tokens using (run_id, sequence, position)
        where run_id = $run
        """,
    )


def headline(subject: Subject) -> Answer:
    """Per ablation of a run, on the top rows: what is repaired of what is removed, and by what.

    mean_*: means over all heads; the other columns are those of run_repair.
    """
    return subject.ask(
        """
        with

        means as (
            select
                run_id,
                ablation,
                count(*) as n_heads_measured,
                avg(self_repair) as mean_self_repair,
                avg(layernorm_fraction_clipped) as mean_layernorm_fraction_clipped,
                avg(share_overcorrected) as mean_share_overcorrected,
                avg(share_broken) as mean_share_broken,
                arg_max(name, self_repair) as most_repaired,
                arg_max(share_removed, self_repair) as most_repaired_share_removed,
                max(self_repair) as most_self_repair
            from head_summary
            where run_id = $run
            group by
                run_id,
                ablation
        ),

        repairs as (
            select *
            from run_repair
            where run_id = $run
                and row_set = 'top_by_direct_effect'
        )

        select * exclude (run_id, row_set)
        from means
        left join repairs using (run_id, ablation)
        order by ablation = 'resample' desc, ablation
        """,
    )


def kinds(subject: Subject) -> Answer:
    """What becomes of what an ablation removes of each head on its top rows."""
    return subject.ask(
        """
        select * exclude (run_id, ablation, row_set)
        from head_kinds
        where run_id = $run
            and ablation = $ablation
            and row_set = 'top_by_direct_effect'
        order by layer, head
        """,
    )


def repair(subject: Subject) -> Answer:
    """How much of what is removed of a run is repaired on the top rows, and by what."""
    return subject.ask(
        """
        select * exclude (run_id, row_set)
        from run_repair
        where run_id = $run
            and row_set = 'top_by_direct_effect'
        order by ablation = 'resample' desc, ablation
        """,
    )


def measured(subject: Subject, run: str) -> Answer:
    """One row: which model a run is of, on which text, and how many rows each of its heads has."""
    return subject.ask(
        """
        select
            any_value(columns(['model', 'revision', 'weights_sha256', 'corpus'])),
            any_value(runs.top_fraction) as top_fraction,
            count(*) as n_heads,
            max(n_rows) as n_rows,
            max(n_rows_all) as n_rows_all
        from runs
        join head_summary using (run_id)
        where run_id = $of_run
            and ablation = $ablation
        """,
        of_run=run,
    )
