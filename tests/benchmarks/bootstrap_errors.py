"""Do the published standard errors agree with a bootstrap over sequences?

    python -m tests.benchmarks.bootstrap_errors --warehouse warehouse/data

For each head of each published run: sequences are drawn with replacement from those that have top
rows, the mean is taken over their rows, and the standard deviation of that mean over many draws is
set beside the `_se` of `head_summary`. Few clusters make both uncertain, so that the ratio is shown
by how many sequences a head's rows come from.
"""

import argparse

import numpy as np

from warehouse.paths import Warehouse
from warehouse.read import open_serving

QUANTITIES = ("direct_effect", "logit_change", "self_repair", "layernorm_ratio")


def bootstrap_error(sums: np.ndarray, counts: np.ndarray, draws: int, seed: int) -> float:
    """Standard deviation of sum / count over drawn sequences; sums and counts are per sequence."""
    drawn = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    return float(np.std(sums[drawn].sum(1) / counts[drawn].sum(1), ddof=1))


def ratios(warehouse: Warehouse, quantity: str, draws: int) -> list[tuple[int, float]]:
    """Per run, ablation and head: sequences with top rows, and published error by bootstrap's."""
    with open_serving(warehouse) as connection:
        rows = connection.execute(
            f"""
            with by_sequence as (
                select run_id, ablation, layer, head, sequence,
                    sum({quantity})::double as total, count(*)::double as n
                from top_by_direct_effect
                group by all
            )
            select list(total), list(n), any_value({quantity}_se)
            from by_sequence
            join head_summary using (run_id, ablation, layer, head)
            group by run_id, ablation, layer, head
            order by all
            """
        ).fetchall()
    found = []
    for i, (sums, counts, published) in enumerate(rows):
        error = bootstrap_error(np.array(sums), np.array(counts), draws, seed=i)
        if error > 0:
            found.append((len(sums), published / error))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--warehouse", default=None)
    parser.add_argument("--draws", type=int, default=2000)
    choices = parser.parse_args()
    print("| mean of | heads | median ratio | within 15 % | of heads in 10 sequences or more |")
    print("| --- | --- | --- | --- | --- |")
    for quantity in QUANTITIES:
        found = ratios(Warehouse(choices.warehouse), quantity, choices.draws)
        ratio = np.array([r for _, r in found])
        many = np.array([r for n, r in found if n >= 10])
        near = [float(np.mean(np.abs(values - 1) <= 0.15)) for values in (ratio, many)]
        print(
            f"| {quantity} | {len(ratio)} | {np.median(ratio):.3f} | {near[0]:.0%} "
            f"| {near[1]:.0%} of {len(many)} |"
        )


if __name__ == "__main__":
    main()
