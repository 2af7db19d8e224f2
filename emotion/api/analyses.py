"""`POST /v1/analyses`: recordings in, records or jobs out."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Query, Request, Response
from starlette.responses import StreamingResponse

from emotion.access import client_of, problem_of
from emotion.api import responses
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.api.query import AnalysisQuery, prefers_async
from emotion.api.uploads import Upload, Uploads
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, JobNotFound

# How often it is checked whether a recording is decoded, and so how long it is.
_EVERY_S = 0.1
# Nobody hears it; proxies log it so.
_CLIENT_GONE = 499
T = TypeVar("T")


class Analyses:
    """The endpoint that takes recordings."""

    def __init__(self, recognizer: Recognizer, jobs: Jobs) -> None:
        self._recognizer, self._jobs = recognizer, jobs

    async def create(self, request: Request, query: Annotated[AnalysisQuery, Query()]) -> Response:
        """Recognise one recording or several.

        One recording is answered with its record, the content of result.json. With `Prefer: respond-async`, and when
        the recording is longer than the setting `async_above_s`, it is answered with a job. Several recordings are
        answered with a list in their order, in which each has what it would have been answered with alone.
        """
        with Uploads(self._jobs.folder, self._recognizer.settings.max_file_bytes) as uploads:
            await uploads.read_body(request, query.name)
            call = _Call(self._recognizer, self._jobs, request, query, uploads)
            return await (call.answer_one() if len(uploads.finished) == 1 else call.answer_all())


@dataclass
class _Entry:
    """One recording of a request, and what became of it."""

    upload: Upload
    job: Job | None = None
    error: Exception | None = None


class _Call:
    """One request and its jobs."""

    def __init__(
        self, recognizer: Recognizer, jobs: Jobs, request: Request, query: AnalysisQuery, uploads: Uploads
    ) -> None:
        self._jobs, self._request, self._uploads = jobs, request, uploads
        self._max_in_flight, self._async_above_s = recognizer.engine.max_in_flight, recognizer.settings.async_above_s
        self._wanted = query.request(request.headers, client_of(request.scope))
        self._root = str(request.scope.get("root_path", ""))
        self._prefers_async = prefers_async(request.headers)
        self._entries = [_Entry(upload) for upload in uploads.finished]

    async def answer_one(self) -> Response:
        (entry,) = self._entries
        job = await self._submit(entry, waits=False)
        is_over = await self._unless_gone(self._settle(entry, job))
        if is_over is None:
            return Response(status_code=_CLIENT_GONE)
        if not is_over:
            headers = {"Location": job.record.path, **responses.preference(self._prefers_async)}
            return responses.in_work(self._jobs, job, headers)
        if job.error is not None:  # no client knows its address
            self._jobs.delete_job(job)
        return await responses.finished(job)

    async def answer_all(self) -> Response:
        await self._submit(self._entries[0], waits=False)  # if not even the first is taken, none is
        if await self._unless_gone(self._answer_entries()) is None:
            return Response(status_code=_CLIENT_GONE)
        return StreamingResponse(self._list(), 200, responses.preference(self._prefers_async), responses.JSON)

    async def _answer_entries(self) -> bool:
        """Submit all; where the client waits, only some at a time, so that one client does not fill the queue."""
        places = asyncio.Semaphore(len(self._entries) if self._prefers_async else self._max_in_flight)
        async with asyncio.TaskGroup() as group:
            for entry in self._entries:
                group.create_task(self._answer_entry(entry, places))
        return True

    async def _answer_entry(self, entry: _Entry, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                job = entry.job or await self._submit(entry, waits=not self._prefers_async)
            except EmotionError as error:
                entry.error = error
            else:
                await self._settle(entry, job)

    async def _list(self) -> AsyncIterator[bytes]:
        """The answer piece by piece, since a hundred records with embeddings may be large."""
        yield b'{"analyses":['
        for number, entry in enumerate(self._entries):
            piece = await self._entry_json(entry)
            yield b"," + piece if number else piece
        yield b"]}"

    async def _entry_json(self, entry: _Entry) -> bytes:
        """One recording of several: its name, the status it would have had alone, and record, job or problem."""
        job, error, name = entry.job, entry.error, entry.upload.name
        if job is not None and job.error is not None:
            self._jobs.delete_job(job)
            error = job.error
        elif job is not None:
            head = {"name": name, "location": job.record.path}
            if job.result is None:
                return orjson.dumps({**head, "status": 202, "job": self._jobs.describe_job(job)})
            try:
                return orjson.dumps({**head, "status": 200, "record": orjson.Fragment(await job.result.read_json())})
            except JobNotFound as deleted:  # its time was over before the answer was out
                error = deleted
        problem = problem_of(error or RuntimeError("a recording has no answer"))
        return orjson.dumps({"name": name, "status": problem.status, "problem": problem.body})

    async def _submit(self, entry: _Entry, waits: bool) -> Job:
        arguments = entry.upload, self._wanted, self._root
        entry.job = await self._jobs.create_job_waiting(*arguments) if waits else self._jobs.create_job(*arguments)
        self._uploads.hand_over(entry.upload)
        return entry.job

    async def _settle(self, entry: _Entry, job: Job) -> bool:
        """Wait until a job is over; False, with the job stored, when the client is to come back for it."""
        if self._prefers_async or not await self._is_over_soon(job):
            await self._jobs.store_job(job, entry.upload)
            return False
        return True

    async def _is_over_soon(self, job: Job) -> bool:
        """Wait until a job is over; False at once when its recording is so long that the client is to come back."""
        async with aclosing(self._jobs.follow_job(job, _EVERY_S)) as descriptions:
            async for description in descriptions:
                if (description["progress"]["duration_s"] or 0.0) > self._async_above_s:
                    return False
        return job.result is None or job.result.duration_s <= self._async_above_s

    async def _unless_gone(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of the work; None, with all jobs of the request deleted, when the client hangs up before."""
        working, gone = asyncio.create_task(work), asyncio.create_task(_gone(self._request))
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            for entry in self._entries:
                if entry.job is not None:
                    self._jobs.delete_job(entry.job)
            return None
        finally:
            working.cancel()
            gone.cancel()
            await asyncio.wait({working, gone})


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
