"""Takes recordings through the engine a few at a time, and gives their rows as they come."""

import logging
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from emotion.analysis import Analysis, AnalysisRequest
from emotion.bulk.errors import BulkStopped
from emotion.bulk.listing import Recording
from emotion.bulk.rows import Row, row_of
from emotion.bulk.storage import fetch, is_local
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, EngineClosed, Unexpected

_LOG = logging.getLogger(__name__)
# How often it is checked whether the work is to stop, or a part is old enough.
_TICK_S = 0.2
# Object stores answer late, so more are asked for at once than the engine wants.
_FETCHERS = 16
# Recordings from elsewhere wait in memory; one may be larger, and is then the only one. Unknown sizes are guessed.
_HELD_BYTES = 256_000_000
_GUESSED_BYTES = 2_000_000
# Failures that are not the fault of the recording; so many in a row mean that storage, model or card has failed.
_NOT_ITS_FAULT = frozenset({"unexpected", "clip_unreadable", "model_error", "out_of_memory", "disk_full"})
_ENOUGH_FAILURES = 100


@dataclass(frozen=True)
class _Task:
    """A recording on its way, and how much memory it holds until the engine has it."""

    recording: Recording
    held_bytes: int = 0


class Pipeline:
    """One stream of recordings through one recognizer; belongs to one thread."""

    def __init__(self, recognizer: Recognizer, request: AnalysisRequest) -> None:
        self._recognizer, self._request = recognizer, request
        self._settled: SimpleQueue[tuple[_Task, Future[bytes] | Future[Analysis]]] = SimpleQueue()
        self._tasks: dict[Future[bytes] | Future[Analysis], _Task] = {}
        self._held_bytes = 0
        self._failures = 0

    def rows(self, recordings: Iterable[Recording], stop: threading.Event) -> Generator[Row | None]:
        """A row for each recording, in the order in which they are done; None now and then while nothing is.

        Ends early when `stop` is set. Raises BulkStopped when recording after recording fails for no fault of its own.
        """
        source = iter(recordings)
        with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch") as fetchers:
            try:
                while not stop.is_set() and self._fill(source, fetchers):
                    yield self._next_row()
            finally:
                for future in list(self._tasks):
                    future.cancel()

    def _fill(self, source: Iterator[Recording], fetchers: ThreadPoolExecutor) -> bool:
        """Start as many recordings as may be in work; False when none is left."""
        while self._has_room():
            recording = next(source, None)
            if recording is None:
                break
            if is_local(recording.path):
                self._submit(_Task(recording.with_file_facts()), None)
            else:
                held_bytes = _GUESSED_BYTES if recording.size_bytes is None else recording.size_bytes
                self._held_bytes += held_bytes
                limit_bytes = self._recognizer.settings.max_file_bytes
                self._track(_Task(recording, held_bytes), fetchers.submit(fetch, recording.path, limit_bytes))
        return bool(self._tasks)

    def _has_room(self) -> bool:
        elsewhere = _FETCHERS if self._held_bytes else 0
        in_work = min(self._recognizer.engine.max_in_flight + elsewhere, self._recognizer.settings.queue_size)
        return len(self._tasks) < in_work and self._held_bytes < _HELD_BYTES

    def _submit(self, task: _Task, content: bytes | None) -> None:
        """Hand a recording to the engine, which always has room: it is ours alone."""
        source = task.recording.path if content is None else content
        self._track(task, self._recognizer.submit(source, self._request, task.recording.name))

    def _track(self, task: _Task, future: Future[bytes] | Future[Analysis]) -> None:
        self._tasks[future] = task
        future.add_done_callback(lambda settled: self._settled.put((task, settled)))

    def _next_row(self) -> Row | None:
        try:
            task, future = self._settled.get(timeout=_TICK_S)
        except Empty:
            return None
        del self._tasks[future]
        outcome = _outcome(future)
        if isinstance(outcome, bytes):
            self._submit(task, outcome)
            return None
        self._held_bytes -= task.held_bytes
        self._count(outcome)
        return row_of(task.recording, outcome, self._recognizer.engine.card)

    def _count(self, outcome: Analysis | EmotionError) -> None:
        if not isinstance(outcome, EmotionError) or outcome.code not in _NOT_ITS_FAULT:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= _ENOUGH_FAILURES:
            raise BulkStopped(self._failures, str(outcome))


def _outcome(future: Future[bytes] | Future[Analysis]) -> bytes | Analysis | EmotionError:
    """What became of a recording; raises EngineClosed when the program ends."""
    try:
        return future.result()
    except CancelledError:
        raise EngineClosed from None
    except EngineClosed:
        raise
    except EmotionError as error:
        return error
    except Exception:  # whatever it is, it belongs to this recording alone
        _LOG.exception("a recording failed unexpectedly")
        return Unexpected()
