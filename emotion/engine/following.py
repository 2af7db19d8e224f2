"""Follows the future of a recording, and tells how far it is until it is done."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, wait
from typing import Any, Protocol

from emotion.engine.job import Progress


class HasProgress(Protocol):
    """An engine, a recognizer, or a live session."""

    def progress(self, future: Future[Any]) -> Progress: ...


def follow(engine: HasProgress, future: Future[Any], every_s: float) -> Iterator[Progress]:
    """The progress of a recording every so many seconds, until its future is done; nothing if it is done by then."""
    while not wait([future], timeout=every_s).done:
        yield engine.progress(future)


async def follow_async(
    engine: HasProgress, future: Future[Any], every_s: float, only_changes: bool = False
) -> AsyncIterator[Progress]:
    """The same on an event loop; the recording goes on when the iterator is closed."""
    # Not awaited itself: a task that is cancelled would cancel the recording with it.
    waiting, last = asyncio.wrap_future(future), None
    while not (await asyncio.wait({waiting}, timeout=every_s))[0]:
        progress = engine.progress(future)
        if not only_changes or progress != last:
            yield progress
        last = progress
    # The outcome is read from `future`; asyncio would log an exception that nobody asked for here.
    waiting.cancelled() or waiting.exception()
