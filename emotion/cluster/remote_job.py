"""One recording on its way to a replica and back to a future."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, DecodeLimits, Source, open_source, shown_name
from emotion.cluster.memory_budget import MemoryBudget
from emotion.cluster.messages import AnalyzeRequest
from emotion.engine import ClipTimes, Progress, QueuedJob


class RemoteJob(QueuedJob):
    """What the front knows of one recording: `told` is what its replica said last, `work` its task on the loop."""

    def __init__(self, source: Source | Clip, request: AnalysisRequest, name: str | None) -> None:
        super().__init__(source, request, name)
        self.told: Progress | None = None
        self.work: Future[None] | None = None

    @property
    def clip(self) -> Clip | None:
        """The recording itself, where it came decoded."""
        return self.source if isinstance(self.source, Clip) else None

    def hear(self, told: Progress) -> None:
        """Take what its replica says of it."""
        self.told, self.stage = told, told.stage

    def progress_at(self, position: int, wait_s: float | None) -> Progress:
        """What its replica said, with the place in the queue of the front."""
        told = self.told or Progress("waiting", 0, 0, 0)
        return replace(told, position=position, wait_s=wait_s)

    def start_again(self) -> None:
        """Forget what its replica had done, which is lost."""
        self.told, self.stage = None, "waiting"

    def with_waiting(self, analysis: Analysis) -> Analysis:
        """The analysis whose time in the queue covers all but decoding and inference, the way there and back too."""
        timings_ms = analysis.timings_ms
        working_ms = timings_ms.get("decode", 0.0) + timings_ms.get("inference", 0.0)
        elapsed_ms = (time.perf_counter() - self.submitted_s) * 1000
        return analysis.with_timing("queue", max(elapsed_ms - working_ms, 0.0))

    @staticmethod
    def times_of(analysis: Analysis) -> ClipTimes:
        decode_ms, queue_ms, inference_ms = (
            analysis.timings_ms.get(stage, 0.0) for stage in ("decode", "queue", "inference")
        )
        return ClipTimes(decode_ms, queue_ms, inference_ms)


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
    return AnalyzeRequest(source, errand.request, name, errand.request_id)


def _size_bytes(source: Source, limits: DecodeLimits, name: str) -> int:
    with open_source(source, limits, name) as file:
        return file.seek(0, 2)


def _content(source: Source, limits: DecodeLimits, name: str) -> bytes:
    with open_source(source, limits, name) as file:
        return file.read()
