"""The threads of the engine: a pool that decodes, and one that alone touches the model."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from emotion.analysis import Analysis, AnalysisRequest
from emotion.analysis.windows import Plan
from emotion.audio import Clip, DecodeLimits, Source, decode
from emotion.cache import CacheStats, PredictionCache
from emotion.engine.batch_tuning import NO_BATCHES, batch_frames_in_steps, run_once, unmeasured_batch_frames
from emotion.engine.events import BatchPredicted
from emotion.engine.front import EngineFront
from emotion.engine.job import Job
from emotion.engine.ready import BatchItem, ReadyQueue
from emotion.engine.settlement import Settler, log_stage
from emotion.engine.times import StageTimes, Stopwatch
from emotion.logs.request_context import request_scope
from emotion.model import Collect, ModelCard, Prediction, SpeechModel, num_frames

_LOG = logging.getLogger(__name__)
# Decoded clips wait in memory: so many seconds of sound (38 MB) may run ahead of inference, whatever their number.
_DECODED_AHEAD_S = 600.0
# Enough to keep the decode pool busy and to fill a batch; more would only hold recordings in memory.
_IN_FLIGHT = 8
_IN_FLIGHT_WITH_BATCHES = 32


@dataclass(frozen=True)
class EnginePlan:
    """How the engine works; each value is the setting of the same name."""

    analysis: Plan = field(default_factory=Plan)
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    decode_threads: int = 2
    queue_size: int = 128
    batch_frames: int = 0
    batch_wait_ms: float = 5.0
    free_after_s: float = 60.0
    cache_shared: bool = False


@dataclass(frozen=True)
class _Batch:
    """Windows that the model works on."""

    parts: list[BatchItem]
    started_s: float
    collect: Collect


@dataclass(frozen=True)
class _Chore:
    """Something for the inference thread to do when nothing waits; `step` returns whether another step is left."""

    step: Callable[[], bool]
    ended: "Future[None]" = field(default_factory=Future)


class Engine(EngineFront[Job]):
    """Turns sources into analyses with one resident model.

    `submit` returns a `concurrent.futures.Future` at once; `cancel()` of that future works until its result is there.
    A bad clip fails only its own future. A long clip gives way to others after each of its windows. With a `cache`,
    which is closed with the engine, no sound is computed twice, not even by two equal recordings at once.
    """

    def __init__(
        self, model: SpeechModel, plan: EnginePlan | None = None, cache: PredictionCache | None = None
    ) -> None:
        self._plan = plan or EnginePlan()
        super().__init__(self._plan.queue_size)
        self._model = model
        self._ready = ReadyQueue()
        self._chores: deque[_Chore] = deque()
        self._settler = Settler(self._plan.analysis, cache, self._change, self, self._plan.cache_shared)
        self._batch_frames = self._plan.batch_frames or unmeasured_batch_frames(model)
        self._decoded_s: dict[Job, float] = {}
        self._watch = Stopwatch()
        self._decoders = ThreadPoolExecutor(self._plan.decode_threads, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._infer, name="inference", daemon=True)
        self._thread.start()

    @property
    def card(self) -> ModelCard:
        return self._model.card

    @property
    def max_in_flight(self) -> int:
        return min(_IN_FLIGHT_WITH_BATCHES if self._batch_frames > NO_BATCHES else _IN_FLIGHT, self.queue_size)

    @property
    def decode_threads(self) -> int:
        return self._plan.decode_threads

    @property
    def batch_frames(self) -> int:
        return self._batch_frames

    @property
    def stage_times(self) -> StageTimes:
        return self._watch.times

    @property
    def cache_stats(self) -> CacheStats | None:
        return self._settler.cache_stats

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(
        self, source: Source | Clip, request: AnalysisRequest | None = None, name: str | None = None
    ) -> "Future[Analysis]":
        future = self._accept(job := Job(source, request or AnalysisRequest(), name), self._begin_decoding)
        log_stage(job, "queue", "accepted")
        return future

    def use(self, model: SpeechModel) -> None:
        """Give new work to another model; work that has begun keeps the one it began with."""
        self._model, self._batch_frames = model, self._plan.batch_frames or unmeasured_batch_frames(model)

    def warm_up(self) -> "Future[None]":
        model = self._model
        if self._plan.batch_frames:
            return self._when_idle(_single(lambda: run_once(model)))
        steps = batch_frames_in_steps(model)
        return self._when_idle(lambda: self._measure_step(model, steps))

    def free_memory(self) -> "Future[None]":
        return self._when_idle(_single(self._free_memory))

    def close(self, finish: bool = True) -> None:
        self._refuse_new(finish)
        self._decoders.shutdown(wait=True)
        self._thread.join()
        self._settler.close()

    def _begin_decoding(self, job: Job) -> None:
        # Under the lock, since the pool takes nothing more once `close` has had it.
        self._decoders.submit(self._decode, job)

    def _departed(self, job: Job) -> None:
        self._decoded_s.pop(job, None)
        next_one = self._settler.pass_on(job)
        if next_one is not None:
            self._ready.put(next_one)

    # Decoding, on the threads of the pool

    def _decode(self, job: Job) -> None:
        with self._change:
            self._change.wait_for(self._has_room_ahead)
            self._decoded_s[job] = 0.0
        if not self._decode_clip(job):
            with self._change:
                self._decoded_s.pop(job, None)
                self._change.notify_all()
            return
        try:
            is_settled = self._settler.settle_from_cache(job, self._model)
        except Exception as error:  # of a disk that cannot be read, say: nobody waits for ever
            self._settler.fail(job, error)
            return
        if is_settled:
            return
        with self._change:
            self._ready.put(job)
            self._change.notify_all()

    def _has_room_ahead(self) -> bool:
        few = len(self._decoded_s) < self._plan.decode_threads + 2
        return few or sum(self._decoded_s.values()) < _DECODED_AHEAD_S

    def _decode_clip(self, job: Job) -> bool:
        if job.drop_if_cancelled():
            return False
        started_s = time.perf_counter()
        job.stage = "decoding"
        try:
            with request_scope(job.request_id), self._watch.during("decode"):
                source = job.source
                clip = source if isinstance(source, Clip) else decode(source, self._plan.limits, job.name)
                job.cut(clip, self._plan.analysis)
        except Exception as error:  # whatever a decoder throws belongs to this clip alone
            self._settler.fail(job, error)
            return False
        with self._change:
            if job in self._decoded_s:
                self._decoded_s[job] = clip.duration_s
        job.timings_ms["decode"] = _elapsed_ms(started_s)
        log_stage(job, "decode", f"decoded {clip.duration_s:.2f} s of sound")
        return True

    # Inference, on the one thread that touches the model

    def _infer(self) -> None:
        in_flight: _Batch | None = None
        while True:
            parts = self._next_parts(wait=in_flight is None)
            if parts is None:
                return
            with self._watch.during("inference"):
                started = self._start(parts) if parts else None
                if in_flight is not None:
                    self._finish(in_flight)
                in_flight = started
                if in_flight is not None and in_flight.parts[0].model.card.device == "cpu":
                    self._finish(in_flight)
                    in_flight = None

    def _next_parts(self, wait: bool) -> list[BatchItem] | None:
        """The next batch, empty if there is none right now, None at the end of all work."""
        if wait and not self._wait_for_work():
            return None
        with self._change:
            if self._batch_frames > NO_BATCHES and len(self._ready):
                self._change.wait_for(
                    lambda: self._ready.fills(self._batch_frames) or not self._is_coming(),
                    self._plan.batch_wait_ms / 1000,
                )
            return self._ready.take(self._batch_frames, self._model)

    def _wait_for_work(self) -> bool:
        """Wait until something is ready, doing chores meanwhile; False when all is done for good."""
        idle_since_s, freed = time.perf_counter(), False
        while True:
            with self._change:
                if len(self._ready):
                    return True
                if not self._chores and self._closed and not self._jobs:
                    return False
                if self._jobs:
                    idle_since_s, freed = time.perf_counter(), False
                chore = self._chores.popleft() if self._chores else None
                if chore is None and not freed and time.perf_counter() - idle_since_s >= self._plan.free_after_s:
                    freed, chore = True, _Chore(_single(self._free_memory))
                if chore is None:
                    with self._watch.during("starved" if self._jobs else "idle"):
                        self._change.wait(None if self._jobs or freed else self._plan.free_after_s)
                    continue
            self._run_step(chore)

    def _run_step(self, chore: _Chore) -> None:
        """One step of a chore, and the next one when nothing waits again."""
        try:
            if chore.step():
                with self._change:
                    self._chores.append(chore)
                return
        except Exception as error:  # work comes all the same, and then says what is wrong
            _LOG.warning("a chore of the inference thread failed", exc_info=True)
            chore.ended.set_exception(error)
            return
        chore.ended.set_result(None)

    def _is_coming(self) -> bool:
        """Whether a recording is on its way to the ready queue."""
        return any(job.stage in ("waiting", "decoding") for job in self._jobs.values())

    def _start(self, parts: list[BatchItem]) -> _Batch | None:
        """Hand a batch to the model; None if none of its jobs could begin."""
        begun = [part for part in parts if self._begin(part)]
        return _start_batch(begun) if begun else None

    def _begin(self, part: BatchItem) -> bool:
        try:
            part.job.begin(part.model)
        except Exception as error:  # there may be no room for what a long clip wants to keep
            self._settler.fail(part.job, error)
            return False
        return True

    def _finish(self, batch: _Batch) -> None:
        try:
            predictions = list(zip(batch.parts, batch.collect(), strict=True))
        except Exception as error:
            self._try_apart(batch.parts, error)
            return
        elapsed_ms = _elapsed_ms(batch.started_s)
        frames = sum(num_frames(len(part.window.samples)) for part in batch.parts)
        self._tell_batch(BatchPredicted(len(batch.parts), frames, elapsed_ms))
        for job in {part.job for part in batch.parts}:
            job.timings_ms["inference"] += elapsed_ms
        for part, prediction in predictions:
            self._stitch(part, prediction)

    def _stitch(self, part: BatchItem, prediction: Prediction) -> None:
        if part.job.is_over:
            return
        try:
            whole = part.job.stitch(part.window, prediction)
        except Exception as error:  # of another shape than the model's card says
            self._settler.fail(part.job, error)
            return
        if whole is not None:
            self._settler.give(part.job, whole)

    def _try_apart(self, parts: list[BatchItem], error: Exception) -> None:
        """What a batch could not do, its halves may: a lack of memory or a bad clip then hurts only one."""
        if len(parts) == 1:
            self._settler.fail(parts[0].job, error)
            return
        middle = len(parts) // 2
        for half in (parts[:middle], parts[middle:]):
            self._finish(_start_batch(half))

    def _when_idle(self, step: Callable[[], bool]) -> "Future[None]":
        chore = _Chore(step)
        with self._change:
            self._chores.append(chore)
            self._change.notify_all()
        return chore.ended

    def _free_memory(self) -> None:
        self._model.free_memory()

    def _measure_step(self, model: SpeechModel, steps: Generator[None, None, int]) -> bool:
        """One step of the measurement of batches; False at its end, and when nobody needs it any more."""
        if model is not self._model or self._closed:
            return False
        try:
            next(steps)
        except StopIteration as end:
            self._batch_frames = int(end.value)
            return False
        return True

    def _tell_batch(self, batch: BatchPredicted) -> None:
        for listener in self._listeners:
            listener.batch_predicted(batch)


def _single(work: Callable[[], None]) -> Callable[[], bool]:
    """Work that is one step."""

    def step() -> bool:
        work()
        return False

    return step


def _start_batch(parts: list[BatchItem]) -> _Batch:
    """Hand a batch to its model. One that the model refuses fails when it is collected, after the batch before it:
    the windows of a long clip must come back in order.
    """
    started_s = time.perf_counter()
    try:
        collect = parts[0].model.start([part.window.samples for part in parts])
    except Exception as error:
        collect = _raising(error)
    return _Batch(parts, started_s, collect)


def _raising(error: Exception) -> Collect:
    def collect() -> list[Prediction]:
        raise error

    return collect


def _elapsed_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000
