"""What is computed on a device, a GPU say, against the float64 oracle: every fast family.

    python -m tests.benchmarks.device_errors --device cuda
    python -m tests.benchmarks.device_errors --device cuda --families gpt2,gemma2 --processes 2

Of each small random model: the fp32 error (the worst of any column, three ablations, all heads, by
the head's largest `logit_change`), and of each fast precision that the device has the error of the
worst layer and ablation, with the layers that a run would choose. On CUDA besides: whether the host
waits for the device while heads are ablated, and whether a memory that is too small changes a
number. Ends with 1 where a bound of the tests is broken.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import torch

from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.model.models import choose_device
from selfrepair_assets.measurement.products.precision import FAST, has_tf32
from tests.benchmarks.families import fast_error, worst_error
from tests.helpers.models.engine_truth import (
    BF16_BOUND,
    FP32_BOUND,
    PERTURBATION,
    ablate,
    loaded,
    request_of,
    spec_of,
    truth,
)

BOUNDS = {"fp32": FP32_BOUND, "tf32": BF16_BOUND / 4, "bf16": BF16_BOUND}


class OfFamily(NamedTuple):
    """A family's errors by precision, and what else is wrong with it."""

    name: str
    errors: dict[str, float]
    wrong: list[str]

    @property
    def is_within(self) -> bool:
        return not self.wrong and all(e < BOUNDS[p] for p, e in self.errors.items())


def measure(name: str, device: str) -> OfFamily:
    """One family, on the device."""
    torch.set_num_threads(1)
    model, expected = loaded(name, device=device), truth(name)
    errors = {"fp32": worst_error(Measurer(model, spec_of()), expected)}
    for precision in FAST:
        if precision != "tf32" or has_tf32(model.device):
            errors[precision] = fast_error(model, expected, precision)
    wrong = []
    if model.device.type == "cuda":
        wrong += [f"waits: {reason}" for reason in [waits(name, device)] if reason]
        wrong += [f"short of memory: {reason}" for reason in [when_short(name, device)] if reason]
    return OfFamily(name, errors, wrong)


def waits(name: str, device: str) -> str:
    """Why the host waits for the device between the first ablation and the last; "": never."""
    measurer, expected = Measurer(loaded(name, device=device), spec_of()), truth(name)
    request = request_of(expected)
    answers = measurer._engine.ablate_heads(request, measurer.layer_precision, rows_at_once=4)
    next(answers)  # what is made once, tables of positions say
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(answers)
    except RuntimeError as error:
        return str(error)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return ""


def when_short(name: str, device: str) -> str:
    """What changes where the memory runs out once in the middle; "": nothing."""
    model, expected = loaded(name, device=device), truth(name)
    whole = ablate(Measurer(model, spec_of()), expected)
    measurer = Measurer(model, spec_of())
    engine = measurer._engine
    plain = engine.ablate_heads
    huge = torch.cuda.get_device_properties(model.device).total_memory

    def short(*args: object) -> object:
        answers = plain(*args)  # type: ignore[arg-type]
        yield next(answers)
        engine.ablate_heads = plain  # type: ignore[method-assign]
        torch.empty(2 * huge, dtype=torch.uint8, device=model.device)

    engine.ablate_heads = short  # type: ignore[method-assign, assignment]
    halved = ablate(measurer, expected)
    for key, columns in whole.items():
        largest = expected.columns[key]["logit_change"].abs().max()
        for column, values in columns.items():
            difference = ((values - halved[key][column]).abs().max() / largest).item()
            if not difference < FP32_BOUND:
                return f"{column} of {key} by {difference:.1e}"
    return "" if model.at_most.sequences < len(expected.tokens) else "nothing was halved"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--families", default=",".join(PERTURBATION), help="comma-separated")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    device, names = choose_device(options.device), options.families.split(",")
    print(torch.cuda.get_device_name(device) if device.type == "cuda" else device, flush=True)
    fine = True
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for found in pool.map(measure, names, [str(device)] * len(names)):
            errors = "  ".join(f"{p} {error:.1e}" for p, error in found.errors.items())
            print(f"{found.name:20} {errors}  {'; '.join(found.wrong)}", flush=True)
            fine &= found.is_within
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
