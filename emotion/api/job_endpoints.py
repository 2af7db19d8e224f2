"""`/v1/analyses/{id}`: a job or its record, what happens to it, its files, and its deletion."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import FileResponse, StreamingResponse

from emotion.access import client_of, problem_of
from emotion.api import responses
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.errors import JobNotFound
from emotion.outputs.names import download_name
from emotion.outputs.run import RESULT_FILE
from emotion.record import JobRecord

_EVENT_EVERY_S = 0.25
# Proxies cut connections on which nothing comes for a minute, some after half of it.
_KEEP_ALIVE_S = 15.0
_MEDIA_TYPES = {
    ".json": "application/json",
    ".npy": "application/octet-stream",
    ".npz": "application/octet-stream",
    ".csv": "text/csv; charset=utf-8",
    ".srt": "application/x-subrip",
    ".vtt": "text/vtt; charset=utf-8",
    ".xml": "application/xml",
}


class FileNotThere(JobNotFound):
    """An analysis has no file of this name, or has none yet."""

    code = "file_not_found"
    template = (
        "This analysis has no such file. Ask for it with `embedding=npy` or `exports=...`, and wait until the analysis "
        "is done."
    )


class JobEndpoints:
    """The endpoints of jobs; each client sees its own."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def show(self, request: Request, id: str) -> Response:
        """The record of an analysis; while it is in work its job, and the problem if it failed."""
        job = self._find(request, id)
        return (
            await responses.finished(job)
            if job.is_over
            else responses.in_work(self._jobs, job, {"Cache-Control": "no-store"})
        )

    async def events(self, request: Request, id: str) -> StreamingResponse:
        """Server-sent events: `progress` with the job whenever it changed, and last `done` with the record or `failed`
        with the problem. A client that connects late, or again, gets the state of the moment first.
        """
        job = self._find(request, id)
        # Without buffering by proxies, which would delay events.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(job), headers=headers, media_type=responses.EVENT_STREAM)

    async def list_files(self, request: Request, id: str) -> Response:
        """Names, sizes and addresses of the files of an analysis; none while it is in work."""
        job = self._find(request, id)
        if job.result is None:
            return Response(b'{"files":[]}', media_type=responses.JSON)
        sizes = await asyncio.to_thread(_sizes, job.result.files)
        if RESULT_FILE not in sizes:
            sizes = {RESULT_FILE: len(await job.result.read_json()), **sizes}
        files = [
            {"name": name, "size_bytes": size_bytes, "href": f"{job.record.path}/files/{name}"}
            for name, size_bytes in sizes.items()
        ]
        return Response(orjson.dumps({"files": files}), media_type=responses.JSON)

    async def file(self, request: Request, id: str, name: str) -> Response:
        """One file: result.json, embedding.npy, frames.npz of long recordings, and every export that was asked for."""
        job = self._find(request, id)
        if job.result is None:
            raise FileNotThere
        path, saved_as = job.result.files.get(name), download_name(job.record.name, name)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        if path is not None and path.is_file():
            media_type = _MEDIA_TYPES.get(path.suffix, "text/plain; charset=utf-8")
            return FileResponse(
                path, headers=headers, media_type=media_type, filename=download_name(job.record.name, name)
            )
        if name != RESULT_FILE:
            raise FileNotThere
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(saved_as)}"
        return Response(await job.result.read_json(), headers=headers, media_type=responses.JSON)

    async def delete(self, request: Request, id: str) -> Response:
        """Cancel an analysis that is in work, and delete all that is kept of it."""
        self._jobs.delete_job(self._find(request, id))
        return Response(status_code=204)

    def _find(self, request: Request, job_id: str) -> Job:
        return self._jobs.find_job(job_id, client_of(request.scope).name)

    async def _events(self, job: Job) -> AsyncIterator[bytes]:
        loop, number = asyncio.get_running_loop(), 0
        sent: dict[str, Any] = {}
        sent_s = loop.time()
        async for description in self._jobs.follow_job(job, _EVENT_EVERY_S):
            if _essence(description) != sent:
                sent, sent_s, number = _essence(description), loop.time(), number + 1
                yield _event("progress", number, orjson.dumps(description))
            elif loop.time() - sent_s >= _KEEP_ALIVE_S:
                sent_s = loop.time()
                yield KEEPALIVE_COMMENT
        yield await self._last_event(job, number + 1)

    async def _last_event(self, job: Job, number: int) -> bytes:
        error = job.error if self._jobs.has_job(job) else JobNotFound()
        if error is None and job.result is not None:
            try:
                return _event("done", number, await job.result.read_json())
            except JobNotFound as gone:
                error = gone
        return _event("failed", number, orjson.dumps(problem_of(error or JobNotFound()).body))


def _sizes(files: dict[str, Path]) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in files.items()}


def _essence(description: JobRecord) -> dict[str, Any]:
    """What is worth an event when it changes; the time to wait is an estimate that always changes."""
    return {**description["progress"], "wait_s": None, "status": description["status"]}


def _event(kind: str, number: int, json: bytes) -> bytes:
    return format_sse_event(data_str=json.decode(), event=kind, id=str(number))
