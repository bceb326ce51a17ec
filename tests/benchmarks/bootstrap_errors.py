"""Do the published standard errors agree with a bootstrap that selects the top rows anew?

    python -m tests.benchmarks.bootstrap_errors --warehouse warehouse/data
    python -m tests.benchmarks.bootstrap_errors --null
    python -m tests.benchmarks.bootstrap_errors --until 0.4

For each head of each published run: clusters (documents, or sequences: run_clusters) are drawn with
replacement, the rows of largest direct effect are selected anew among those drawn, and the standard
deviation of their mean over many draws, times sqrt(G / (G - 1)), is set beside the `_se` of
`head_summary`.

--null simulates heads that do nothing, or repair nothing, and counts how often they are labelled.

--until measures the bundled model's last two layers over twenty samples of the corpus, each until
its errors are below the limit, and sets what the runs claim beside how their means scatter.
"""

import argparse
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np

from selfrepair.warehouse import sql_created
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.measurement.options import Limit
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.clean_run import CLEAN_RUN
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sequences import store_sequences
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import collect
from selfrepair_assets.steps.until import stop_if_sure, sureness_of
from tests.helpers.runs.literal_facts import (
    copy_direct_effects,
    fill_stored_results,
    insert_arrow,
    warehouse_of,
)

QUANTITIES = (
    *("direct_effect", "direct_effect_ablated", "direct_effect_removed", "logit_change"),
    *("self_repair", "self_repair_from_heads", "self_repair_from_mlps"),
    *("self_repair_from_layernorm", "layernorm_ratio", "share_overcorrected", "share_broken"),
    *("layernorm_fraction_clipped", "heads_fraction_clipped", "mlps_fraction_clipped"),
)
RATIOS = ("share_removed", "layernorm_fraction_of_means")
OF_ROW = {
    "share_overcorrected": "overcorrected::integer",
    "share_broken": "broken::integer",
    **{f"{part}_fraction_clipped": f"clipped({part}_fraction)" for part in ("layernorm", "heads")},
    "mlps_fraction_clipped": "clipped(mlps_fraction)",
}


TWO_LAYERS: dict[str, Any] = {
    **{"model": "smollm2-135m-instruct", "layers": "28:", "tokens": 6144, "sequence_length": 64},
    **{"shard_sequences": 4, "neuron_heads": "L29H0", "reinforcement_layers": "29"},
}
TOP_MEANS = """
    select avg(repair) as mean
    from (
        select
            layer,
            head,
            logit_change::double - direct_effect_ablated + direct_effect as repair,
            row_number() over (partition by layer, head order by direct_effect desc) as rank,
            count(*) over (partition by layer, head) as n
        from read_parquet($1)
        where sequence < $2
    )
    where rank <= floor($3 * n + 1e-9)
    group by layer, head
    order by layer, head
    """


def selected_anew(values: np.ndarray, cluster: np.ndarray, fraction: float, draws: int) -> Any:
    """Means over the top rows of every draw of clusters: [draw quantity].

    values: [row quantity], the largest direct effect first; cluster: of each row.
    """
    n = int(cluster.max()) + 1
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=draws)
    means = np.empty((draws, values.shape[1]))
    known = np.isfinite(values)
    filled = np.where(known, values, 0)
    for i, times in enumerate(drawn):
        weight = times[cluster]
        before = np.cumsum(weight) - weight
        weight = np.clip(np.floor(fraction * weight.sum() + 1e-9) - before, 0, weight)
        with np.errstate(invalid="ignore"):
            means[i] = weight @ filled / (weight @ known)
    return means


def heads(connection: Any) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Per run, ablation and head: its published row, its rows' values and their clusters."""
    columns = ", ".join(f"{OF_ROW.get(name, name)}::double as {name}" for name in QUANTITIES)
    summary = connection.execute(
        "select * from head_summary where n_rows > 0 order by run_id, ablation, layer, head"
    )
    names = [column[0] for column in summary.description]
    for row in summary.fetchall():
        head = dict(zip(names, row, strict=True))
        found = connection.execute(
            f"""
            select dense_rank() over (order by cluster) - 1 as cluster, {columns}
            from self_repair
            join position_clusters using (run_id, sequence, position)
            where (run_id, ablation, layer, head) = (?, ?, ?, ?)
            order by direct_effect desc, sequence, position
            """,
            [head[name] for name in ("run_id", "ablation", "layer", "head")],
        ).fetchnumpy()
        values = np.stack([np.ma.filled(found[name], np.nan) for name in QUANTITIES], axis=1)
        yield head, values, found["cluster"]


def compare(connection: Any, draws: int) -> None:
    """Prints, per quantity, published errors as multiples of the bootstrap's."""
    ratios: dict[str, list[float]] = {name: [] for name in (*QUANTITIES, *RATIOS)}
    clusters = set()
    for head, values, cluster in heads(connection):
        means = selected_anew(values, cluster, head["top_fraction"], draws)
        n = int(cluster.max()) + 1
        clusters.add(n)
        drawn = dict(zip(QUANTITIES, means.T, strict=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn["share_removed"] = drawn["direct_effect_removed"] / drawn["direct_effect"]
            drawn["layernorm_fraction_of_means"] = (
                drawn["self_repair_from_layernorm"] / drawn["direct_effect"]
            )
        for name, of_draws in drawn.items():
            error = float(np.nanstd(of_draws, ddof=1)) * np.sqrt(n / (n - 1))
            if error > 1e-9 and head[f"{name}_se"] is not None:
                ratios[name].append(head[f"{name}_se"] / error)
    print(f"clusters: {sorted(clusters)}")
    print("| quantity, on top rows | heads | median ratio | within 25 % |")
    print("| --- | --- | --- | --- |")
    for name, found in ratios.items():
        if found:
            near = np.mean(np.abs(np.array(found) - 1) <= 0.25)
            print(f"| {name} | {len(found)} | {np.median(found):.2f} | {near:.0%} |")


def simulated(n_clusters: int, seed: int, repairs: float, n_heads: int = 200) -> Any:
    """Heads whose tokens are alike within a sequence, and of which `repairs` is repaired.

    The direct effect is 1 on average and removed as a whole; what is left of the logit change, and
    with repairs = 0 the whole self-repair, is noise.
    """
    import pyarrow as pa

    length = 20
    made = warehouse_of([], runs=[{"top_fraction": 0.1, "n_heads": n_heads, "n_layers": 1}])
    random = np.random.default_rng(seed)
    shape = (n_clusters, length)
    sequence, position = (indices.ravel() for indices in np.indices(shape))
    n = sequence.size
    constant = {"token": 1, "target": 2, "logit": 0.0, "logit_bias": 0.0, "ln_scale": 1.0}
    words = {"run_id": ["run"] * n, "token_text": ["a"] * n, "target_text": ["b"] * n}
    place = {"sequence": sequence, "position": position}
    insert_arrow(
        made,
        "tokens",
        pa.table(words | place | {name: np.full(n, value) for name, value in constant.items()}),
    )
    for head in range(n_heads):
        noise = random.normal(size=(n_clusters, 1)) + random.normal(size=shape)
        effect = 1 + 0.3 * random.normal(size=(n_clusters, 1)) + random.exponential(size=shape) - 1
        columns = {
            "direct_effect": effect,
            "logit_change": -(1 - repairs) * effect + noise,
            **{name: np.ones(shape) for name in ("ln_scale", "ln_scale_ablated")},
            **{f"self_repair_from_{p}": np.zeros(shape) for p in ("heads", "mlps", "last_mlp")},
            "direct_effect_ablated": np.zeros(shape),
        }
        rows = {"run_id": ["run"] * n, "ablation": ["resample"] * n, **place}
        rows |= {"layer": np.zeros(n, np.int16), "head": np.full(n, head, np.int16)}
        rows |= {name: values.ravel().astype(np.float32) for name, values in columns.items()}
        insert_arrow(made, "head_ablations", pa.table(rows))
        after = effect + noise
        rows = {"run_id": ["run"] * n, **place, "scale": np.ones(n, np.float32)}
        rows |= {"layer": np.zeros(n, np.int16), "head": np.full(n, head, np.int16)}
        rows |= {
            "direct_effect": effect.ravel().astype(np.float32),
            "direct_effect_after": after.ravel().astype(np.float32),
            "ln_scale_after": np.ones(n, np.float32),
        }
        insert_arrow(made, "self_reinforcement", pa.table(rows))
    copy_direct_effects(made)
    sql_created.create_all(made, comments=False)
    fill_stored_results(made)
    return made


def false_labels(rounds: int) -> None:
    """Prints how often heads that do nothing of the kind are labelled, by number of clusters."""
    print("| clusters | heads | p < 5 % | labelled repaired or broken | self-reinforcing |")
    print("| --- | --- | --- | --- | --- |")
    for n_clusters in (10, 16, 50):
        alone, labelled, fed = [], [], []
        for seed in range(rounds):
            connection = simulated(n_clusters, seed, repairs=0.0)
            for row_set in ("all", "top_by_direct_effect"):
                alone += connection.execute(
                    "select student_p(self_repair, self_repair_se, n_clusters) < 0.05"
                    " from head_means where row_set = ?",
                    [row_set],
                ).fetchall()
                labelled += connection.execute(
                    "select kind in ('repaired', 'overcorrected', 'broken') from head_kinds"
                    " where row_set = ?",
                    [row_set],
                ).fetchall()
            fed += connection.execute(
                "select kind <> 'neither' from self_reinforcing_heads"
            ).fetchall()
        shares = [float(np.mean([value for (value,) in found])) for found in (alone, labelled, fed)]
        print(
            f"| {n_clusters} | {len(alone)} | "
            + " | ".join(f"{share:.1%}" for share in shares)
            + " |",
            flush=True,
        )


def scattered(until: str, seeds: int) -> None:
    """Of each head: the root mean square of the runs' errors / the deviation of their means."""
    means, errors = [], []
    for seed in range(seeds):
        with TemporaryDirectory() as place:
            spec = RunSpec(**TWO_LAYERS, until=until, seed=seed)
            folder = RunFolder(Warehouse(place), spec.run_id)
            prepare.cache_clear()
            start(folder, prepare(spec))
            store_sequences(folder)
            for shard in CLEAN_RUN.left(folder):
                CLEAN_RUN.measure(folder, shard, lambda _: None)
            for table in CLEAN_RUN.tables:
                collect(folder, table)
            keep_top_rows(folder)
            for shard in folder.shards:
                HEAD_ABLATIONS.measure(folder, shard, lambda _: None)
                stop_if_sure(folder)
                if folder.stopped_at is not None:
                    break
            part = folder.stopped_at or folder.shards[-1].stop
            errors.append(sureness_of(folder, part, Limit(1.0)).ratios)
            files = [str(file) for file in folder.table("head_ablations").shards()]
            found = duckdb.execute(TOP_MEANS, [files, part, spec.top_fraction]).fetchnumpy()
            means.append(found["mean"])
            print(f"seed {seed}: stopped after {part} of {spec.n_sequences} sequences", flush=True)
    claimed, scatter = np.sqrt(np.square(errors).mean(0)), np.std(means, axis=0, ddof=1)
    ratios = np.sort(claimed / scatter)
    print(f"claimed / scatter of {len(ratios)} heads: {np.round(ratios, 2)}")
    pooled = np.sqrt(np.square(claimed).sum() / np.square(scatter).sum())
    print(f"median {np.median(ratios):.2f}, of all heads' variances together {pooled:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--warehouse", default=None)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--null", action="store_true", help="label simulated heads instead")
    parser.add_argument("--rounds", type=int, default=2, help="of 200 simulated heads each")
    parser.add_argument("--until", help="the errors of runs that stop at this limit, instead")
    parser.add_argument("--seeds", type=int, default=20, help="of these runs")
    choices = parser.parse_args()
    if choices.until:
        scattered(choices.until, choices.seeds)
        return
    if choices.null:
        false_labels(choices.rounds)
        return
    with open_serving(Warehouse(choices.warehouse)) as connection:
        compare(connection, choices.draws)


if __name__ == "__main__":
    main()
