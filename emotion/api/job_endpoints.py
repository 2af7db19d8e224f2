"""`/v1/analyses/{id}`: a job or its record, its files, and its deletion."""

import asyncio
from pathlib import Path

import orjson
from fastapi import Request, Response
from starlette.responses import FileResponse

from emotion.access import client_of
from emotion.api import responses
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.errors import EmotionError, JobNotFound
from emotion.outputs.run import RESULT_FILE

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


class JobEndpoints:
    """The endpoints of jobs; each client sees its own."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def show(self, request: Request, id: str) -> Response:
        """The record of an analysis; while it is in work its job, and the problem if it failed."""
        job = self._find(request, id)
        return await responses.finished(job) if job.is_over else responses.in_work(self._jobs, job)

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
        path = job.result.files.get(name)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        if path is not None and path.is_file():
            media_type = _MEDIA_TYPES.get(path.suffix, "text/plain; charset=utf-8")
            return FileResponse(path, headers=headers, media_type=media_type, filename=name)
        if name != RESULT_FILE:
            raise FileNotThere
        headers["Content-Disposition"] = f'attachment; filename="{RESULT_FILE}"'
        return Response(await job.result.read_json(), headers=headers, media_type=responses.JSON)

    async def delete(self, request: Request, id: str) -> Response:
        """Cancel an analysis that is in work, and delete all that is kept of it."""
        self._jobs.delete_job(self._find(request, id))
        return Response(status_code=204)

    def _find(self, request: Request, job_id: str) -> Job:
        return self._jobs.find(job_id, client_of(request.scope).name)


def _sizes(files: dict[str, Path]) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in files.items()}
