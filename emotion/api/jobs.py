"""The analyses that the API has begun: each belongs to one client, and is kept for a while after its end."""

import asyncio
import secrets
import shutil
import tempfile
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from emotion.access import Client
from emotion.access.limits import Turns
from emotion.analysis import TIMESTAMP_FORMAT, Analysis
from emotion.api.answers import Answer, answer_of
from emotion.api.bodies import Upload
from emotion.api.wishes import Wish
from emotion.engine import Progress, Stage
from emotion.errors import EngineClosed, JobNotFound
from emotion.recognizer import Recognizer

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
# Finished ones beyond these go before their time, the oldest of the client that keeps most first.
MOST_KEPT = 2_048
MOST_KEPT_BYTES = 4_000_000_000
MOST_HELD_BYTES = 64_000_000
_ID_BYTES = 16
_NOTHING_YET = Progress("waiting", 0, 0, 0)


@dataclass(eq=False, slots=True)
class Job:
    """One recording of one client, from its acceptance until it is forgotten.

    `future` is there while the engine works, then either `answer` or `error`; `task` ends when one of them is there.
    """

    identity: str
    client: str
    name: str
    wish: Wish
    created: str
    path: str
    future: Future[Analysis] | None
    task: asyncio.Task[None] | None = None
    answer: Answer | None = None
    error: Exception | None = None
    was_cancelled: bool = False
    last: Progress = _NOTHING_YET
    ended_s: float = 0.0

    @property
    def is_over(self) -> bool:
        return self.answer is not None or self.error is not None


class Jobs:
    """Begins, finds and forgets the jobs of all clients; belongs to the event loop.

    `most_kept` finished jobs are kept at most. Those in work are bounded by the queue of the engine.
    """

    def __init__(self, recognizer: Recognizer, turns: Turns, most_kept: int = MOST_KEPT) -> None:
        self._recognizer, self._turns = recognizer, turns
        self._most_kept = most_kept
        self._jobs: dict[str, Job] = {}
        self._ended: dict[str, dict[str, Job]] = {}  # by client, each in the order of their ends
        self._identities = _Identities()
        self._num_ended = self._kept_bytes = self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._root: Path | None = None
        self._timer: asyncio.TimerHandle | None = None
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
        self._turns.acquire(client.name)
        try:
            future = self._recognizer.submit(
                upload.source,
                wish.granularity,
                wish.embedding != "none",
                upload.name,
                cache=wish.cache,
                owner=client.owner,
            )
        except BaseException:
            self._turns.release(client.name)
            raise
        identity = self._identities.next()
        path = f"{root}/v1/analyses/{identity}"
        created = datetime.now().strftime(TIMESTAMP_FORMAT)
        job = Job(identity, client.name, upload.name, wish, created, path, future)
        self._jobs[identity] = job
        job.task = asyncio.get_running_loop().create_task(self._follow(job, upload))
        self._tasks.add(job.task)
        job.task.add_done_callback(self._tasks.discard)
        return job

    def find(self, identity: str, client: str) -> Job:
        """The job of this client; raises JobNotFound for any other."""
        job = self._jobs.get(identity)
        if job is None or job.client != client:
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
        if job.future is not None:
            job.future.cancel()
        if self._ended.get(job.client, {}).pop(job.identity, None) is not None:
            self._num_ended -= 1
            if not self._ended[job.client]:
                del self._ended[job.client]
            if job.answer is not None:
                self._kept_bytes -= job.answer.size_bytes
                self._held_bytes -= job.answer.held_bytes
        if job.answer is not None:
            _delete(job.answer)

    async def close(self) -> None:
        """Cancel what is in work, and leave nothing on the disk."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for job in list(self._jobs.values()):
            self.forget(job)
        if self._tasks:  # also of jobs that were forgotten, which may still be writing
            await asyncio.wait(self._tasks)
        if self._root is not None:
            await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)
            self._root = None

    async def _follow(self, job: Job, upload: Upload) -> None:
        """Wait for the engine and write down what it says; never raises, since it may be that nobody waits."""
        future = job.future
        if future is None:
            raise RuntimeError("a job was followed that has nothing in work")
        try:
            analysis = await asyncio.wrap_future(future)
            job.last = Progress("done", 0, job.last.windows, job.last.windows, None, analysis.clip.duration_s)
            job.future = None
            job.answer = await answer_of(analysis, job.wish, f"{job.path}/files", self.folder)
        except asyncio.CancelledError:
            job.was_cancelled, job.error = True, EngineClosed()
        except Exception as error:
            job.error = error
        finally:
            job.future = None
            self._turns.release(job.client)
            upload.discard()
        if job.identity in self._jobs:
            self._keep(job)
        elif job.answer is not None:  # it was forgotten meanwhile
            _delete(job.answer)

    def _keep(self, job: Job) -> None:
        self._ended.setdefault(job.client, {})[job.identity] = job
        self._num_ended += 1
        if job.answer is not None:
            self._kept_bytes += job.answer.size_bytes
            self._held_bytes += job.answer.held_bytes
        job.task = None
        job.ended_s = asyncio.get_running_loop().time()
        self._await_oldest()
        while self._is_too_much():
            most = max(self._ended.values(), key=len)
            self.forget(next(iter(most.values())))

    def _await_oldest(self) -> None:
        """Have one timer run, for the job that ended first of all."""
        oldest = min((next(iter(jobs.values())).ended_s for jobs in self._ended.values()), default=None)
        if self._timer is None and oldest is not None:
            due_s = oldest + self._recognizer.settings.job_keep_s
            # Without the context of the request at hand, which would live as long as the timer.
            self._timer = asyncio.get_running_loop().call_at(due_s, self._forget_old, context=Context())

    def _forget_old(self) -> None:
        self._timer = None
        due_s = asyncio.get_running_loop().time() - self._recognizer.settings.job_keep_s
        for jobs in list(self._ended.values()):
            for job in list(jobs.values()):
                if job.ended_s > due_s:
                    break
                self.forget(job)
        self._await_oldest()

    def _is_too_much(self) -> bool:
        if self._num_ended <= 1:  # what was just made can be fetched at least once
            return False
        too_large = self._kept_bytes > MOST_KEPT_BYTES or self._held_bytes > MOST_HELD_BYTES
        return too_large or self._num_ended > self._most_kept


class _Identities:
    """Names that nobody can guess: 32 hexadecimal digits."""

    def __init__(self) -> None:
        self._random = b""

    def next(self) -> str:
        # Some at a time: asking the system lets go of Python's lock, and a busy decoder keeps it for milliseconds.
        if not self._random:
            self._random = secrets.token_bytes(256 * _ID_BYTES)
        identity, self._random = self._random[:_ID_BYTES].hex(), self._random[_ID_BYTES:]
        return identity


def _delete(answer: Answer) -> None:
    """Delete its files on a thread: gigabytes take a while."""
    if answer.paths:
        asyncio.get_running_loop().run_in_executor(None, _delete_paths, answer.paths)


def _delete_paths(paths: list[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
