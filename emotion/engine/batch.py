"""Many recordings in one run: a few at a time, in order, and none stops the others."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Archive, ArchiveLimits, Source, is_archive, read_archive, shown_name
from emotion.engine import Progress, give_up
from emotion.engine.batch_rows import BatchView, Outcome, Row, State
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, EngineClosed, Unexpected
from emotion.logs import request_context
from emotion.outputs import BatchRun, write_run

_LOG = logging.getLogger(__name__)
CANCELLED = "Cancelled before it was recognised."
# Unpacked recordings wait in memory; one may be larger, and is then the only one.
_HELD_BYTES = 64_000_000

Follow = Callable[[str, "Future[Analysis]"], object]


@dataclass(frozen=True)
class Named:
    """A source and what people call it, for bytes and for files that carry another name."""

    source: Source
    name: str


@dataclass(frozen=True)
class _Begun:
    """A recording that the engine has."""

    index: int
    future: "Future[Analysis]"
    held_bytes: int


class Batch:
    """Recognises many sources in order and writes what comes into one run; zips give the recordings in them.

    Reads the directories of the zips when it is made, so the rows are known from then on. With `writes`, the run goes
    to `outputs`, by default to the folder of the settings; `summary_of_one` gives a single recording the folder and the
    summary of many. Recordings wait for places in the queue as background work. `run` belongs to one thread; `cancel`
    and `snapshot` to any, at any time.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        sources: Iterable[Source | Named],
        request: AnalysisRequest | None = None,
        outputs: Path | None = None,
        *,
        writes: bool = True,
        summary_of_one: bool = True,
    ) -> None:
        self._recognizer = recognizer
        self._request = (request or AnalysisRequest()).with_changes(priority="background")
        self._writes, self._summary_of_one = writes, summary_of_one
        self._outputs = outputs or recognizer.settings.outputs
        self._rows: list[Row] = []
        self._parts: list[Archive | Source | EmotionError] = []
        self._skipped = 0
        for source in sources:
            self._take(source if isinstance(source, Named) else Named(source, shown_name(source, None)))
        self._rows = [replace(row, name=name) for row, name in zip(self._rows, _told_apart(self._rows), strict=True)]
        self._ahead: deque[_Begun] = deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._admitted: Future[Future[Analysis]] | None = None
        self._written: BatchRun | None = None
        self._began_s: float | None = None
        self._ended_s: float | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody, or the end of the program, stopped the batch."""
        return self._stop.is_set()

    def snapshot(self) -> BatchView:
        """How far the batch is; costs a millisecond for a thousand rows."""
        with self._lock:
            ahead = list(self._ahead)
        rows = list(self._rows)
        stages = [self._recognizer.progress(begun.future) for begun in ahead]
        for begun, progress in zip(ahead, stages, strict=True):
            if not rows[begun.index].is_settled:
                rows[begun.index] = replace(rows[begun.index], state=_state_in(progress))
        folder = None if self._written is None else self._written.folder
        return BatchView(tuple(rows), self._skipped, stages[0] if stages else None, folder, self._elapsed_s())

    def cancel(self) -> None:
        """Stop: what is done stays written, the recording in work and all others are cancelled."""
        self._stop.set()
        with self._lock:
            if self._admitted is not None:
                give_up(self._admitted)
            for begun in self._ahead:
                begun.future.cancel()

    def start(self) -> "Future[None]":
        """Run in a thread of its own; the future ends with the batch, with its error where it could not go on.

        Cancelling is `cancel` of the batch, not of the future.
        """
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()
        request_context.thread("batch", self._work, ended).start()
        return ended

    def run(self, follow: Follow | None = None) -> Generator[Outcome]:
        """Each recording's outcome, in order; `follow` may show the one in work while it waits for its future.

        A batch is run once. Closing the iterator, or an error in it, cancels the rest. Raises DiskFull or
        FolderNotWritable when not even the summary can be written.
        """
        if not self._rows:
            return
        self._began_s = time.perf_counter()
        try:
            if self._writes and (len(self._rows) > 1 or self._summary_of_one):
                self._written = BatchRun(self._outputs)
            yield from self._outcomes(follow)
        finally:
            self._close()

    def _take(self, given: Named) -> None:
        """Add the rows of one source."""
        name = shown_name(given.source, given.name)
        part: Archive | Source | EmotionError = given.source
        if is_archive(name):
            limits = ArchiveLimits(max_member_bytes=self._recognizer.settings.max_file_bytes)
            try:
                part = read_archive(given.source, name, limits)
            except EmotionError as error:
                part = error
        self._parts.append(part)
        if isinstance(part, Archive):
            self._skipped += part.skipped
            self._rows += [Row(member.name) for member in part.members]
        else:
            self._rows.append(Row(name))

    def _elapsed_s(self) -> float:
        if self._began_s is None:
            return 0.0
        return (self._ended_s or time.perf_counter()) - self._began_s

    # On the thread that runs the batch

    def _work(self, ended: "Future[None]") -> None:
        try:
            for _ in self.run():
                pass
        except BaseException as error:  # whoever waits learns why the batch could not go on
            ended.set_exception(error)
        else:
            ended.set_result(None)

    def _outcomes(self, follow: Follow | None) -> Iterator[Outcome]:
        contents = self._contents()
        for index in range(len(self._rows)):
            content = b"" if self._stop.is_set() else next(contents)
            admitted = self._enqueue(index, content)
            while self._ahead and not admitted.done():
                yield self._settle(follow)
            future = self._result_of(admitted)
            self._push(_Begun(index, future, len(content) if isinstance(content, bytes) else 0))
            while self._is_far_ahead():
                yield self._settle(follow)
        while self._ahead:
            yield self._settle(follow)

    def _contents(self) -> Iterator[Source | EmotionError]:
        """What each row is made from, unpacked only when its turn comes."""
        for part in self._parts:
            if isinstance(part, Archive):
                yield from part.contents()
            else:
                yield part

    def _enqueue(self, index: int, content: Source | EmotionError) -> "Future[Future[Analysis]]":
        """Ask for a place in the queue; settled at once if there is nothing to recognize."""
        if isinstance(content, EmotionError):
            return _settled(_failed(content))
        with self._lock:
            if self._stop.is_set():
                return _settled(_cancelled())
            self._admitted = self._recognizer.admission.enqueue(content, self._request, self._rows[index].name)
            return self._admitted

    def _result_of(self, admitted: "Future[Future[Analysis]]") -> "Future[Analysis]":
        """The future of a recording that was admitted; cancelled when the batch or the engine ends before."""
        try:
            return admitted.result()
        except CancelledError:
            return _cancelled()
        except EngineClosed:
            self._stop.set()
            return _cancelled()

    def _push(self, begun: _Begun) -> None:
        with self._lock:
            self._ahead.append(begun)
        if self._stop.is_set():  # since it was submitted
            begun.future.cancel()

    def _is_far_ahead(self) -> bool:
        held_bytes = sum(begun.held_bytes for begun in self._ahead)
        return len(self._ahead) >= self._recognizer.engine.max_in_flight or held_bytes > _HELD_BYTES

    def _settle(self, follow: Follow | None) -> Outcome:
        """Wait for the first recording that is not settled, and write what became of it."""
        begun = self._ahead[0]
        if follow is not None:
            follow(self._rows[begun.index].name, begun.future)
        outcome = self._outcome(begun)
        self._rows[begun.index] = outcome.row
        with self._lock:
            self._ahead.popleft()
        self._note(outcome.row)
        return outcome

    def _outcome(self, begun: _Begun) -> Outcome:
        row = self._rows[begun.index]
        try:
            analysis, folder = self._write(begun.future.result())
        except CancelledError:
            return Outcome(replace(row, state="cancelled"))
        except EmotionError as error:
            return Outcome(replace(row, state="failed", error=error))
        except Exception:  # whatever it is, it belongs to this recording alone
            _LOG.exception("a recording failed unexpectedly")
            return Outcome(replace(row, state="failed", error=Unexpected()))
        return Outcome(_done(row, analysis, self._folder_name(folder)), analysis, folder)

    def _write(self, analysis: Analysis) -> tuple[Analysis, Path | None]:
        exports, keep_audio = self._request.exports, self._request.keep_audio
        if not self._writes:
            return analysis, None
        if self._written is None:
            files = write_run(self._outputs, analysis, exports, keep_audio)
        else:
            files = self._written.add(analysis, exports, keep_audio)
        return files.analysis, files.folder

    def _folder_name(self, folder: Path | None) -> str | None:
        return None if folder is None else folder.relative_to(self._outputs).as_posix()

    def _note(self, row: Row) -> None:
        """Say in the summary why a recording has no result."""
        if self._written is not None and row.state != "done":
            self._written.add_failure(row.name, CANCELLED if row.error is None else str(row.error))

    def _close(self) -> None:
        """Cancel what is left, if anything is, and complete the summary."""
        left = [index for index, row in enumerate(self._rows) if not row.is_settled]
        if left:
            self.cancel()
        with self._lock:
            self._ahead.clear()
        for index in left:
            self._rows[index] = replace(self._rows[index], state="cancelled")
        with suppress(EmotionError):  # the disk may be full, which is then known already
            for index in left:
                self._note(self._rows[index])
        self._ended_s = time.perf_counter()
        if self._written is not None:
            self._written.close()


def _told_apart(rows: Sequence[Row]) -> Iterator[str]:
    """The names of the rows; the second of a name becomes `name (2)`, since nobody could tell the two apart."""
    given: dict[str, int] = {}
    taken = {row.name for row in rows}
    for row in rows:
        number = given[row.name] = given.get(row.name, 0) + 1
        name = row.name
        while number > 1 and name in taken:
            name, number = f"{row.name} ({number})", number + 1
        taken.add(name)
        yield name


def _state_in(progress: Progress) -> State:
    """The state of a recording that is in the engine; what is done there is not written yet."""
    if progress.stage in ("waiting", "ready"):
        return "waiting"
    return "decoding" if progress.stage == "decoding" else "recognising"


def _done(row: Row, analysis: Analysis, folder: str | None) -> Row:
    return replace(
        row,
        state="done",
        emotion=analysis.emotion,
        confidence=analysis.confidence,
        uncertain=analysis.uncertain,
        duration_s=analysis.clip.duration_s,
        elapsed_ms=sum(ms for stage, ms in analysis.timings_ms.items() if stage != "queue"),
        folder=folder,
    )


def _failed(error: EmotionError) -> "Future[Analysis]":
    future: Future[Analysis] = Future()
    future.set_exception(error)
    return future


def _cancelled() -> "Future[Analysis]":
    future: Future[Analysis] = Future()
    future.cancel()
    future.set_running_or_notify_cancel()  # or `concurrent.futures.wait` would wait for ever
    return future


def _settled(future: "Future[Analysis]") -> "Future[Future[Analysis]]":
    admitted: Future[Future[Analysis]] = Future()
    admitted.set_result(future)
    return admitted
