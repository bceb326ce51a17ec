"""What bf16 costs over a whole run: every row of it against a run of the same settings in fp32.

    python -m tests.benchmarks.bf16_error --tokens 2048
    python -m tests.benchmarks.bf16_error --layers 27: --tokens 128 --sequence-length 16

Both runs are measured by `selfrepair run`, in a folder each of `--folder`, where they go on if they
were interrupted. Of each layer: its precision at the end and the error that the run states, both as
stored in `runs`, and the error over all its rows, of the worst ablation. Ends with 1 where that is
above the bound for any layer, whatever its precision.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import duckdb

from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.measurement.engine.fast_error import ERROR_BOUND

BOUND = ERROR_BOUND["bf16"]
RUN = [sys.executable, "-c", "from selfrepair.dagster_project.cli.main import main; main()", "run"]


class OfLayer(NamedTuple):
    """One layer of a run in bf16: what the run says of it, and what is so."""

    layer: int
    precision: str
    stated: float | None
    error: float

    @property
    def is_within(self) -> bool:
        return self.error <= BOUND


def compare(fast: Warehouse, exact: Warehouse, run_id: str) -> list[OfLayer]:
    """Every measured layer of two published runs of the same settings."""
    files = [
        [str(path) for path in RunTable(warehouse, "head_ablations", run_id).files()]
        for warehouse in (fast, exact)
    ]
    with duckdb.connect() as connection:
        errors = connection.execute(
            """
            with by_ablation as (
                select
                    layer,
                    sqrt(
                        sum((fast.logit_change::double - exact.logit_change) ** 2)
                        / sum(exact.logit_change::double ** 2)
                    ) as error
                from read_parquet($1) as fast
                join read_parquet($2) as exact
                    using (ablation, layer, head, sequence, position)
                group by ablation, layer
            )
            select layer, max(error)
            from by_ablation
            group by layer
            order by layer
            """,
            files,
        ).fetchall()
    with open_serving(fast) as connection:
        [(layers, stated)] = connection.execute(
            "select layer_precision, precision_error from runs where run_id = ?", [run_id]
        ).fetchall()
    return [
        OfLayer(layer, layers[layer], stated[layer] if stated else None, error)
        for layer, error in errors
    ]


def measure(folder: Path, options: argparse.Namespace, precision: str) -> Warehouse:
    choices = [
        *("--tokens", str(options.tokens), "--sequence-length", str(options.sequence_length)),
        *("--ablations", options.ablations, "--corpus", options.corpus),
        *(("--layers", options.layers) if options.layers else ()),
        *("--precision", precision, "--warehouse", str(folder / precision)),
    ]
    began = time.monotonic()
    subprocess.run([*RUN, options.model, *choices], check=True, stdout=subprocess.DEVNULL)
    print(f"{precision}: {time.monotonic() - began:.0f} s", flush=True)
    return Warehouse(folder / precision)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--corpus", default="python-docs")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--ablations", default="resample")
    parser.add_argument("--layers", help="as for a run; all if not given")
    parser.add_argument("--folder", type=Path, help="of both warehouses; a temporary one otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        fast, exact = (measure(folder, options, precision) for precision in ("bf16", "fp32"))
        layers = compare(fast, exact, options.model)
    print("\n| layer | measured in | error the run states | error over the whole run | within |")
    print("| --- | --- | --- | --- | --- |")
    for of in layers:
        stated = "-" if of.stated is None else f"{of.stated:.2%}"
        print(
            f"| {of.layer} | {of.precision} | {stated} | {of.error:.2%} "
            f"| {'yes' if of.is_within else 'NO'} |"
        )
    beyond = [of.layer for of in layers if not of.is_within]
    counts = Counter(of.precision for of in layers)
    print(
        f"\n{', '.join(f'{n} of {len(layers)} layers in {p}' for p, n in counts.items())}; "
        f"the bound is {BOUND:.0%}; beyond it: {beyond or 'none'}"
    )
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
