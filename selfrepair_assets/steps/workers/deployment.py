"""Who measures the shards of a run: this process, or the workers of a Ray cluster.

A setting of the deployment, and no part of what a run is: a run may go on with other workers.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.steps.sharded.step import Executor, in_this_process
from selfrepair_assets.steps.workers import MOST

logger = logging.getLogger(__name__)
NUMBER, ADDRESS = "SELFREPAIR_WORKERS", "SELFREPAIR_RAY_ADDRESS"
INSTALL = "pip install 'selfrepair[cluster]'"
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Has a Ray of one machine listen on loopback alone, as it does by itself on Windows and macOS.
Elsewhere it takes the machine's own address, even where it is told 127.0.0.1."""


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and where.

    Attributes:
        number: None for one on each GPU, or, where there is none, in this process (of a cluster:
            one on each machine).
        ray_address: of a Ray cluster that is there, as `ray.init` takes it; None for this machine.
    """

    number: int | None = None
    ray_address: str | None = None

    @classmethod
    def of_deployment(cls, number: int | None = None, ray_address: str | None = None) -> Workers:
        """What is not given is that of the environment: `NUMBER` and `ADDRESS`.

        Raises InputError where the environment's number is none.
        """
        text = os.environ.get(NUMBER, "").strip()
        if number is None and text:
            number = int(text) if text.isdecimal() and len(text) < 9 else 0
        if number is not None and not 1 <= number <= MOST:
            raise InputError(
                f"${NUMBER} is the number of workers, 1 to {MOST}, not '{text[:40] or number}'."
            )
        return cls(number, ray_address or os.environ.get(ADDRESS) or None)

    def is_this_process(self, device: str) -> bool:
        """Whether a run on that device is measured here, without Ray.

        device: as `--device` names it.
        Raises InputError where workers are asked for that cannot be.
        """
        wanted = self.number is not None or self.ray_address is not None
        gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 1
        if self.ray_address is None and (self.number or gpus) < 2:
            return True
        if wanted and ":" in device:
            raise InputError(
                f"--device {device} is one device, and each worker has one of its own: "
                "use --device cuda, or leave --workers out."
            )
        if find_spec("ray") is not None:
            return False
        if wanted:
            raise InputError(f"Workers need Ray, which is not installed: {INSTALL}")
        logger.warning(f"{gpus} GPUs are here and one measures; for all: {INSTALL}")
        return True

    @contextmanager
    def executor(self, device: str) -> Iterator[Executor]:
        """Who measures; workers stay from one step to the next, until the context ends.

        Raises InputError where they cannot be had.
        """
        if self.is_this_process(device):
            yield in_this_process
            return
        if self.ray_address is None:
            os.environ |= ON_LOOPBACK  # read when Ray is imported
        from selfrepair_assets.steps.workers.ray_workers import ray_workers  # seconds to import

        with ray_workers(self.number, self.ray_address, device) as execute:
            yield execute
