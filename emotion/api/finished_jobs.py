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
        self._by_client: dict[str, dict[Job, asyncio.TimerHandle]] = {}  # each in the order in which they ended
        self._num_jobs = self._disk_bytes = self._memory_bytes = 0
        self._closed = False

    def add(self, job: Job, age_s: float = 0.0) -> None:
        """Keep a job that has been over for `age_s`; nothing after `close`."""
        if self._closed:
            return
        # Without the context of the current request, which would live as long as the timer.
        loop, rest_s = asyncio.get_running_loop(), self._keep_s - age_s
        timer = loop.call_later(rest_s, self._delete_job, job, context=Context())
        self._by_client.setdefault(job.record.request.client, {})[job] = timer
        self._count(job, 1)
        while self._is_full():
            largest = max(self._by_client.values(), key=len)
            self._delete_job(next(iter(largest)))

    def remove(self, job: Job) -> None:
        """Keep a job no longer; nothing if it is not here."""
        client = job.record.request.client
        timer = self._by_client.get(client, {}).pop(job, None)
        if timer is not None:
            timer.cancel()
            self._count(job, -1)
            if not self._by_client[client]:
                del self._by_client[client]

    def close(self) -> None:
        """Delete nothing any more."""
        self._closed = True
        for timers in self._by_client.values():
            for timer in timers.values():
                timer.cancel()

    def _count(self, job: Job, sign: int) -> None:
        self._num_jobs += sign
        if job.result is not None:
            self._disk_bytes += sign * job.result.disk_bytes
            self._memory_bytes += sign * job.result.memory_bytes

    def _is_full(self) -> bool:
        if self._num_jobs <= 1:  # the latest can be fetched at least once
            return False
        too_large = self._disk_bytes > MAX_DISK_BYTES or self._memory_bytes > MAX_MEMORY_BYTES
        return too_large or self._num_jobs > self._max_kept
