"""The jobs of the API: each belongs to one client, and can be fetched for a while after its end.

Jobs whose clients were told to come back survive the server: finished ones can still be fetched, and the others are
started again.
"""

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextvars import Context
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from emotion.analysis import TIMESTAMP_FORMAT, Analysis, AnalysisRequest
from emotion.api.job import Job, StoredJob, job_ids
from emotion.api.job_result import result_of
from emotion.api.job_store import JobStore
from emotion.api.uploads import Upload
from emotion.engine import Progress
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, EngineClosed, GivenUp, JobNotFound, error_of
from emotion.logs.request_context import request_id, request_scope
from emotion.record import JobRecord, JobStatus, Stage

_STATUS: dict[Stage, JobStatus] = {
    "waiting": "queued",
    "decoding": "decoding",
    "ready": "queued",
    "recognising": "recognising",
    "done": "recognising",  # by the engine; the result is still to be written
    "failed": "failed",
    "cancelled": "cancelled",
}
# A job that is started for the second time runs alone among those that an earlier server left: if the server breaks
# down again, this job is likely the cause.
MAX_ATTEMPTS = 2
MAX_KEPT = 2_048
"""Beyond these a finished job is deleted before its time: the oldest of the client that has most."""
MAX_DISK_BYTES = 4_000_000_000
MAX_MEMORY_BYTES = 64_000_000
_LOG = logging.getLogger(__name__)


class Jobs:
    """Starts, finds and deletes the jobs of all clients; belongs to the event loop.

    At most `max_kept` finished jobs are kept. Those in work are bounded by the queue of the engine.
    """

    def __init__(self, recognizer: Recognizer, max_kept: int = MAX_KEPT) -> None:
        self._recognizer = recognizer
        self._finished = FinishedJobs(recognizer.settings.job_keep_s, max_kept, self.delete_job)
        self._jobs: dict[str, Job] = {}
        self._ids = job_ids()
        self._tasks: set[asyncio.Task[None]] = set()
        self._store = JobStore(recognizer.settings.outputs)
        self._restart_lock = asyncio.Lock()
        self._temporary: Path | None = None
        self._closed = False

    def folder(self) -> Path:
        """A folder for what is too large for memory; deleted when the program ends. Raises EngineClosed after that."""
        if self._closed:
            raise EngineClosed
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="emotion-api-"))
        return self._temporary

    def create_job(self, upload: Upload, request: AnalysisRequest, root: str = "") -> Job:
        """Hand a recording to the engine; `root` is what a proxy puts before addresses.

        From now on the upload is discarded here. Raises EngineBusy, EngineClosed and TooManyRequests.
        """
        if self._closed:
            raise EngineClosed
        future = self._recognizer.admission.submit(upload.source, request, upload.name)
        return self._start(upload, request, root, future)

    async def create_job_waiting(self, upload: Upload, request: AnalysisRequest, root: str = "") -> Job:
        """The same as soon as the queue has a place; raises EngineBusy after ten minutes."""
        future = await self._recognizer.admission.submit_waiting_async(upload.source, request, upload.name)
        if self._closed:
            future.cancel()
            raise EngineClosed
        return self._start(upload, request, root, future)

    async def store_job(self, job: Job, upload: Upload) -> None:
        """Have a job survive the server; to be awaited before its client is told to come back for it.

        If the disk does not take it, the log says so, and the job ends with the server.
        """
        if not job.is_over and job.stored is None:
            job.stored = asyncio.ensure_future(self._write_job(job, upload))
        if job.stored is not None:
            await asyncio.shield(job.stored)

    async def restore_jobs(self) -> None:
        """Take over the jobs that earlier servers stored; what is not finished is started again, one at a time."""
        try:
            records = await asyncio.to_thread(self._store.restore_jobs)
        except (EmotionError, OSError) as error:
            _LOG.warning("jobs of an earlier server cannot be taken over: %s", error)
            return
        for record in records:
            self._restore_job(record)
        if records:
            over = sum(record.is_over for record in records)
            _LOG.info("%d jobs were taken over, of which %d are finished", len(records), over)

    def find_job(self, job_id: str, client: str) -> Job:
        """The job of this client; raises JobNotFound for any other."""
        job = self._jobs.get(job_id)
        if job is None or job.client != client:
            raise JobNotFound
        return job

    def has_job(self, job: Job) -> bool:
        """Whether a job was not deleted."""
        return job.record.id in self._jobs

    def describe_job(self, job: Job) -> JobRecord:
        """What a client is told of a job while it has no result."""
        if job.future is not None:
            job.progress = self._recognizer.progress(job.future)
        record, path = job.record, job.record.path
        progress: Any = vars(job.progress) | {
            "wait_s": _rounded(job.progress.wait_s, 2),
            "duration_s": _rounded(job.progress.duration_s, 3),
        }
        return {
            "id": record.id,
            "name": record.name,
            "status": _status(job),
            "created": record.created,
            "progress": progress,
            "links": {"self": path, "events": f"{path}/events", "files": f"{path}/files"},
        }

    async def follow_job(self, job: Job, every_s: float) -> AsyncGenerator[JobRecord, None]:
        """The description of a job now and every so many seconds, until the job is over or deleted."""
        while job.task is not None and self.has_job(job):
            yield self.describe_job(job)
            if job.task is not None:
                await asyncio.wait({job.task}, timeout=every_s)

    def delete_job(self, job: Job) -> None:
        """Cancel a job that is in work, and delete its result."""
        if self._jobs.pop(job.record.id, None) is None:
            return
        _cancel(job)
        self._finished.remove(job)
        if job.task is None:  # else the task deletes its files
            self._delete_files(job)

    async def close(self) -> None:
        """Cancel what is in work, and leave nothing on the disk but stored jobs."""
        self._closed = True
        self._finished.close()
        for job in list(self._jobs.values()):
            _cancel(job)
        if self._tasks:  # also of jobs that were deleted, which may still be writing
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._store.close)
        if self._temporary is not None:
            await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)
            self._temporary = None

    def _start(self, upload: Upload, request: AnalysisRequest, root: str, future: Future[Analysis]) -> Job:
        job_id = next(self._ids)
        created = datetime.now().strftime(TIMESTAMP_FORMAT)
        record = StoredJob(job_id, upload.name, request, created, f"{root}/v1/analyses/{job_id}", request_id())
        job = Job(record, future)
        self._run(job, upload)
        return job

    def _run(self, job: Job, upload: Upload | None = None) -> None:
        self._jobs[job.record.id] = job
        job.task = asyncio.get_running_loop().create_task(self._work(job, upload))
        self._tasks.add(job.task)
        job.task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job, upload: Upload | None) -> None:
        """Wait for the engine and keep its result; never raises, since perhaps no client waits."""
        # The client and the log of the server before know the job by the id of the request that it came with.
        with request_scope(job.record.request_id):
            try:
                async with self._restart_lock if job.future is None else contextlib.nullcontext():
                    future = job.future or await self._start_again(job)
                    await self._finish(job, await asyncio.wrap_future(future))
            except (asyncio.CancelledError, EngineClosed):
                job.set_state("cancelled")
                job.error = EngineClosed()
            except Exception as error:
                await self._fail(job, error)
        job.future = None
        if job.stored is not None:
            await job.stored
        job.task = None
        if self.has_job(job):
            self._finished.add(job)
        else:
            self._delete_files(job)
        if upload is not None:
            upload.discard()

    async def _start_again(self, job: Job) -> Future[Analysis]:
        """Submit a job that an earlier server left, when there is a place in the queue."""
        record = job.record
        if record.attempts >= MAX_ATTEMPTS:
            raise GivenUp(record.name)
        await asyncio.to_thread(self._store.save_job, replace(record, state="running", attempts=record.attempts + 1))
        job.future = await self._recognizer.admission.submit_waiting_async(
            self._store.recording(record.id), record.request, record.name, timeout_s=None
        )
        job.set_state("running")
        return job.future

    async def _finish(self, job: Job, analysis: Analysis) -> None:
        job.progress = Progress("done", 0, job.progress.windows, job.progress.windows, None, analysis.clip.duration_s)
        job.future = None
        result = await result_of(analysis, f"{job.record.path}/files", lambda: self._files_folder(job))
        done = replace(
            job.record,
            state="done",
            ended=time.time(),
            cached=result.cached,
            duration_s=result.duration_s,
            timings_ms=result.timings_ms,
        )
        # Where the job is not stored nothing is awaited here, so that none can be stored between this and its end.
        if job.stored is not None and await job.stored:
            result = await asyncio.to_thread(self._store.complete_job, done, result)
        job.record, job.result = done, result

    async def _fail(self, job: Job, error: Exception) -> None:
        """Note why a job has no result, first where it is stored."""
        failed = job.record.failed(error, time.time())
        if job.stored is not None and await job.stored:
            try:
                await asyncio.to_thread(self._store.save_job, failed)
            except (EmotionError, OSError):
                _LOG.warning("why a job failed could not be written down", exc_info=True)
        job.record, job.error = failed, error

    def _files_folder(self, job: Job) -> Path:
        """Where the files of a result are made: a stored job has a folder, on the disk where they stay."""
        is_stored = job.stored is not None and job.stored.done() and job.stored.result()
        return self._store.make_folder(job.record.id) if is_stored else self.folder()

    async def _write_job(self, job: Job, upload: Upload) -> bool:
        try:
            await asyncio.to_thread(self._store.create_job, job.record, upload)
        except (EmotionError, OSError) as error:
            _LOG.warning("a job will end with the server, since it could not be written down: %s", error)
            return False
        return True

    def _restore_job(self, record: StoredJob) -> None:
        job = Job(record)
        job.stored = asyncio.get_running_loop().create_future()
        job.stored.set_result(True)
        if not record.is_over:
            job.set_state("queued")
            self._run(job)
            return
        self._jobs[record.id] = job
        try:
            if record.state == "done":
                job.result = self._store.result_of(record)
            else:
                job.error = error_of(record.code, record.message)
        except OSError:  # its files were deleted by hand
            self.delete_job(job)
        else:
            self._finished.add(job, time.time() - record.ended)

    def _delete_files(self, job: Job) -> None:
        """Delete the files of a job on a thread: gigabytes take a while."""

        def delete() -> None:
            if job.result is not None:
                job.result.delete_files()
            try:
                self._store.delete_job(job.record.id)
            except EmotionError as error:
                _LOG.warning("a job could not be deleted: %s", error)

        if job.stored is not None or (job.result is not None and job.result.is_on_disk):
            asyncio.get_running_loop().run_in_executor(None, delete)


class FinishedJobs:
    """Jobs that are over, each for `keep_s`; belongs to the event loop. `delete_job` deletes one whose time is over."""

    def __init__(self, keep_s: float, max_kept: int, delete_job: Callable[[Job], None]) -> None:
        self._keep_s, self._max_kept, self._delete_job = keep_s, max_kept, delete_job
        self._timers: dict[Job, asyncio.TimerHandle] = {}  # in the order in which they ended
        self._disk_bytes = self._memory_bytes = 0
        self._closed = False

    def add(self, job: Job, age_s: float = 0.0) -> None:
        """Keep a job that has been over for `age_s`; nothing after `close`."""
        if self._closed:
            return
        # Without the context of the current request, which would live as long as the timer.
        loop, rest_s = asyncio.get_running_loop(), self._keep_s - age_s
        self._timers[job] = loop.call_later(rest_s, self._delete_job, job, context=Context())
        self._count_bytes(job, 1)
        while self._is_full():
            ((client, _),) = Counter(job.client for job in self._timers).most_common(1)
            self._delete_job(next(job for job in self._timers if job.client == client))

    def remove(self, job: Job) -> None:
        """Keep a job no longer; nothing if it is not here."""
        timer = self._timers.pop(job, None)
        if timer is not None:
            timer.cancel()
            self._count_bytes(job, -1)

    def close(self) -> None:
        """Delete nothing any more."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()

    def _count_bytes(self, job: Job, sign: int) -> None:
        if job.result is not None:
            self._disk_bytes += sign * job.result.disk_bytes
            self._memory_bytes += sign * job.result.memory_bytes

    def _is_full(self) -> bool:
        if len(self._timers) <= 1:  # the latest can be fetched at least once
            return False
        too_large = self._disk_bytes > MAX_DISK_BYTES or self._memory_bytes > MAX_MEMORY_BYTES
        return too_large or len(self._timers) > self._max_kept


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _status(job: Job) -> JobStatus:
    if job.record.state == "running":
        return _STATUS[job.progress.stage]
    return "failed" if job.record.state == "given_up" else job.record.state


def _cancel(job: Job) -> None:
    if job.future is not None:
        job.future.cancel()
    elif job.task is not None and job.record.state == "queued":
        job.task.cancel()
