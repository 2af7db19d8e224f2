"""What everybody needs of an engine, and what every engine does with a recording before and after its work."""

import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, Source
from emotion.cache import CacheStats
from emotion.engine.events import ClipSettled, Listener
from emotion.engine.job import Progress, QueuedJob, outcome
from emotion.engine.times import ClipTimes, StageTimes
from emotion.errors import EngineBusy, EngineClosed
from emotion.logs.request_context import request_scope
from emotion.model import ModelCard

_RECENT_CLIPS = 20
# The part of the queue that background work leaves to people who wait for a single recording.
_KEPT_FREE = 0.25
JobT = TypeVar("JobT", bound=QueuedJob)


class EngineFront(ABC, Generic[JobT]):
    """Sources in, futures of analyses out, through a bounded queue; what computes behind it is up to the subclass.

    To put another model into a running engine is no part of it: a model is an object of one process. `_change` is the
    one lock of an engine, and is told of everything that changes.
    """

    def __init__(self, queue_size: int) -> None:
        self._queue_size = queue_size
        self._jobs: dict[Future[Analysis], JobT] = {}
        self._change = threading.Condition()
        self._closed = False
        self._listeners: tuple[Listener, ...] = ()
        self._on_departure: tuple[Callable[[], None], ...] = ()
        # A new tuple each time, so that other threads read it without a lock.
        self._recent: tuple[ClipTimes, ...] = ()
        self._clips_done = 0
        self._began_s = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finish=kind is None)

    @property
    @abstractmethod
    def card(self) -> ModelCard:
        """The model that new work gets."""

    @property
    @abstractmethod
    def max_in_flight(self) -> int:
        """How many recordings of one client may be in work at a time: enough to keep the engine busy, and no more."""

    @property
    @abstractmethod
    def decode_threads(self) -> int:
        """Recordings that are decoded at once."""

    @property
    @abstractmethod
    def batch_frames(self) -> int:
        """Frames of the largest batch; 1 where batches do not pay, or nobody has measured yet."""

    @property
    @abstractmethod
    def stage_times(self) -> StageTimes:
        """Where the time went since the engine began."""

    @property
    @abstractmethod
    def cache_stats(self) -> CacheStats | None:
        """What the cache did so far, None without one."""

    @property
    @abstractmethod
    def is_alive(self) -> bool:
        """Whether the thread that works runs, and new work is taken."""

    @abstractmethod
    def submit(
        self, source: Source | Clip, request: AnalysisRequest | None = None, name: str | None = None
    ) -> "Future[Analysis]":
        """Queue one source; raises EngineBusy at once when the queue is full, EngineClosed after `close`.

        `name` is what messages and result.json call the recording, for bytes that have none.
        """

    @abstractmethod
    def warm_up(self) -> "Future[None]":
        """Let the model run once before anybody waits for it, and measure whether batches pay, when nothing waits.

        The future is done when that is over, with the error where the model cannot work.
        """

    @abstractmethod
    def free_memory(self) -> "Future[None]":
        """Give back what is only cached as soon as nothing waits; the future is done when that is over."""

    @property
    def uptime_s(self) -> float:
        """Seconds since the engine began."""
        return time.perf_counter() - self._began_s

    @property
    def queue_length(self) -> int:
        """Recordings accepted and not yet resolved."""
        return len(self._jobs)

    @property
    def queue_size(self) -> int:
        """Recordings that are accepted at most; one more is refused."""
        return self._queue_size

    @property
    def clips_done(self) -> int:
        """Recordings that ended with an analysis."""
        return self._clips_done

    @property
    def recent(self) -> tuple[ClipTimes, ...]:
        """The stages of the last 20 computed recordings, the latest at the end."""
        return self._recent

    def listen(self, listener: Listener) -> None:
        """Tell one more listener of every recording that is settled and of every batch, from now on."""
        self._listeners = (*self._listeners, listener)

    def on_departure(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each recording that has left the queue, on the thread that settled it."""
        self._on_departure = (*self._on_departure, callback)

    def progress(self, future: "Future[Analysis]") -> Progress:
        """Stage, place in the queue and windows done of the recording of this future; cheap."""
        job = self._jobs.get(future)
        if job is None:
            return Progress(outcome(future), 0, 0, 0)
        with self._change:
            ahead = [other.future for other in self._jobs.values() if self._counts_as_waiting(other)]
        position = ahead.index(future) if job.stage != "recognising" and future in ahead else 0
        return job.progress_at(position, self._estimated_wait_s(position))

    @abstractmethod
    def close(self, finish: bool = True) -> None:
        """Refuse new work, finish what was accepted (or cancel it), end the threads."""

    def _refuse_new(self, finish: bool) -> list["Future[Analysis]"]:
        """Refuse work from now on; the futures of what was accepted, cancelled unless it is to be finished."""
        with self._change:
            self._closed = True
            accepted = list(self._jobs)
            self._change.notify_all()
        if not finish:
            for future in accepted:
                future.cancel()
        return accepted

    def _accept(self, job: JobT, start: Callable[[JobT], None]) -> "Future[Analysis]":
        """Take a job into the queue and start it under the lock; raises EngineBusy or EngineClosed."""
        kept_free = int(self._queue_size * _KEPT_FREE)
        bound = self._queue_size - (kept_free if job.request.priority == "background" else 0)
        with self._change:
            if self._closed:
                raise EngineClosed
            if len(self._jobs) >= bound:
                raise EngineBusy(len(self._jobs), self._estimated_wait_s(kept_free))
            self._jobs[job.future] = job
            job.future.add_done_callback(self._depart)
            start(job)
            self._change.notify_all()
        return job.future

    def _depart(self, future: "Future[Analysis]") -> None:
        with self._change:
            job = self._jobs.pop(future, None)
            if job is not None:
                self._departed(job)
            self._change.notify_all()
        if job is None:
            return
        if future.cancelled():
            job.drop_if_cancelled()
            self.tell(job, ClipSettled("cancelled", job.times, job.duration_s))
        for callback in self._on_departure:
            callback()

    def _departed(self, job: JobT) -> None:
        """What an engine lets go of with a job; called under the lock."""

    def _counts_as_waiting(self, job: JobT) -> bool:  # noqa: ARG002 - for engines that work on many at a time
        """Whether those behind this job wait for it."""
        return True

    def count_done(self, times: ClipTimes, computed: bool) -> None:
        """Note that a recording ended with an analysis; `computed` says that the model was asked for it."""
        with self._change:
            self._clips_done += 1
            if computed:  # the others took no time, and say nothing of how long the next one takes
                self._recent = (*self._recent, times)[-_RECENT_CLIPS:]

    def tell(self, job: JobT, settled: ClipSettled) -> None:
        """Tell the listeners how a recording ended."""
        with request_scope(job.request_id):
            for listener in self._listeners:
                listener.clip_settled(settled)

    def _estimated_wait_s(self, clips: int) -> float | None:
        """How long so many recordings take by what the last ones took, None where there were none."""
        recent = self._recent
        if not recent:
            return None
        return clips * statistics.median(clip.inference_ms for clip in recent) / 1000 / self._workers

    @property
    def _workers(self) -> int:
        """How many recordings are computed side by side."""
        return 1


SpeechEngine = EngineFront[Any]
"""An engine, whatever its jobs are like."""
