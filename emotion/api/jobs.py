"""The analyses that the API has begun: each belongs to one client, and is kept for a while after its end.

Those whose clients were told to come back outlive the server: what is finished can still be fetched, and what is not is
begun again.
"""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from emotion.access import Client
from emotion.analysis import TIMESTAMP_FORMAT, AnalysisRequest
from emotion.api.answers import Answer, answer_of
from emotion.api.bodies import Upload
from emotion.api.job import Identities, Job
from emotion.api.promises import Promise, Promises
from emotion.api.shelf import MOST_KEPT, Shelf
from emotion.api.wishes import Wish
from emotion.engine import ConcurrencyLimit, Progress, Stage
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, EngineBusy, EngineClosed, GivenUp, JobNotFound, TooManyRequests
from emotion.logs import request_context

Status = Literal["queued", "decoding", "recognising", "done", "failed", "cancelled"]
_STATUS: dict[Stage, Status] = {
    "waiting": "queued",
    "decoding": "decoding",
    "ready": "queued",
    "recognising": "recognising",
    "done": "recognising",  # by the engine; what is left is to write it down
    "failed": "failed",
    "cancelled": "cancelled",
}
_RETRY_S = 0.5
_LOG = logging.getLogger(__name__)


class Jobs:
    """Begins, finds and forgets the jobs of all clients; belongs to the event loop.

    `most_kept` finished jobs are kept at most. Those in work are bounded by the queue of the engine.
    """

    def __init__(self, recognizer: Recognizer, turns: ConcurrencyLimit, most_kept: int = MOST_KEPT) -> None:
        self._recognizer, self._turns = recognizer, turns
        self._shelf = Shelf(recognizer.settings.job_keep_s, most_kept, self.forget)
        self._jobs: dict[str, Job] = {}
        self._identities = Identities()
        self._tasks: set[asyncio.Task[None]] = set()
        self._promises = Promises(recognizer.settings.outputs)
        self._alone = asyncio.Lock()
        self._root: Path | None = None
        self._closed = False

    def folder(self) -> Path:
        """A folder for what is too large for memory; it goes when the program ends. Raises EngineClosed after that."""
        if self._closed:
            raise EngineClosed
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="emotion-api-"))
        return self._root

    def has(self, job: Job) -> bool:
        """Whether a job was not forgotten."""
        return job.identity in self._jobs

    def begin(self, upload: Upload, wish: Wish, client: Client, root: str = "") -> Job:
        """Hand a recording to the engine; `root` is what a proxy puts before addresses.

        From now on the upload is discarded here. Raises EngineBusy, EngineClosed and TooManyRequests.
        """
        if self._closed:
            raise EngineClosed
        identity = self._identities.next()
        path = f"{root}/v1/analyses/{identity}"
        job = Job(identity, client, upload.name, wish, datetime.now().strftime(TIMESTAMP_FORMAT), path)
        self._submit(job, upload.source)
        self._jobs[identity] = job
        self._run(job, self._follow(job, upload))
        return job

    async def promise(self, job: Job, upload: Upload) -> None:
        """Have a job outlive the server; to be awaited before its client is told to come back for it.

        A disk that takes no promise costs a line in the log: the job then ends with the server.
        """
        if not job.is_over and job.promised is None:
            job.promised = asyncio.ensure_future(self._write_down(job, upload))
        if job.promised is not None:
            await asyncio.shield(job.promised)

    async def restore(self) -> None:
        """Take over what was promised before the server started; what is not finished is begun again, one at a time."""
        try:
            promises = await asyncio.to_thread(self._promises.restore)
        except (EmotionError, OSError) as error:
            _LOG.warning("jobs of an earlier server cannot be taken over: %s", error)
            return
        for promise in promises:
            self._restore(promise)
        if promises:
            over = sum(promise.outcome is not None for promise in promises)
            _LOG.info("%d jobs were taken over, of which %d are finished", len(promises), over)

    def find(self, identity: str, client: str) -> Job:
        """The job of this client; raises JobNotFound for any other."""
        job = self._jobs.get(identity)
        if job is None or job.client.name != client:
            raise JobNotFound
        return job

    def progress(self, job: Job) -> Progress:
        """Where the engine is with a job."""
        if job.future is not None:
            job.last = self._recognizer.progress(job.future)
        return job.last

    def status(self, job: Job) -> Status:
        if job.answer is not None:
            return "done"
        if job.error is not None:
            return "cancelled" if job.was_cancelled else "failed"
        return _STATUS[self.progress(job).stage]

    def record(self, job: Job) -> dict[str, Any]:
        """What a client is told of a job while it has no result."""
        progress = self.progress(job)
        return {
            "id": job.identity,
            "name": job.name,
            "status": self.status(job),
            "created": job.created,
            "progress": {
                "stage": progress.stage,
                "position": progress.position,
                "windows_done": progress.windows_done,
                "windows": progress.windows,
                "wait_s": None if progress.wait_s is None else round(progress.wait_s, 2),
                "duration_s": None if progress.duration_s is None else round(progress.duration_s, 3),
            },
            "links": {"self": job.path, "events": f"{job.path}/events", "files": f"{job.path}/files"},
        }

    def forget(self, job: Job) -> None:
        """Cancel a job that is in work, and delete all that is kept of it."""
        if self._jobs.pop(job.identity, None) is None:
            return
        self._cancel(job)
        self._shelf.take(job)
        if job.task is None:  # else whoever follows it cleans up
            self._delete(job)

    async def close(self) -> None:
        """Cancel what is in work, and leave nothing on the disk but what was promised."""
        self._closed = True
        self._shelf.close()
        for job in list(self._jobs.values()):
            self._cancel(job)
        if self._tasks:  # also of jobs that were forgotten, which may still be writing
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._promises.close)
        if self._root is not None:
            await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)
            self._root = None

    def _submit(self, job: Job, source: bytes | Path) -> None:
        self._turns.acquire(job.client.name)
        try:
            request = AnalysisRequest(
                job.wish.granularity, job.wish.embedding != "none", cache=job.wish.cache, owner=job.client.owner
            )
            job.future = self._recognizer.submit(source, request, job.name)
        except BaseException:
            self._turns.release(job.client.name)
            raise

    def _run(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        job.task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(job.task)
        job.task.add_done_callback(self._tasks.discard)

    def _cancel(self, job: Job) -> None:
        if job.future is not None:
            job.future.cancel()
        elif job.task is not None and job.is_left_over:
            job.task.cancel()

    async def _follow(self, job: Job, upload: Upload | None = None) -> None:
        """Wait for the engine and write down what it says; never raises, since it may be that nobody waits."""
        future = job.future
        if future is None:
            raise RuntimeError("a job was followed that has nothing in work")
        try:
            analysis = await asyncio.wrap_future(future)
            job.last = Progress("done", 0, job.last.windows, job.last.windows, None, analysis.clip.duration_s)
            job.future = None
            job.answer = await self._kept(
                job, await answer_of(analysis, job.wish, f"{job.path}/files", self._room(job))
            )
        except (asyncio.CancelledError, EngineClosed):
            job.was_cancelled, job.error = True, EngineClosed()
        except Exception as error:
            await self._fail(job, error)
        finally:
            job.future = None
            self._turns.release(job.client.name)
        await self._settle(job)
        if upload is not None:
            upload.discard()

    async def _fail(self, job: Job, error: Exception) -> None:
        """Note why a job has no answer, first where its promise lies."""
        if job.promised is not None and await job.promised:
            try:
                await asyncio.to_thread(self._promises.fail, job.identity, error)
            except (EmotionError, OSError):
                _LOG.warning("why a job failed could not be written down", exc_info=True)
        job.error = error

    async def _settle(self, job: Job) -> None:
        """Keep a job that is over for a while, unless it was forgotten meanwhile."""
        if job.promised is not None:
            await job.promised
        job.task = None
        if job.identity in self._jobs:
            self._shelf.put(job)
        else:
            self._delete(job)

    def _delete(self, job: Job) -> None:
        """Delete its files on a thread: gigabytes take a while."""
        paths = [] if job.answer is None else job.answer.paths
        if paths or job.promised is not None:
            asyncio.get_running_loop().run_in_executor(None, self._delete_now, paths, job)

    def _delete_now(self, paths: list[Path], job: Job) -> None:
        _delete_paths(paths)
        if job.promised is not None:
            self._promises.drop(job.identity)

    # What outlives the server

    async def _write_down(self, job: Job, upload: Upload) -> bool:
        promise = Promise(
            identity=job.identity,
            client=job.client,
            name=job.name,
            wish=job.wish,
            created=job.created,
            path=job.path,
            request_id=request_context.request_id(),
        )
        try:
            await asyncio.to_thread(self._promises.keep, promise, upload)
        except (EmotionError, OSError) as error:
            _LOG.warning("a job will end with the server, since it could not be written down: %s", error)
            return False
        return True

    def _room(self, job: Job) -> Callable[[], Path]:
        is_written = job.promised is not None and job.promised.done() and job.promised.result()
        return (lambda: self._promises.room(job.identity)) if is_written else self.folder

    async def _kept(self, job: Job, answer: Answer) -> Answer:
        """The answer, beside its promise if there is one."""
        # Without one nothing is awaited here, so that none can be made between this and the end of the job.
        if job.promised is None or not await job.promised:
            return answer
        return await asyncio.to_thread(self._promises.fulfil, job.identity, answer)

    def _restore(self, promise: Promise) -> None:
        job = Job(promise.identity, promise.client, promise.name, promise.wish, promise.created, promise.path)
        job.promised = asyncio.get_running_loop().create_future()
        job.promised.set_result(True)
        self._jobs[job.identity] = job
        if promise.outcome is None:
            job.is_left_over = True
            self._run(job, self._resume(job, promise))
            return
        job.error = promise.outcome.error
        if job.error is None:
            try:
                job.answer = self._promises.answer(job.identity, promise.outcome)
            except OSError:  # somebody took its files away
                self.forget(job)
                return
        self._shelf.put(job, time.time() - promise.outcome.ended)

    async def _resume(self, job: Job, promise: Promise) -> None:
        """Begin a job again when no other that was left over is in work: should it end the server, it is known."""
        try:
            async with self._alone:
                with request_context.request_scope(
                    promise.request_id
                ):  # which the client knows, and the log of the server before
                    if not await asyncio.to_thread(self._promises.begin, promise):
                        raise GivenUp(job.name)
                    await self._submit_patiently(job)
                    await self._follow(job)
                    return
        except (asyncio.CancelledError, EngineClosed):
            job.was_cancelled, job.error = True, EngineClosed()
        except Exception as error:
            await self._fail(job, error)
        job.is_left_over = False
        await self._settle(job)

    async def _submit_patiently(self, job: Job) -> None:
        while True:
            try:
                self._submit(job, self._promises.recording(job.identity))
            except (EngineBusy, TooManyRequests):
                await asyncio.sleep(_RETRY_S)
            else:
                job.is_left_over = False
                return


def _delete_paths(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
