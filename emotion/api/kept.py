"""`/v1/analyses/{id}`: a job or its record, its files, and how to be rid of it."""

import asyncio
from pathlib import Path

import orjson
from fastapi import Request, Response
from starlette.responses import FileResponse

from emotion.access import client_of
from emotion.api import replies
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.errors import EmotionError, JobNotFound

RESULT_FILE = "result.json"
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

    def __init__(self) -> None:
        EmotionError.__init__(
            self,
            "This analysis has no such file. Ask for it with `embedding=npy` or `exports=...`, and wait until the "
            "analysis is done.",
        )


class Kept:
    """The endpoints of what was begun before; each client sees its own."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def show(self, request: Request, id: str) -> Response:
        """The record of an analysis; while it is in work its job, and the problem if it failed."""
        job = self._find(request, id)
        return await replies.finished(job) if job.is_over else replies.in_work(self._jobs, job)

    async def list_files(self, request: Request, id: str) -> Response:
        """Names, sizes and addresses of the files of an analysis; none while it is in work."""
        job = self._find(request, id)
        if job.answer is None:
            return Response(b'{"files":[]}', media_type=replies.JSON)
        sizes = await asyncio.to_thread(_sizes, job.answer.files)
        if RESULT_FILE not in sizes:
            sizes = {RESULT_FILE: len(await replies.record_of(job.answer)), **sizes}
        files = [
            {"name": name, "size_bytes": size_bytes, "href": f"{job.path}/files/{name}"}
            for name, size_bytes in sizes.items()
        ]
        return Response(orjson.dumps({"files": files}), media_type=replies.JSON)

    async def file(self, request: Request, id: str, name: str) -> Response:
        """One file: result.json, embedding.npy, frames.npz of long recordings, and every export that was asked for."""
        job = self._find(request, id)
        if job.answer is None:
            raise FileNotThere
        path = job.answer.files.get(name)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        if path is not None and path.is_file():
            media_type = _MEDIA_TYPES.get(path.suffix, "text/plain; charset=utf-8")
            return FileResponse(path, headers=headers, media_type=media_type, filename=name)
        if name != RESULT_FILE:
            raise FileNotThere
        headers["Content-Disposition"] = f'attachment; filename="{RESULT_FILE}"'
        record = await replies.record_of(job.answer)
        return Response(record, headers=headers, media_type=replies.JSON)

    async def forget(self, request: Request, id: str) -> Response:
        """Cancel an analysis that is in work, and delete all that is kept of it."""
        self._jobs.forget(self._find(request, id))
        return Response(status_code=204)

    def _find(self, request: Request, identity: str) -> Job:
        return self._jobs.find(identity, client_of(request.scope).name)


def _sizes(files: dict[str, Path]) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in files.items()}
