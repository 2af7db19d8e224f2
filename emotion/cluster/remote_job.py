"""One recording on its way to a replica and back to a future."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion.analysis import Analysis, Options
from emotion.audio import Clip, DecodeLimits, Source, open_source, shown_name
from emotion.cluster.memory_budget import MemoryBudget
from emotion.cluster.messages import AnalyzeRequest
from emotion.engine import ClipTimes, Progress, Stage
from emotion.logs.request_context import request_id


class RemoteJob:
    """What the front knows of one recording; `told` is what its replica said last, `work` is its task on the loop."""

    def __init__(self, source: Source | Clip, options: Options, name: str | None) -> None:
        self.source, self.options, self.name = source, options, name
        self.future: Future[Analysis] = Future()
        self.request_id = request_id()
        self.told: Progress | None = None
        self.work: Future[None] | None = None
        self._submitted_s = time.perf_counter()
        self._lock = threading.Lock()
        self._told_of_cancel = False

    @property
    def clip(self) -> Clip | None:
        """The recording itself, where it came decoded."""
        return self.source if isinstance(self.source, Clip) else None

    @property
    def stage(self) -> Stage:
        return "waiting" if self.told is None else self.told.stage

    def progress_at(self, position: int, wait_s: float | None) -> Progress:
        """What its replica said, with the place in the queue of the front."""
        told = self.told or Progress("waiting", 0, 0, 0)
        return replace(told, position=position, wait_s=wait_s)

    def start_again(self) -> None:
        """What its replica had done is lost."""
        self.told = None

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self.resolve(lambda: None)
        if self.work is not None:
            self.work.cancel()

    def resolve(self, set_outcome: Callable[[], object]) -> bool:
        """Settle the future, and whether it was not settled before; those who wait learn of a cancel, once."""
        with self._lock:
            if self._told_of_cancel or (self.future.done() and not self.future.cancelled()):
                return False
            # The future stays pending until here, so that `future.cancel()` works at any time before.
            if not self.future.set_running_or_notify_cancel():
                self._told_of_cancel = True
                return False
        set_outcome()
        return True

    def with_waiting(self, analysis: Analysis) -> Analysis:
        """The analysis whose time in the queue covers all but decoding and inference, the way there and back too."""
        timings_ms = analysis.timings_ms
        working_ms = timings_ms.get("decode", 0.0) + timings_ms.get("inference", 0.0)
        elapsed_ms = (time.perf_counter() - self._submitted_s) * 1000
        return analysis.with_timing("queue", max(elapsed_ms - working_ms, 0.0))

    @staticmethod
    def times_of(analysis: Analysis) -> ClipTimes:
        decode_ms, queue_ms, inference_ms = (
            analysis.timings_ms.get(stage, 0.0) for stage in ("decode", "queue", "inference")
        )
        return ClipTimes(decode_ms, queue_ms, inference_ms)

    @staticmethod
    def outcome(future: "Future[Analysis]") -> Progress:
        """How a settled future ended."""
        ended: Stage = "cancelled" if future.cancelled() else "failed" if future.exception() else "done"
        return Progress(ended, 0, 0, 0)


@asynccontextmanager
async def carried(
    errand: RemoteJob, shares_files: bool, limits: DecodeLimits, budget: MemoryBudget
) -> AsyncIterator[AnalyzeRequest]:
    """The recording as it travels: a path where replicas see it, else the bytes of the file, read when there is room.

    Raises a ClipError for a file that cannot be read or is too large.
    """
    source, name = errand.source, errand.name
    if isinstance(source, Clip):
        # A mapped array would be sent as the name of a file that is not there.
        yield _ask(errand, replace(source, samples=np.asarray(source.samples)), name)
    elif isinstance(source, bytes):
        yield _ask(errand, source, name)
    elif shares_files:
        yield _ask(errand, Path(source).absolute(), name)
    else:
        name = shown_name(source, name)
        async with budget.hold(await asyncio.to_thread(_size_bytes, source, limits, name)):
            yield _ask(errand, await asyncio.to_thread(_content, source, limits, name), name)


def _ask(errand: RemoteJob, source: bytes | Path | Clip, name: str | None) -> AnalyzeRequest:
    return AnalyzeRequest(source, errand.options, name, errand.request_id)


def _size_bytes(source: Source, limits: DecodeLimits, name: str) -> int:
    with open_source(source, limits, name) as file:
        return file.seek(0, 2)


def _content(source: Source, limits: DecodeLimits, name: str) -> bytes:
    with open_source(source, limits, name) as file:
        return file.read()
