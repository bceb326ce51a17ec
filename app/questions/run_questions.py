"""What the pages ask about runs, models and heads, each as one query over the published views.

Nothing is defined here: self-repair, top rows, fractions and errors are the views'. A query picks
columns and rows, puts values into bins, or takes a sample where a chart could not draw them all.
"""

from collections.abc import Iterable

from selfrepair.app.questions import queries
from selfrepair.app.questions.queries import MOST_MARKS, Answer, Generation, ask
from selfrepair.app.questions.subject import Subject
from selfrepair_assets.measurement.run_spec import OPTIONS

# What can be shown per head. name -> whether it has a sign (0 is then the colours' middle).
QUANTITIES = {
    "self_repair": True,
    "self_repair_from_heads": True,
    "self_repair_from_mlps": True,
    "self_repair_from_last_mlp": True,
    "self_repair_from_post_norm": True,
    "self_repair_from_layernorm": True,
    "direct_effect": True,
    "direct_effect_ablated": True,
    "direct_effect_removed": True,
    "share_removed": True,
    "share_hidden": True,
    "logit_change": True,
    "layernorm_fraction_of_means": True,
    "heads_fraction_of_means": True,
    "mlps_fraction_of_means": True,
    "layernorm_fraction_clipped": False,
    "heads_fraction_clipped": False,
    "mlps_fraction_clipped": False,
    "layernorm_ratio": False,
    "share_layernorm_ratio_above_one": False,
    "share_overcorrected": False,
    "share_broken": False,
}

# Of these, ratios of means: where the denominator is near 0 they are wild, and colours end at 1.
RATIOS = {name for name in QUANTITIES if name.endswith("_of_means")}
RATIOS |= {"share_removed", "share_hidden"}

# What is repaired, or a share of it, says little of a head of which little was removed.
ABOUT_REPAIR = {name for name in QUANTITIES if "repair" in name or "fraction" in name}
ABOUT_REPAIR |= {"share_hidden", "share_overcorrected", "share_broken"}

# Which heads a page shows, by what its ablation removed of them and by their kind.
KEPT_HEADS = (
    "all",
    "at least half removed",
    "less than half removed",
    "repaired",
    "overcorrected",
    "broken",
    "neither",
    "no effect",
)

# What a choice of rows is called, and in the column row_set.
ROW_SETS = {"top by direct effect": "top_by_direct_effect", "all tokens": "all"}


def runs(generation: Generation) -> Answer:
    """All runs, the newest first."""
    return ask(
        generation,
        """
        select
            * exclude (ablations, heads, layer_precision, precision_error, versions, options),
            array_to_string(ablations, ', ') as ablations,
            coalesce(len(heads), n_layers * n_heads) as n_ablated_heads,
            versions::varchar as versions
        from runs
        order by finished_at desc, run_id
        """,
    )


def settings(subject: Subject) -> Answer:
    """Everything that is known of one run: what `runs` says, and each further option of it."""
    return subject.ask(
        """
        with

        one as (
            select columns(* exclude (options))::varchar
            from runs
            where run_id = $run
        ),

        known as (
            from one
            unpivot (value for setting in (columns(*)))
        ),

        chosen as (
            select unnest(map_entries(options)) as option
            from runs
            where run_id = $run
        )

        select
            setting,
            value
        from known
        union all
        select
            option.key,
            coalesce(option.value, 'left to the run')
        from chosen
        where option.key not in (select setting from known)
        """,
    )


def meaning_of_setting(generation: Generation, setting: str) -> str:
    """What a row of `settings` means: the column of `runs`, or the option of `selfrepair run`."""
    said = queries.meanings(generation).get(("runs", setting))
    return said or (OPTIONS[setting].explained if setting in OPTIONS else "")


def heads(subject: Subject) -> Answer:
    """One row per head of a run: all quantities with their standard errors, and its kind."""
    return subject.ask(
        """
        with

        kinds as (
            select
                run_id,
                ablation,
                layer,
                head,
                any_value(kind) filter (where row_set = 'top_by_direct_effect') as kind,
                any_value(kind) filter (where row_set = 'all') as kind_all
            from head_kinds
            where run_id = $run
                and ablation = $ablation
            group by
                run_id,
                ablation,
                layer,
                head
        )

        select *
        from head_summary
        left join kinds using (run_id, ablation, layer, head)
        where run_id = $run
            and ablation = $ablation
        order by layer, head
        """,
    )


def by_depth(
    subject: Subject, view: str, quantity: str, runs: list[str], *, over_all: bool
) -> Answer:
    """Figures 1, 6, 10 and 11 for several runs; heads are sampled where a chart has too many.

    over_all: whether the quantity is over all rows, and so the share removed too.
    """
    share_removed = "share_removed_all" if over_all else "share_removed"
    return subject.ask(
        f"""
        with

        removed as (
            select
                run_id,
                ablation,
                layer,
                head,
                {share_removed} as share_removed
            from head_summary
        )

        select
            run_id,
            layer,
            head,
            depth,
            {quantity},
            {quantity}_se,
            layer_{quantity},
            layer_{quantity}_se,
            share_removed
        from {view}
        join removed using (run_id, ablation, layer, head)
        where run_id in (select unnest($runs))
            and ablation = $ablation
        qualify row_number() over (order by md5(concat(run_id, layer, '.', head))) <= {MOST_MARKS}
        order by run_id, layer, head
        """,
        runs=runs,
    )


def training_series(generation: Generation) -> Answer:
    """Every run that is a step of a training series: the series with most steps first."""
    return ask(generation, "from training_steps order by n_runs desc, series, step")


def over_training(subject: Subject, quantity: str) -> Answer:
    """The layers of a run's training series, step by step; none where the run is in no series."""
    return subject.ask(
        f"""
        select
            series,
            step,
            run_id,
            layer,
            {quantity},
            {quantity}_se,
            n_rows,
            n_clusters
        from layers_over_training
        where ablation = $ablation
            and series = (
                select series
                from training_steps
                where run_id = $run
            )
        order by layer, step
        """,
    )


def effects(subject: Subject) -> Answer:
    """Fig. 2 and 20-22: direct effect, what was removed of it, and logit change, over all rows."""
    return subject.ask(
        """
        with

        zones as (
            select
                run_id,
                ablation,
                layer,
                head,
                self_repaired
            from logit_change_by_head
        )

        select
            head_name(layer, head) as name,
            layer,
            head,
            direct_effect,
            direct_effect_se,
            direct_effect_removed,
            direct_effect_removed_se,
            share_removed,
            logit_change,
            logit_change_se,
            self_repaired,
            kind,
            n_rows,
            n_clusters
        from head_kinds
        join zones using (run_id, ablation, layer, head)
        where run_id = $run
            and ablation = $ablation
            and row_set = 'all'
        order by layer, head
        """,
    )


def figures(generation: Generation, columns: Iterable[str]) -> Answer:
    """These columns of every figure of the paper, in its order."""
    return ask(generation, f"select {', '.join(columns)} from figures")


def rows_of(subject: Subject, view: str, most: int = 1000) -> Answer:
    """The first rows of a view for one run, in order. `view` is a published name."""
    query = f'from "{view}" where run_id = $run order by all limit {int(most)}'
    return subject.ask(query)


def authors_models(generation: Generation) -> list[str]:
    """The models of which the authors published numbers."""
    answer = ask(generation, "select distinct model from paper_head_summary order by model")
    return list(answer.frame["model"])
