"""Follows one recording through the recognizer for one visitor, and shows each step."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from emotion.analysis import Analysis, AnalysisRequest
from emotion.engine.following import follow_async
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError
from emotion.logs import request_context
from emotion.outputs import ClipFiles, write_run
from emotion.texts import Words
from emotion.ui import render
from emotion.ui.gradio_adapter import MICROPHONE_FILE
from emotion.ui.workspace import PageVisitor

# What is done sooner gets no step of its own, which would take the browser as long to show.
POLL_S = 0.1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunStep:
    """One step as it is shown: the line of progress and a card as HTML, or the files of the run in place of the card.

    `running` says that more steps follow.
    """

    progress: str
    card: str = ""
    running: bool = False
    files: ClipFiles | None = None


class Runs:
    """The recordings in work, each under the browser session that waits for it."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self._futures: dict[str, Future[Analysis]] = {}

    def cancel_run(self, session: str) -> None:
        """Stop what this session waits for; does nothing when it waits for nothing."""
        future = self._futures.get(session)
        if future is not None:
            future.cancel()

    async def steps(
        self, recording: str | None, request: AnalysisRequest, visitor: PageVisitor
    ) -> AsyncIterator[RunStep]:
        """Each step of one recording; the last has its files, or the card of its error or its cancelling.

        Closing the iterator cancels the work.
        """
        if not recording:
            yield _notice_step("hint", "no_recording", visitor.words)
            return
        try:
            future = self._submit(recording, request, visitor)
        except EmotionError as error:
            yield _error_step(error, visitor.words)
            return
        self._futures[visitor.session] = future
        try:
            async for step in self._follow(future, visitor):
                yield step
        finally:
            future.cancel()
            if self._futures.get(visitor.session) is future:
                del self._futures[visitor.session]

    async def record(self, recording: str, request: AnalysisRequest, visitor: PageVisitor) -> dict[str, Any]:
        """The record of result.json for a program, with the embedding as lists; nothing is written.

        Raises an EmotionError that says what is wrong.
        """
        analysis = await asyncio.wrap_future(self._submit(recording, request, visitor))
        record: dict[str, Any] = {**await asyncio.to_thread(analysis.record)}
        record.pop("frames_file", None)  # there is no folder that could hold it
        if analysis.embedding is not None:
            record["embedding"] = analysis.embedding.tolist()
        return record

    def _submit(self, recording: str, request: AnalysisRequest, visitor: PageVisitor) -> "Future[Analysis]":
        with request_context.request_scope(visitor.request_id):
            return self.recognizer.admission.submit(Path(recording), visitor.own(request), _name_of(recording))

    async def _follow(self, future: "Future[Analysis]", visitor: PageVisitor) -> AsyncIterator[RunStep]:
        words, started_s = visitor.words, time.perf_counter()
        busy = render.empty_card(words, busy=True)
        async for progress in follow_async(self.recognizer, future, POLL_S):
            yield RunStep(render.progress_line(progress, words), busy, running=True)
        if future.cancelled():
            yield _notice_step("cancelled", "cancelled", words)
            return
        try:
            writing = asyncio.ensure_future(asyncio.to_thread(_write, visitor, future.result()))
            if not (await asyncio.wait({writing}, timeout=POLL_S))[0]:
                yield RunStep(render.progress_bar(words("progress.writing"), None, words), busy, running=True)
            files = await writing
        except Exception as error:  # the visitor gets a sentence, whatever went wrong
            yield _error_step(error, words)
            return
        done = words("progress.done", seconds=f"{time.perf_counter() - started_s:.1f}")
        if files.analysis.cached:
            done += f" · {words('progress.cached')}"
        yield RunStep(render.progress_done(done, words), files=files)


def _name_of(recording: str) -> str:
    """The name of an upload; what the microphone recorded is named after the moment."""
    name = Path(recording).name
    return datetime.now().strftime("recording_%Y%m%d_%H%M%S.wav") if name == MICROPHONE_FILE else name


def _write(visitor: PageVisitor, analysis: Analysis) -> ClipFiles:
    wanted = analysis.request
    with request_context.request_scope(visitor.request_id):
        return write_run(visitor.workspace.outputs, analysis, wanted.exports, wanted.keep_audio)


def _error_step(error: Exception, words: Words) -> RunStep:
    """An error of the family in words; any other goes to the log, and the visitor learns only that it happened."""
    if not isinstance(error, EmotionError):
        log.error("a recording failed unexpectedly", exc_info=error)
    return RunStep(render.progress_done("", words), render.error_card(error, words))


def _notice_step(kind: str, name: str, words: Words) -> RunStep:
    """A designed message in the place of a result."""
    card = render.notice_card(kind, words(f"result.{name}_title"), words(f"result.{name}"), words)
    return RunStep(render.progress_done("", words), card)
