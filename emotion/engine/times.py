"""Where the time of an engine goes, stage by stage."""

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


class Stopwatch:
    """Adds up the stages of several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times = StageTimes()

    @property
    def times(self) -> StageTimes:
        return self._times

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Count the time of the context for `decode`, `inference`, `starved` or `idle`."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            name, elapsed_s = f"{stage}_s", time.perf_counter() - started_s
            with self._lock:
                self._times = replace(self._times, **{name: getattr(self._times, name) + elapsed_s})
