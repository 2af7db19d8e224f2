"""Where jobs that are over wait to be fetched, for a while and not too many."""

import asyncio
from collections.abc import Callable
from contextvars import Context

from emotion.api.job import Job

# Finished ones beyond these go before their time, the oldest of the client that keeps most first.
MOST_KEPT = 2_048
MOST_KEPT_BYTES = 4_000_000_000
MOST_HELD_BYTES = 64_000_000


class Shelf:
    """Jobs that are over, each for `keep_s`; belongs to the event loop. `forget` is told of one whose time is over."""

    def __init__(self, keep_s: float, most_kept: int, forget: Callable[[Job], None]) -> None:
        self._keep_s, self._most_kept, self._forget = keep_s, most_kept, forget
        self._ended: dict[str, dict[str, Job]] = {}  # by client, each in the order of their ends
        self._num_ended = self._kept_bytes = self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def put(self, job: Job, since_s: float = 0.0) -> None:
        """Take a job that is over, for `since_s` already; nothing after `close`."""
        if self._closed:
            return
        self._ended.setdefault(job.client.name, {})[job.identity] = job
        self._count(job, 1)
        job.ended_s = asyncio.get_running_loop().time() - since_s
        self._await_oldest()
        while self._is_too_much():
            most = max(self._ended.values(), key=len)
            self._forget(next(iter(most.values())))

    def take(self, job: Job) -> None:
        """Let go of a job; nothing if it is not here."""
        ended = self._ended.get(job.client.name, {})
        if ended.pop(job.identity, None) is None:
            return
        if not ended:
            del self._ended[job.client.name]
        self._count(job, -1)

    def close(self) -> None:
        """No job is forgotten any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _count(self, job: Job, one: int) -> None:
        self._num_ended += one
        if job.answer is not None:
            self._kept_bytes += one * job.answer.size_bytes
            self._held_bytes += one * job.answer.held_bytes

    def _await_oldest(self) -> None:
        """Have one timer run, for the job that ended first of all."""
        oldest = min((next(iter(jobs.values())).ended_s for jobs in self._ended.values()), default=None)
        if self._timer is None and oldest is not None:
            # Without the context of the request at hand, which would live as long as the timer.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(oldest + self._keep_s, self._forget_old, context=Context())

    def _forget_old(self) -> None:
        self._timer = None
        due_s = asyncio.get_running_loop().time() - self._keep_s
        for jobs in list(self._ended.values()):
            for job in list(jobs.values()):
                if job.ended_s > due_s:
                    break
                self._forget(job)
        self._await_oldest()

    def _is_too_much(self) -> bool:
        if self._num_ended <= 1:  # what was just made can be fetched at least once
            return False
        too_large = self._kept_bytes > MOST_KEPT_BYTES or self._held_bytes > MOST_HELD_BYTES
        return too_large or self._num_ended > self._most_kept
