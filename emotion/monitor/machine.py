"""What `top` and `gpustat` would tell of this machine, read in a few milliseconds."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from emotion.hardware import Gpu, card_of, installed_gpus, usable_cores
from emotion.hardware.container import Usage, limited_memory
from emotion.monitor.status import MachineStatus

AskGpus = Callable[[], Sequence[Gpu]]
# Where no card was found, one will hardly appear soon.
_ASK_AGAIN_S = 60.0
_FIRST_ANSWER_S = 2.0


@dataclass(frozen=True)
class _Ticks:
    """Seconds that processors were counted for, since the machine started."""

    wall_s: float
    machine_s: float
    machine_busy_s: float
    process_s: float


@dataclass(frozen=True)
class MemoryHeld:
    """Bytes that this process holds, and those in use on the graphics card of the model; None without one."""

    process_bytes: int
    card_bytes: int | None = None


def memory_held(device: str) -> MemoryHeld:
    """What is held at this moment; takes 0.1 s for each graphics card where the model is on one."""
    card = None if device == "cpu" else card_of(device, installed_gpus())
    return MemoryHeld(psutil.Process().memory_info().rss, None if card is None else card.memory.used_bytes)


class MachineWatch:
    """Reads the machine; one thread at a time."""

    def __init__(self, ask_gpus: AskGpus = installed_gpus) -> None:
        self._process = psutil.Process()
        self._cores = usable_cores().logical
        self._cards = _CardWatch(ask_gpus)
        self._before = self._ticks()

    def read(self) -> MachineStatus:
        """How the machine is now. The first reading waits until the cards have answered, for 2 s at most; later ones
        say what the last answer was and take a few milliseconds.
        """
        before, now = self._before, self._ticks()
        self._before = now
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        with self._process.oneshot():
            process_bytes, process_threads = self._process.memory_info().rss, self._process.num_threads()
        return MachineStatus(
            cores=self._cores,
            cpu_percent=_percent(now.machine_busy_s - before.machine_busy_s, now.machine_s - before.machine_s),
            process_cpu_percent=_percent(now.process_s - before.process_s, now.wall_s - before.wall_s),
            process_bytes=process_bytes,
            process_threads=process_threads,
            memory=Usage(memory.total - memory.available, memory.total),
            swap=Usage(swap.used, swap.total),
            container=limited_memory(memory.total),
            gpus=self._cards.read(),
        )

    def _ticks(self) -> _Ticks:
        # Not psutil.cpu_percent, which remembers one reading for each thread that asks: a page asks from many.
        machine = psutil.cpu_times()
        # Linux counts the time of guests as time of users too.
        total_s = sum(machine) - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
        idle_s = machine.idle + getattr(machine, "iowait", 0.0)
        return _Ticks(time.perf_counter(), total_s, total_s - idle_s, time.process_time())


class _CardWatch:
    """Asks for the graphics cards on a thread of its own: gpustat sleeps 0.1 s for each, and a driver that starts
    takes seconds.
    """

    def __init__(self, ask: AskGpus) -> None:
        self._ask = ask
        self._gpus: tuple[Gpu, ...] = ()
        self._first = True
        self._next_s = float("-inf")
        self._asking: threading.Thread | None = None

    def read(self) -> tuple[Gpu, ...]:
        """The cards of the last answer, while the next one is on its way."""
        busy = self._asking is not None and self._asking.is_alive()
        if not busy and time.perf_counter() >= self._next_s:
            self._asking = threading.Thread(target=self._look, name="graphics cards", daemon=True)
            self._asking.start()
            if self._first:
                self._first = False
                self._asking.join(_FIRST_ANSWER_S)
        return self._gpus

    def _look(self) -> None:
        gpus = tuple(self._ask())
        if not gpus:
            self._next_s = time.perf_counter() + _ASK_AGAIN_S
        self._gpus = gpus


def _percent(part_s: float, whole_s: float) -> float:
    """0 for a period too short to be counted."""
    return round(100 * max(part_s, 0.0) / whole_s, 1) if whole_s > 0 else 0.0
