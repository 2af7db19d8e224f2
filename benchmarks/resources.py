"""What a process takes of its machine while it works: processor, resident memory, graphics card."""

import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_STATUS = Path("/proc/self/status")
_LOOK_S = 0.02


@dataclass(frozen=True)
class Memory:
    """Resident memory of this process in MB (10^6 bytes); `file_mb` are mapped files, which the system can drop.

    `peak_mb` is the highest since `forget_peak`. Only Linux tells the kinds apart and forgets; elsewhere all counts as
    anonymous, and the peak is that of the whole life.
    """

    anonymous_mb: float
    file_mb: float
    peak_mb: float

    @property
    def resident_mb(self) -> float:
        return self.anonymous_mb + self.file_mb


def memory() -> Memory:
    if not _STATUS.is_file():
        import psutil

        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes
        return Memory(psutil.Process().memory_info().rss / 1e6, 0.0, peak_mb)
    pairs = (line.partition(":") for line in _STATUS.read_text().splitlines())
    kilobytes = {key: int(value.split()[0]) for key, _, value in pairs if value.endswith("kB")}
    megabytes = {key: value * 1024 / 1e6 for key, value in kilobytes.items()}
    return Memory(megabytes["RssAnon"], megabytes["RssFile"] + megabytes["RssShmem"], megabytes["VmHWM"])


def forget_peak() -> None:
    """Let the peak begin anew from what is resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # no Linux, or a container that forbids it: peaks are then of the whole life
        return


@dataclass(frozen=True)
class Use:
    """What a piece of work took.

    `cpu_percent` is of all logical cores of the machine; `growth_mb` is the peak of resident memory over what was
    resident before, `anonymous_growth_mb` the same without mapped files. The card's values are those of the whole card,
    None without one.
    """

    elapsed_s: float
    cpu_percent: float
    growth_mb: float
    anonymous_growth_mb: float
    peak_mb: float
    gpu_percent: float | None
    gpu_growth_mb: float | None

    @property
    def gpu(self) -> tuple[float | None, float | None]:
        return self.gpu_percent, self.gpu_growth_mb


def measured(work: Callable[[], object], at_least_s: float = 0.0) -> Use:
    """What `work` takes, repeated for `at_least_s` so that short work can be seen; `elapsed_s` is of one time."""
    forget_peak()
    before = memory()
    times = 0
    with _Watch() as watch:
        started_s, cpu_s = time.perf_counter(), time.process_time()
        while times == 0 or time.perf_counter() - started_s < at_least_s:
            work()
            times += 1
        elapsed_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    peak_mb = memory().peak_mb
    return Use(
        elapsed_s=elapsed_s / times,
        cpu_percent=100 * cpu_s / elapsed_s / (os.cpu_count() or 1),
        growth_mb=peak_mb - before.resident_mb,
        anonymous_growth_mb=max(watch.anonymous_mb) - before.anonymous_mb,
        peak_mb=peak_mb,
        gpu_percent=sum(watch.gpu_percents) / len(watch.gpu_percents) if watch.gpu_percents else None,
        gpu_growth_mb=max(watch.gpu_mb) - watch.gpu_mb[0] if watch.gpu_mb else None,
    )


@dataclass
class _Watch:
    """Looks at memory and card fifty times a second for as long as the context lasts."""

    anonymous_mb: list[float] = field(default_factory=list)
    gpu_percents: list[float] = field(default_factory=list)
    gpu_mb: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._card = first_card()
        self._ended = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        self.anonymous_mb.append(memory().anonymous_mb)
        if self._card is not None:
            nvml, handle = self._card
            self.gpu_percents.append(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            self.gpu_mb.append(nvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6)


def first_card() -> tuple[Any, Any] | None:
    """NVML and the handle of the first graphics card, None without a card or its driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
    except Exception:  # without a driver the library raises what NVML gives it
        return None
