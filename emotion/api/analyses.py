"""`POST /v1/analyses`: recordings in, records or jobs out."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request, Response
from starlette.responses import StreamingResponse

from emotion.access import client_of
from emotion.api import replies
from emotion.api.bodies import Upload, Uploads
from emotion.api.job import Job
from emotion.api.jobs import Jobs
from emotion.api.wishes import AnalysisQuery, Wish, prefers_async
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, EngineBusy, JobNotFound, TooManyRequests

# How often it is asked whether a recording is decoded, and so how long it is.
_LOOK_S = 0.1
# The recordings after the first of a request wait for their place in the queue.
_RETRY_S = 0.1
_PATIENCE_S = 600.0
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
            await uploads.read(request, query.name)
            call = _Call(self._recognizer, self._jobs, request, Wish.of(query, request.headers))
            if len(uploads.finished) == 1:
                return await call.answer_one(uploads)
            return await call.answer_all(uploads)


class _Call:
    """One request and its jobs."""

    def __init__(self, recognizer: Recognizer, jobs: Jobs, request: Request, wish: Wish) -> None:
        self._jobs, self._request, self._wish = jobs, request, wish
        self._ahead, self._async_above_s = recognizer.engine.max_in_flight, recognizer.settings.async_above_s
        self._client = client_of(request.scope)
        self._root = str(request.scope.get("root_path", ""))
        self._prefers_async = prefers_async(request.headers)
        self._begun: list[Job] = []

    async def answer_one(self, uploads: Uploads) -> Response:
        upload = uploads.finished[0]
        job = self._begin(uploads, upload)
        if self._prefers_async:
            await self._jobs.promise(job, upload)
            return replies.accepted(self._jobs, job, prefers_async=True)
        is_over = await self._unless_gone(self._settle(job))
        if is_over is None:
            return Response(status_code=_CLIENT_GONE)
        if not is_over:
            await self._jobs.promise(job, upload)
            return replies.accepted(self._jobs, job, prefers_async=False)
        if job.error is not None:  # nobody knows of it, so nobody will ask
            self._jobs.forget(job)
        return await replies.finished(job)

    async def answer_all(self, uploads: Uploads) -> Response:
        entries = [_Entry(upload) for upload in uploads.finished]
        entries[0].job = self._begin(uploads, entries[0].upload)  # if not even the first is taken, none is
        answered = await self._unless_gone(self._answer_entries(uploads, entries))
        if answered is None:
            return Response(status_code=_CLIENT_GONE)
        return StreamingResponse(self._list(entries), 200, replies.preference(self._prefers_async), replies.JSON)

    async def _answer_entries(self, uploads: Uploads, entries: "list[_Entry]") -> bool:
        """Begin all, only some ahead unless nobody waits for them, so that one client does not fill the queue."""
        places = asyncio.Semaphore(len(entries) if self._prefers_async else self._ahead)
        async with asyncio.TaskGroup() as group:
            for entry in entries:
                group.create_task(self._answer_entry(uploads, entry, places))
        return True

    async def _answer_entry(self, uploads: Uploads, entry: "_Entry", places: asyncio.Semaphore) -> None:
        async with places:
            try:
                job = entry.job or await self._begin_patiently(uploads, entry.upload)
            except EmotionError as error:
                entry.error = error
                return
            entry.job = job
            if self._prefers_async or not await self._settle(job):
                await self._jobs.promise(job, entry.upload)

    async def _list(self, entries: "list[_Entry]") -> AsyncIterator[bytes]:
        """The answer piece by piece, since a hundred records with embeddings may be large."""
        yield b'{"analyses":['
        for number, entry in enumerate(entries):
            piece = await self._entry(entry)
            yield b"," + piece if number else piece
        yield b"]}"

    async def _entry(self, entry: "_Entry") -> bytes:
        if entry.job is None:
            return replies.refused(entry.upload.name, entry.error or RuntimeError("a recording was not answered"))
        if entry.job.error is not None:
            self._jobs.forget(entry.job)
        try:
            return await replies.entry(self._jobs, entry.job)
        except JobNotFound as error:  # its time was over before the answer was out
            return replies.refused(entry.upload.name, error)

    def _begin(self, uploads: Uploads, upload: Upload) -> Job:
        job = self._jobs.begin(upload, self._wish, self._client, self._root)
        uploads.hand_over(upload)
        self._begun.append(job)
        return job

    async def _begin_patiently(self, uploads: Uploads, upload: Upload) -> Job:
        give_up_s = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                return self._begin(uploads, upload)
            except (EngineBusy, TooManyRequests):
                if self._prefers_async or asyncio.get_running_loop().time() > give_up_s:
                    raise
            await asyncio.sleep(_RETRY_S)

    async def _settle(self, job: Job) -> bool:
        """Wait until a job is over; False at once when its recording is so long that it is answered with a job."""
        task = job.task
        while task is not None and not job.is_over:
            duration_s = self._jobs.progress(job).duration_s
            if duration_s is not None and duration_s > self._async_above_s:
                return False
            await asyncio.wait({task}, timeout=_LOOK_S if duration_s is None else None)
        return job.answer is None or job.answer.duration_s <= self._async_above_s

    async def _unless_gone(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What comes of the work; None, with all jobs of the request forgotten, when the client hangs up before."""
        working, gone = asyncio.create_task(work), asyncio.create_task(_gone(self._request))
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            for job in self._begun:
                self._jobs.forget(job)
            return None
        finally:
            working.cancel()
            gone.cancel()
            await asyncio.wait({working, gone})


@dataclass
class _Entry:
    """One of several recordings, and what became of it."""

    upload: Upload
    job: Job | None = None
    error: EmotionError | None = None


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
