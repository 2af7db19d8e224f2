"""Follows one recording through the recogniser for one reader, and shows each step."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.analysis import Analysis, Granularity
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError
from emotion.logs import request_context
from emotion.outputs import ClipFiles, write_run
from emotion.ui import render
from emotion.ui.turns import LimitedSubmit
from emotion.ui.words import Words
from emotion.ui.workspace import PageVisitor

POLL_S = 0.1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What one reader asked for."""

    recording: str | None
    granularity: Granularity = "utterance"
    embedding: bool = False
    exports: tuple[str, ...] = ()
    keep_audio: bool = True


@dataclass(frozen=True)
class View:
    """One step as it is shown: two pieces of HTML, and the files of the run once they are there.

    `running` says that more steps follow.
    """

    progress: str
    result: str
    running: bool = False
    files: ClipFiles | None = None


class Runs:
    """The recordings in work, each under the browser session that waits for it."""

    def __init__(self, recognizer: Recognizer, turns: ConcurrencyLimit) -> None:
        self.recognizer, self._turns = recognizer, turns
        self._futures: dict[str, Future[Analysis]] = {}

    def cancel(self, session: str) -> None:
        """Stop what this session waits for; does nothing when it waits for nothing."""
        future = self._futures.get(session)
        if future is not None:
            future.cancel()

    async def views(self, wish: Wish, reader: PageVisitor) -> AsyncIterator[View]:
        """Each step of one recording; the last is its result, its error or its cancelling.

        Closing the iterator cancels the work.
        """
        if not wish.recording:
            yield notice_view("hint", "no_recording", reader.words)
            return
        try:
            future = self._submit(wish, reader)
        except EmotionError as error:
            yield error_view(error, reader.words)
            return
        self._futures[reader.session] = future
        try:
            async for view in self._steps(future, wish, reader):
                yield view
        finally:
            future.cancel()
            if self._futures.get(reader.session) is future:
                del self._futures[reader.session]

    async def record(self, wish: Wish, reader: PageVisitor) -> dict[str, Any]:
        """The record of result.json for a program, with the embedding as lists; nothing is written.

        Raises an EmotionError that says what is wrong.
        """
        analysis = await asyncio.wrap_future(self._submit(wish, reader))
        record = await asyncio.to_thread(analysis.record)
        record.pop("frames_file", None)  # there is no folder that could hold it
        if analysis.embedding is not None:
            record["embedding"] = analysis.embedding.tolist()
        return record

    def _submit(self, wish: Wish, reader: PageVisitor) -> "Future[Analysis]":
        path = Path(wish.recording or "")
        in_turn = LimitedSubmit(self.recognizer, self._turns, reader)
        return in_turn.submit(path, wish.granularity, wish.embedding, path.name)

    async def _steps(self, future: "Future[Analysis]", wish: Wish, reader: PageVisitor) -> AsyncIterator[View]:
        words, started_s = reader.words, time.perf_counter()
        busy = render.empty_card(words, busy=True)
        async for progress in self._progress(future, words):
            yield View(progress, busy, running=True)
        if future.cancelled():
            yield notice_view("cancelled", "cancelled", words)
            return
        try:
            writing = asyncio.ensure_future(asyncio.to_thread(_write, reader, future.result(), wish))
            if not await _soon(writing):
                yield View(render.progress_bar(words("progress.writing"), None), busy, running=True)
            files = await writing
        except Exception as error:  # the reader gets a sentence, whatever went wrong
            yield error_view(error, words)
            return
        done = words("progress.done", seconds=f"{time.perf_counter() - started_s:.1f}")
        if files.analysis.cached:
            done += f" · {words('progress.cached')}"
        yield View(render.progress_done(done), render.result_card(files.analysis, words), files=files)

    async def _progress(self, future: "Future[Analysis]", words: Words) -> AsyncIterator[str]:
        """The line of progress, again and again until the future is done."""
        waiting = asyncio.wrap_future(future)
        while not await _soon(waiting):
            yield render.progress_line(self.recognizer.progress(future), words)
        # The outcome is read from `future`; asyncio would call it forgotten here.
        waiting.cancelled() or waiting.exception()


def _write(reader: PageVisitor, analysis: Analysis, wish: Wish) -> ClipFiles:
    with request_context.request_scope(reader.request_id):
        return write_run(reader.place.outputs, analysis, wish.exports, wish.keep_audio)


async def _soon(waiting: asyncio.Future[Any]) -> bool:
    """Whether it is done within POLL_S. What is so quick needs no step of its own, which would take the browser as
    long to show.
    """
    done, _ = await asyncio.wait({waiting}, timeout=POLL_S)
    return bool(done)


def error_view(error: Exception, words: Words) -> View:
    """An error of the family in words; any other goes to the log, and the reader learns only that it happened."""
    if not isinstance(error, EmotionError):
        log.error("a recording failed unexpectedly", exc_info=error)
    return View(render.progress_done(""), render.error_card(error, words))


def notice_view(kind: str, name: str, words: Words) -> View:
    card = render.notice_card(kind, words(f"result.{name}_title"), words(f"result.{name}"), words)
    return View(render.progress_done(""), card)
