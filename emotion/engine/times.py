"""Where the time of an engine and of its last clips goes, stage by stage."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class StageTimes:
    """Seconds since the engine began: decoding over all its threads; the inference thread at work (`inference_s`),
    waiting for a decoder while recordings were accepted (`starved_s`), and without any work (`idle_s`).

    Much `starved_s` beside little `inference_s` is the picture of a graphics card that waits for the CPU.
    """

    decode_s: float = 0.0
    inference_s: float = 0.0
    starved_s: float = 0.0
    idle_s: float = 0.0


@dataclass(frozen=True)
class ClipTimes:
    """Milliseconds that one clip was decoded, waited in between, and was in batches of the model."""

    decode_ms: float
    queue_ms: float
    inference_ms: float


class Stopwatch:
    """Adds up the stages of several threads; what is still under way counts up to now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times = StageTimes()
        self._under_way: dict[object, tuple[str, float]] = {}
        self._began_s = time.perf_counter()

    @property
    def elapsed_s(self) -> float:
        """Seconds since this watch was made."""
        return time.perf_counter() - self._began_s

    @property
    def times(self) -> StageTimes:
        with self._lock:
            times, under_way = self._times, list(self._under_way.values())
        now_s = time.perf_counter()
        for stage, started_s in under_way:
            times = _added(times, stage, now_s - started_s)
        return times

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count the time of the context for `decode`, `inference`, `starved` or `idle`."""
        mark, started_s = object(), time.perf_counter()
        with self._lock:
            self._under_way[mark] = (stage, started_s)
        try:
            yield
        finally:
            elapsed_s = time.perf_counter() - started_s
            with self._lock:
                del self._under_way[mark]
                self._times = _added(self._times, stage, elapsed_s)


def _added(times: StageTimes, stage: str, elapsed_s: float) -> StageTimes:
    name = f"{stage}_s"
    return replace(times, **{name: getattr(times, name) + elapsed_s})
