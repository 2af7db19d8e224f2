"""`/v1/analyses/{id}/events`: what happens to an analysis, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

from emotion.access import client_of, problem_of
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.errors import JobNotFound
from emotion.record import JobRecord

MEDIA_TYPE = "text/event-stream"
_EVERY_S = 0.25
# Proxies cut connections on which nothing comes for a minute, some after half of it.
_KEEP_ALIVE_S = 15.0


class Events:
    """The endpoint that tells how far an analysis is."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def stream(self, request: Request, id: str) -> StreamingResponse:
        """Server-sent events: `progress` with the job whenever it changed, and last `done` with the record or `failed`
        with the problem. A client that connects late, or again, gets the state of the moment first.
        """
        job = self._jobs.find(id, client_of(request.scope).name)
        # Without buffering by proxies, which would delay events.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(job), headers=headers, media_type=MEDIA_TYPE)

    async def _events(self, job: Job) -> AsyncIterator[bytes]:
        loop, number = asyncio.get_running_loop(), 0
        sent: dict[str, Any] = {}
        sent_s = loop.time()
        async for description in self._jobs.follow(job, _EVERY_S):
            if _essence(description) != sent:
                sent, sent_s, number = _essence(description), loop.time(), number + 1
                yield _event("progress", number, orjson.dumps(description))
            elif loop.time() - sent_s >= _KEEP_ALIVE_S:
                sent_s = loop.time()
                yield KEEPALIVE_COMMENT
        yield await self._last_event(job, number + 1)

    async def _last_event(self, job: Job, number: int) -> bytes:
        error = job.error if self._jobs.has(job) else JobNotFound()
        if error is None and job.result is not None:
            try:
                return _event("done", number, await job.result.read_json())
            except JobNotFound as gone:
                error = gone
        return _event("failed", number, orjson.dumps(problem_of(error or JobNotFound()).body))


def _essence(description: JobRecord) -> dict[str, Any]:
    """What is worth an event when it changes; the time to wait is an estimate that always changes."""
    return {**description["progress"], "wait_s": None, "status": description["status"]}


def _event(kind: str, number: int, json: bytes) -> bytes:
    return format_sse_event(data_str=json.decode(), event=kind, id=str(number))
