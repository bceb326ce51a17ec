"""Pool slots of runs that died: given back before a new run asks for one.

A run of the web UI is watched by Dagster's daemon, which frees its slots when it ends. A run of
the command line has no such watcher: killed, it would hold its slot of the pool for ever. So it
leaves a note of its process in its tags, and the next one looks whether that still lives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import dagster as dg
import psutil

PROCESS, HOST = "selfrepair/process", "selfrepair/host"
POOLS = ("gpu", "publish")


def tags_of_this_process() -> dict[str, str]:
    return {PROCESS: _process(os.getpid()), HOST: socket.gethostname()}


def free_slots_of_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Free the slots of runs that are over or whose process is gone; returns the runs' ids.

    A run of another machine or of the web UI that is not over is left alone.
    """
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]
    here = dg.RunsFilter(statuses=unfinished, tags={HOST: socket.gethostname()})
    for run in instance.get_runs(here):
        pid, _, _ = run.tags[PROCESS].partition("@")
        if _process(int(pid)) != run.tags[PROCESS]:
            instance.report_run_failed(run, "its process is gone")
    ended = []
    for run_id in _holders(instance):
        held = instance.get_run_by_id(run_id)
        if held is None or held.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            ended.append(run_id)
    return ended


def warn_if_busy(instance: dg.DagsterInstance, tell: Callable[[str], None]) -> None:
    """Say so where this run will wait for another that measures or publishes."""
    for pool in POOLS:
        holders = instance.event_log_storage.get_concurrency_info(pool).active_run_ids
        if holders:
            tell(f"waiting for run {', '.join(sorted(holders))}, which holds the pool '{pool}' …")


def _holders(instance: dg.DagsterInstance) -> list[str]:
    """The runs that hold a slot, were given one that they did not take yet, or await one."""
    pools = [instance.event_log_storage.get_concurrency_info(pool) for pool in POOLS]
    claimed = {slot.run_id for pool in pools for slot in pool.claimed_slots}
    return sorted(claimed | {step.run_id for pool in pools for step in pool.pending_steps})


def _process(pid: int) -> str:
    """A process's number and start, which no later process has; empty where it is gone."""
    try:
        return f"{pid}@{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
