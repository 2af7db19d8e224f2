"""One recording on its way to a replica and back to a future."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from emotion.analysis import AnalysisRequest
from emotion.audio import Clip, DecodeLimits, Source, open_source, shown_name
from emotion.cluster.messages import AnalyzeRequest
from emotion.engine import Progress, QueuedJob

NOT_STARTED = Progress("waiting", 0, 0, 0)


class RemoteJob(QueuedJob):
    """What the front knows of one recording: the `progress` that its replica reported last, and its `task`."""

    def __init__(self, source: Source | Clip, request: AnalysisRequest, name: str | None) -> None:
        super().__init__(source, request, name)
        self.progress = NOT_STARTED
        self.task: Future[None] | None = None

    def set_progress(self, progress: Progress) -> None:
        self.progress, self.stage = progress, progress.stage

    def progress_at(self, position: int, wait_s: float | None) -> Progress:
        """The progress in its replica, with the place in the queue of the front."""
        return replace(self.progress, position=position, wait_s=wait_s)


class MemoryBudget:
    """So many bytes at a time, in the order of asking; a recording that is larger than all of it goes alone.

    Belongs to one event loop.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0
        self._first_in_line, self._freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def hold(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait until there is room, and keep it as long as the context lasts."""
        async with self._first_in_line:
            while self.held_bytes and self.held_bytes + size_bytes > self._limit_bytes:
                self._freed.clear()
                await self._freed.wait()
            self.held_bytes += size_bytes
        try:
            yield
        finally:
            self.held_bytes -= size_bytes
            self._freed.set()


@asynccontextmanager
async def analyze_request(
    job: RemoteJob, shares_files: bool, limits: DecodeLimits, budget: MemoryBudget
) -> AsyncIterator[AnalyzeRequest]:
    """The recording as it travels: a path where replicas see it, else the bytes of the file, read when there is room.

    Raises a ClipError for a file that cannot be read or is too large.
    """

    def with_source(source: bytes | Path | Clip, name: str | None = job.name) -> AnalyzeRequest:
        return AnalyzeRequest(source, job.request, name, job.request_id)

    source = job.source
    if isinstance(source, Clip):
        # A mapped array would be sent as the name of a file that is not there.
        yield with_source(replace(source, samples=np.asarray(source.samples)))
    elif isinstance(source, bytes):
        yield with_source(source)
    elif shares_files:
        yield with_source(Path(source).absolute())
    else:
        name = shown_name(source, job.name)
        async with budget.hold(await asyncio.to_thread(_size_bytes, source, limits, name)):
            yield with_source(await asyncio.to_thread(_content, source, limits, name), name)


def _size_bytes(source: Source, limits: DecodeLimits, name: str) -> int:
    with open_source(source, limits, name) as file:
        return file.seek(0, 2)


def _content(source: Source, limits: DecodeLimits, name: str) -> bytes:
    with open_source(source, limits, name) as file:
        return file.read()
