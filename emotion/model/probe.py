"""What PyTorch finds on this machine and how it behaves there; nothing of it is needed to predict."""

import time
from dataclasses import dataclass

import torch

_MATRIX_SIZE = 1024
_BUSY_S = 0.3


@dataclass(frozen=True)
class ThreadsAtWork:
    """How many threads torch says it takes, and how many cores it kept busy when it was measured."""

    claimed: int
    busy: float


def gpu_names() -> list[str]:
    """Names of the graphics cards that torch can use, in the order of `cuda:0`, `cuda:1`."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def measure_threads(threads: int) -> ThreadsAtWork:
    """Let torch multiply matrices with so many threads, and compare processor time with wall time."""
    torch.set_num_threads(threads)
    matrix = torch.ones(_MATRIX_SIZE, _MATRIX_SIZE)
    torch.mm(matrix, matrix)  # the first product starts the threads
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall_s < _BUSY_S:
        torch.mm(matrix, matrix)
    busy = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
    return ThreadsAtWork(torch.get_num_threads(), busy)
