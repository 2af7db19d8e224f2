"""The contract of an engine over replicas elsewhere: what is submitted here is recognised there."""

import asyncio
import logging
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from contextlib import aclosing
from typing import Any, TypeVar

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, Source
from emotion.cache import CacheStats
from emotion.cluster.link import Chore, ReplicaLink, ReplicaLost, ReplicasFull
from emotion.cluster.messages import (
    AnalyzeRequest,
    Answer,
    Piece,
    ProgressMessage,
    Refused,
    ReplicaUnavailable,
    ResultAssembler,
)
from emotion.cluster.plan import ClusterPlan
from emotion.cluster.remote_job import NOT_STARTED, MemoryBudget, RemoteJob, analyze_request
from emotion.cluster.replica_stats import ReplicaStats
from emotion.engine import ClipSettled, ClipTimes, EngineFront, Origin, StageTimes
from emotion.errors import EmotionError, EngineBusy, ReplicasLost
from emotion.logs.request_context import request_scope
from emotion.model import ModelCard

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
# A recording that ends the process which decodes it must not end all of them.
# The waits grow, since the cluster takes a moment to notice that a replica is gone, and seconds to start another.
_WAITS_S = (0.2, 1.0, 5.0)
# Bytes of recordings that are read here and not yet answered.
_HELD_BYTES = 512_000_000


class ClusterEngine(EngineFront[RemoteJob]):
    """Sends recordings to replicas; everything else is as with `Engine`, and so are the numbers.

    A replica that ends in the middle of its work costs time: the recording goes to another one, three times at most.
    `link` is closed with the engine. Making one waits until a replica answers.
    """

    def __init__(self, link: ReplicaLink, plan: ClusterPlan | None = None) -> None:
        self._link, self._plan = link, plan or ClusterPlan()
        super().__init__(self._plan.queue_size)
        self._budget = MemoryBudget(_HELD_BYTES)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cluster", daemon=True)
        self._thread.start()
        try:
            self._stats = ReplicaStats(self._in_loop(link.report()).result())
        except BaseException:
            self._end_loop()
            raise
        self._watching = self._in_loop(self._watch())

    @property
    def card(self) -> ModelCard:
        return self._stats.card

    @property
    def replicas(self) -> int:
        """Replicas that answered when they were last asked, every few seconds."""
        return self._stats.replicas

    @property
    def max_in_flight(self) -> int:
        """So many that all replicas there may be have work, and a quarter of the queue is left to others."""
        plan = self._plan
        return min(plan.ongoing * plan.max_replicas, plan.queue_size - plan.queue_size // 4)

    @property
    def decode_threads(self) -> int:
        return self._stats.decode_threads

    @property
    def batch_frames(self) -> int:
        return self._stats.batch_frames

    @property
    def stage_times(self) -> StageTimes:
        """Decoding of all replicas together, and the mean of their inference threads, as of the last reports."""
        return self._stats.times

    @property
    def cache_stats(self) -> CacheStats | None:
        return self._stats.cache

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    def submit(
        self, source: Source | Clip, request: AnalysisRequest | None = None, name: str | None = None
    ) -> "Future[Analysis]":
        return self._accept(RemoteJob(source, request or AnalysisRequest(), name), self._begin)

    def warm_up(self) -> "Future[None]":
        """Have every replica measure whether batches pay; each has run its model once when it takes recordings.

        The future is done when all were reached.
        """
        return self._in_loop(self._broadcast("warm_up"))

    def free_memory(self) -> "Future[None]":
        return self._in_loop(self._broadcast("free_memory"))

    def close(self, finish: bool = True) -> None:
        if self._closed:
            return
        wait(self._refuse_new(finish))
        self._watching.cancel()
        self._end_loop()
        self._link.close()

    # On the loop

    async def _run(self, job: RemoteJob) -> None:
        with request_scope(job.request_id):
            try:
                analysis = await self._recognize(job)
            except asyncio.CancelledError:
                job.future.cancel()
            except Exception as error:
                self._fail(job, error)
            else:
                self._settle(job, analysis)

    async def _recognize(self, job: RemoteJob) -> Analysis:
        async with analyze_request(job, self._link.shares_files, self._plan.limits, self._budget) as request:
            for wait_s in (*_WAITS_S, None):
                try:
                    return await self._recognize_once(job, request)
                except ReplicaLost as lost:
                    if wait_s is None:
                        break
                    _LOG.warning("a replica was lost (%s), another one is asked", lost)
                    job.set_progress(NOT_STARTED)
                    await asyncio.sleep(wait_s)
        raise ReplicasLost

    async def _recognize_once(self, job: RemoteJob, request: AnalyzeRequest) -> Analysis:
        assembler: ResultAssembler | None = None
        try:
            async with aclosing(self._link.analyze(request)) as messages:
                async for message in messages:
                    if isinstance(message, ProgressMessage):
                        job.set_progress(message.progress)
                    elif isinstance(message, Answer):
                        assembler = ResultAssembler(message, job.source if isinstance(job.source, Clip) else None)
                    elif isinstance(message, Piece) and assembler is not None:
                        assembler.add(message)
                    elif isinstance(message, Refused):
                        raise message.error
                    elif isinstance(message, ReplicaUnavailable):
                        raise ReplicaLost("it takes no more")
        except ReplicasFull:
            raise EngineBusy(self.queue_length, self._estimated_wait_s(self.queue_length // 4)) from None
        if assembler is None or not assembler.is_whole:
            raise ReplicaLost("its answer ended early")
        return assembler.analysis()

    async def _watch(self) -> None:
        """Ask the replicas how they are, again and again."""
        while True:
            try:
                batches = self._stats.update(await self._link.reports())
            except Exception as error:  # the cluster is changing, or away: recordings notice it by themselves
                _LOG.debug("the replicas did not report: %s", type(error).__name__)
            else:
                for batch in batches:
                    for listener in self._listeners:
                        listener.batch_predicted(batch)
            await asyncio.sleep(self._plan.look_s)

    async def _broadcast(self, chore: Chore) -> None:
        try:
            await self._link.broadcast(chore)
        except Exception as error:
            _LOG.debug("not all replicas were reached: %s", type(error).__name__)

    def _settle(self, job: RemoteJob, analysis: Analysis) -> None:
        decode_ms, inference_ms = (analysis.timings_ms.get(stage, 0.0) for stage in ("decode", "inference"))
        # All the time but decoding and inference, the way there and back too.
        queue_ms = (time.perf_counter() - job.submitted_s) * 1000 - decode_ms - inference_ms
        analysis = analysis.with_timing("queue", max(queue_ms, 0.0))
        if not job.resolve(lambda: job.future.set_result(analysis), "done"):
            return
        times = ClipTimes(decode_ms, analysis.timings_ms["queue"], inference_ms)
        self.count_done(times, computed=not analysis.cached)
        origin: Origin = "memory" if analysis.cached else "computed"
        self.tell(job, ClipSettled("done", times, analysis.clip.duration_s, origin))

    def _fail(self, job: RemoteJob, error: Exception) -> None:
        if not isinstance(error, EmotionError):
            _LOG.error("a recording failed unexpectedly", exc_info=error)
        if job.resolve(lambda: job.future.set_exception(error), "failed"):
            code = error.code if isinstance(error, EmotionError) else "unexpected"
            self.tell(job, ClipSettled("failed", job.times, error=code))

    # Threads

    def _begin(self, job: RemoteJob) -> None:
        job.task = self._in_loop(self._run(job))

    def _departed(self, job: RemoteJob) -> None:
        if job.future.cancelled() and job.task is not None:
            job.task.cancel()

    def _counts_as_waiting(self, job: RemoteJob) -> bool:
        return job.stage != "recognising"  # many are in work at a time

    @property
    def _workers(self) -> int:
        return max(self.replicas, 1)

    def _in_loop(self, coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _end_loop(self) -> None:
        self._in_loop(_others_end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _others_end() -> None:
    """Cancel what still runs on this loop, and wait for it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.get_running_loop().shutdown_default_executor()
