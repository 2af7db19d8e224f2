"""`/v1/analyses/{id}/events`: what happens to an analysis, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import Request
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

from emotion.access import client_of, problem_of
from emotion.api import replies
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.errors import JobNotFound

MEDIA_TYPE = "text/event-stream"
_LOOK_S = 0.25
# Proxies cut connections on which nothing comes for a minute, some after half of it.
_KEEP_ALIVE_S = 15.0


class Events:
    """The endpoint that tells how an analysis is getting on."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def stream(self, request: Request, id: str) -> StreamingResponse:
        """Server-sent events: `progress` with the job whenever it changed, and last `done` with the record or `failed`
        with the problem. Who joins late, or again, gets what is now.
        """
        job = self._jobs.find(id, client_of(request.scope).name)
        # What proxies would keep back comes late.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._tell(job), headers=headers, media_type=MEDIA_TYPE)

    async def _tell(self, job: Job) -> AsyncIterator[bytes]:
        loop, number = asyncio.get_running_loop(), 0
        told: dict[str, Any] = {}
        told_s = loop.time()
        while job.task is not None and self._jobs.has(job):
            record = self._jobs.record(job)
            if _essence(record) != told:
                told, told_s, number = _essence(record), loop.time(), number + 1
                yield _event("progress", number, orjson.dumps(record))
            elif loop.time() - told_s >= _KEEP_ALIVE_S:
                told_s = loop.time()
                yield KEEPALIVE_COMMENT
            await asyncio.wait({job.task}, timeout=_LOOK_S)
        yield await self._last(job, number + 1)

    async def _last(self, job: Job, number: int) -> bytes:
        error = job.error
        if not self._jobs.has(job):
            error = JobNotFound()
        if error is None and job.answer is not None:
            try:
                return _event("done", number, await replies.record_of(job.answer))
            except JobNotFound as gone:
                error = gone
        body = problem_of(error or JobNotFound()).body
        return _event("failed", number, orjson.dumps(body))


def _essence(record: dict[str, Any]) -> dict[str, Any]:
    """What is worth an event when it changes; the time to wait is a guess that changes always."""
    return {**record["progress"], "wait_s": None, "status": record["status"]}


def _event(kind: str, number: int, json: bytes) -> bytes:
    return format_sse_event(data_str=json.decode(), event=kind, id=str(number))
