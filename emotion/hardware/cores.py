"""Cores that this process may use, and the thread counts that follow."""

import os
from dataclasses import dataclass

from emotion.hardware.container import quota_cores


@dataclass(frozen=True)
class Cores:
    """Cores this process may use, after affinity and the container's quota; physical counts no hyper-threads."""

    logical: int
    physical: int


@dataclass(frozen=True)
class Threads:
    """Thread counts of one start: recordings decoded at once, and threads of the network."""

    decode: int
    inference: int


def usable_cores() -> Cores:
    import psutil  # only here: the page and the command line ask once

    machine_logical = psutil.cpu_count(logical=True) or 1
    # macOS has no affinity.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine_logical
    logical = min(allowed, quota_cores() or allowed)
    machine_physical = psutil.cpu_count(logical=False) or machine_logical
    physical = max(1, round(logical * machine_physical / machine_logical))
    return Cores(logical, physical)


def plan_threads(cores: Cores, on_gpu: bool, decode: int = 0, inference: int = 0, is_small: bool = False) -> Threads:
    """Half the logical cores decode; the network gets every physical core, or half the logical ones beside a GPU.

    A count above 0 overrides, and so does OMP_NUM_THREADS for the network. A small network, as the built-in model,
    gets one: its operations are over before a second thread has woken up. On two cores, two threads took 27 ms for a
    clip of 3 s, one 14 ms; for 30 s it was 80 and 90 ms.
    """
    half = max(1, cores.logical // 2)
    if is_small:
        return Threads(decode or half, inference or 1)
    by_environment = os.environ.get("OMP_NUM_THREADS", "")
    fallback = int(by_environment) if by_environment.isdigit() else (half if on_gpu else cores.physical)
    return Threads(decode or half, inference or max(1, fallback))
