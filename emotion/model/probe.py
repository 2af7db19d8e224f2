"""What PyTorch finds on this machine and how it behaves there; nothing of it is needed to predict."""

import time
from dataclasses import dataclass

import torch

_MATRIX_SIZE = 1024
_BUSY_S = 0.3


@dataclass(frozen=True)
class ThreadsAtWork:
    """How many threads torch says it takes, and how many cores it kept busy when it was measured.

    `gflops` is how many thousand million operations a second it did meanwhile, in float32.
    """

    claimed: int
    busy: float
    gflops: float


@dataclass(frozen=True)
class CudaCard:
    """A graphics card that torch can use; `is_supported` is whether this torch was built for its capability."""

    name: str
    memory_bytes: int
    capability: tuple[int, int]
    is_supported: bool

    @property
    def capability_text(self) -> str:
        """As NVIDIA writes it: 8.9."""
        return "{}.{}".format(*self.capability)


def gpu_names() -> list[str]:
    """Names of the graphics cards that torch can use, in the order of `cuda:0`, `cuda:1`."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def cuda_cards() -> list[CudaCard]:
    """The same cards with their memory and compute capability."""
    built_for = torch.cuda.get_arch_list() if gpu_names() else []
    found = []
    for index, name in enumerate(gpu_names()):
        capability = torch.cuda.get_device_capability(index)
        memory_bytes = torch.cuda.get_device_properties(index).total_memory
        found.append(CudaCard(name, memory_bytes, capability, runs_on(built_for, capability)))
    return found


def runs_on(built_for: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build for `sm_80`, `compute_90` and so on has code for a card of this capability.

    Machine code (`sm_`) runs on later cards of the same major number, `compute_` is translated for all later ones.
    """
    major, minor = capability
    for word in built_for:
        kind, _, digits = word.partition("_")
        plain = digits.rstrip("af")  # sm_90a is for that card alone
        if not plain.isdigit():
            continue
        built = (int(plain[:-1]), int(plain[-1]))
        if kind == "sm" and (built == capability if plain != digits else built[0] == major and built[1] <= minor):
            return True
        if kind == "compute" and built <= capability:
            return True
    return False


def measure_threads(threads: int) -> ThreadsAtWork:
    """Let torch multiply matrices with so many threads, and compare processor time with wall time."""
    torch.set_num_threads(threads)
    matrix = torch.ones(_MATRIX_SIZE, _MATRIX_SIZE)
    torch.mm(matrix, matrix)  # the first product starts the threads
    products = 0
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall_s < _BUSY_S:
        torch.mm(matrix, matrix)
        products += 1
    elapsed_s = time.perf_counter() - wall_s
    busy = (time.process_time() - cpu_s) / elapsed_s
    return ThreadsAtWork(torch.get_num_threads(), busy, products * 2 * _MATRIX_SIZE**3 / elapsed_s / 1e9)
