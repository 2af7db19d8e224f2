"""Jobs that are over wait here to be fetched, for a limited time and in a limited number."""

import asyncio
from collections.abc import Callable
from contextvars import Context

from emotion.api.job import Job

MAX_KEPT = 2_048
"""Beyond these a finished job is deleted before its time: the oldest of the client that has most."""
MAX_DISK_BYTES = 4_000_000_000
MAX_MEMORY_BYTES = 64_000_000


class FinishedJobs:
    """Jobs that are over, each for `keep_s`; belongs to the event loop. `delete_job` deletes one whose time is over."""

    def __init__(self, keep_s: float, max_kept: int, delete_job: Callable[[Job], None]) -> None:
        self._keep_s, self._max_kept, self._delete_job = keep_s, max_kept, delete_job
        self._by_client: dict[str, dict[str, Job]] = {}  # each in the order in which they ended
        self._num_jobs = self._disk_bytes = self._memory_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def add(self, job: Job, age_s: float = 0.0) -> None:
        """Keep a job that has been over for `age_s`; nothing after `close`."""
        if self._closed:
            return
        self._by_client.setdefault(job.record.request.client, {})[job.record.id] = job
        self._count(job, 1)
        job.ended_s = asyncio.get_running_loop().time() - age_s
        self._start_timer()
        while self._is_full():
            largest = max(self._by_client.values(), key=len)
            self._delete_job(next(iter(largest.values())))

    def remove(self, job: Job) -> None:
        """Keep a job no longer; nothing if it is not here."""
        jobs = self._by_client.get(job.record.request.client, {})
        if jobs.pop(job.record.id, None) is None:
            return
        if not jobs:
            del self._by_client[job.record.request.client]
        self._count(job, -1)

    def close(self) -> None:
        """Delete nothing any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _count(self, job: Job, sign: int) -> None:
        self._num_jobs += sign
        if job.result is not None:
            self._disk_bytes += sign * job.result.disk_bytes
            self._memory_bytes += sign * job.result.memory_bytes

    def _start_timer(self) -> None:
        """Have one timer run, for the job that ended first."""
        oldest_s = min((next(iter(jobs.values())).ended_s for jobs in self._by_client.values()), default=None)
        if self._timer is None and oldest_s is not None:
            # Without the context of the current request, which would live as long as the timer.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(oldest_s + self._keep_s, self._delete_expired, context=Context())

    def _delete_expired(self) -> None:
        self._timer = None
        due_s = asyncio.get_running_loop().time() - self._keep_s
        for jobs in list(self._by_client.values()):
            for job in list(jobs.values()):
                if job.ended_s > due_s:
                    break
                self._delete_job(job)
        self._start_timer()

    def _is_full(self) -> bool:
        if self._num_jobs <= 1:  # the latest can be fetched at least once
            return False
        too_large = self._disk_bytes > MAX_DISK_BYTES or self._memory_bytes > MAX_MEMORY_BYTES
        return too_large or self._num_jobs > self._max_kept
