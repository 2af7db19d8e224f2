"""The engine: decode pool, bounded queue, one inference thread that alone touches the model, standard futures."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from emotion.analysis import Analysis, Options, Plan, Stitcher, Window, count_windows, cut_windows
from emotion.audio import Clip, DecodeLimits, Source, decode
from emotion.errors import EngineBusy, EngineClosed
from emotion.model import ModelCard, SpeechModel

Stage = Literal["waiting", "decoding", "ready", "recognising", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class Progress:
    """Where one job is: its stage, how many jobs are before it, and how many of its windows are done."""

    stage: Stage
    position: int
    windows_done: int
    windows: int


@dataclass(frozen=True)
class EnginePlan:
    """How the engine works; each value is the setting of the same name."""

    analysis: Plan = field(default_factory=Plan)
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    decode_threads: int = 2
    queue_size: int = 64


class _Job:
    """One accepted recording on its way to a future. The engine's threads hand it on; only one holds it at a time."""

    def __init__(self, source: Source | Clip, options: Options, name: str | None) -> None:
        self.source, self.options, self.name = source, options, name
        self.future: Future[Analysis] = Future()
        self.stage: Stage = "waiting"
        self.windows_done = 0
        self.windows = 0
        self.timings_ms: dict[str, float] = {"decode": 0.0, "queue": 0.0, "inference": 0.0}
        self.waiting_since_s = time.perf_counter()
        self.clip: Clip | None = None
        self.model: SpeechModel | None = None
        self.stitcher: Stitcher | None = None
        self.pending: Iterator[Window] = iter(())

    def drop_if_cancelled(self) -> bool:
        """Whether the person gave up; those who wait for the future are then told."""
        return self.future.cancelled() and not self.future.set_running_or_notify_cancel()

    def resolve(self, set_outcome: Callable[[], None], stage: Stage) -> None:
        # The future stays pending until here, so that `future.cancel()` works at any time before.
        if self.future.set_running_or_notify_cancel():
            self.stage = stage
            set_outcome()


class Engine:
    """Turns sources into analyses with one resident model.

    `submit` returns a `concurrent.futures.Future` at once; `cancel()` of that future works until its result is there.
    A bad clip fails only its own future. A long clip gives way to others after each of its windows.
    """

    def __init__(self, model: SpeechModel, plan: EnginePlan | None = None) -> None:
        self._plan = plan or EnginePlan()
        self._model = model
        self._jobs: dict[Future[Analysis], _Job] = {}
        self._ready: deque[_Job] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._clips_done = 0
        # Decoded clips wait in memory, so only a few may run ahead of inference.
        self._ahead = threading.Semaphore(self._plan.decode_threads + 2)
        self._decoders = ThreadPoolExecutor(self._plan.decode_threads, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._infer, name="inference", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(finish=kind is None)

    @property
    def card(self) -> ModelCard:
        """The model that new work gets."""
        return self._model.card

    @property
    def queue_length(self) -> int:
        """Jobs accepted and not yet resolved."""
        return len(self._jobs)

    @property
    def clips_done(self) -> int:
        return self._clips_done

    def submit(
        self, source: Source | Clip, options: Options | None = None, name: str | None = None
    ) -> Future[Analysis]:
        """Accept a path, the bytes of a file or a clip; raises EngineBusy at once when the queue is full."""
        job = _Job(source, options or Options(), name)
        with self._change:
            if self._closed:
                raise EngineClosed
            if len(self._jobs) >= self._plan.queue_size:
                raise EngineBusy(len(self._jobs))
            self._jobs[job.future] = job
        job.future.add_done_callback(self._forget)
        self._decoders.submit(self._decode, job)
        return job.future

    def progress(self, future: "Future[Analysis]") -> Progress:
        """Where the job of this future is; to be asked as often as one likes."""
        job = self._jobs.get(future)
        if job is None:
            return Progress(_outcome(future), 0, 0, 0)
        with self._change:
            waiting = list(self._jobs)
        position = waiting.index(future) if job.stage != "recognising" and future in waiting else 0
        return Progress(job.stage, position, job.windows_done, job.windows)

    def use(self, model: SpeechModel) -> None:
        """Give new work to another model; work that has begun keeps the one it began with."""
        self._model = model

    def free_memory(self) -> None:
        self._model.free_memory()

    def close(self, finish: bool = True) -> None:
        """Refuse new work, finish what was accepted (or cancel it), end the threads."""
        with self._change:
            self._closed = True
            accepted = list(self._jobs)
            self._change.notify_all()
        if not finish:
            for future in accepted:
                future.cancel()
        self._decoders.shutdown(wait=True)
        self._thread.join()

    def _forget(self, future: "Future[Analysis]") -> None:
        with self._change:
            self._jobs.pop(future, None)
            self._change.notify_all()

    def _decode(self, job: _Job) -> None:
        self._ahead.acquire()
        if not self._decode_clip(job):
            self._ahead.release()
            return
        job.stage = "ready"
        job.waiting_since_s = time.perf_counter()
        with self._change:
            self._ready.append(job)
            self._change.notify_all()

    def _decode_clip(self, job: _Job) -> bool:
        if job.drop_if_cancelled():
            return False
        started_s = time.perf_counter()
        job.stage = "decoding"
        try:
            source = job.source
            job.clip = source if isinstance(source, Clip) else decode(source, self._plan.limits, job.name)
            job.windows = count_windows(job.clip, self._plan.analysis)
            job.pending = cut_windows(job.clip, self._plan.analysis)
        except Exception as error:  # whatever a decoder throws belongs to this clip alone
            self._fail(job, error)
            return False
        job.source = b""  # the bytes of the file are no longer needed
        job.timings_ms["decode"] = _elapsed_ms(started_s)
        return True

    def _infer(self) -> None:
        while (job := self._next_ready()) is not None:
            try:
                finished = self._advance(job)
            except Exception as error:  # a clip that the model cannot take fails alone
                self._fail(job, error)
                finished = True
            if finished:
                self._ahead.release()
            else:
                with self._change:
                    self._ready.append(job)

    def _next_ready(self) -> _Job | None:
        with self._change:
            self._change.wait_for(lambda: self._ready or (self._closed and self._all_decoded()))
            return self._ready.popleft() if self._ready else None

    def _all_decoded(self) -> bool:
        return not self._jobs

    def _advance(self, job: _Job) -> bool:
        """Take one window of a job through the model; True when nothing is left to do for it."""
        if job.drop_if_cancelled():
            return True
        stitcher, model = self._begin(job)
        started_s = time.perf_counter()
        window = next(job.pending)
        stitcher.add(window, model.predict([window.samples])[0])
        job.timings_ms["inference"] += _elapsed_ms(started_s)
        job.windows_done += 1
        if job.windows_done < job.windows:
            return False
        self._finish(job, stitcher)
        return True

    def _begin(self, job: _Job) -> tuple[Stitcher, SpeechModel]:
        if job.stitcher is None or job.model is None:
            if job.clip is None:
                raise RuntimeError("a job came to inference without its clip")
            job.timings_ms["queue"] = _elapsed_ms(job.waiting_since_s)
            job.stage = "recognising"
            job.model = self._model
            job.stitcher = Stitcher(job.clip, job.model.card, job.options, self._plan.analysis)
        return job.stitcher, job.model

    def _finish(self, job: _Job, stitcher: Stitcher) -> None:
        analysis = stitcher.finish(datetime.now())
        for stage, elapsed_ms in job.timings_ms.items():
            analysis = analysis.with_timing(stage, elapsed_ms)
        self._clips_done += 1
        job.resolve(lambda: job.future.set_result(analysis), "done")

    def _fail(self, job: _Job, error: Exception) -> None:
        job.resolve(lambda: job.future.set_exception(error), "failed")


def _outcome(future: "Future[Analysis]") -> Stage:
    if future.cancelled():
        return "cancelled"
    return "failed" if future.exception() else "done"


def _elapsed_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000
