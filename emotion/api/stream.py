"""`WS /v1/stream`: 16-bit samples in, the emotion of the last seconds out, and at the end the analysis of everything.

In: pieces of 16-bit little-endian mono PCM, and last the text `{"stop": true}`.
Out, as JSON, each with a `type`: `ready`, `moment` again and again, `progress` with the job at the end, and last `done`
with the record or `failed` with the problem.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from contextlib import aclosing
from typing import Annotated, Any, Literal

import orjson
from fastapi import WebSocket
from pydantic import Field, TypeAdapter, ValidationError

from emotion.access import client_of, problem_of
from emotion.analysis import AnalysisRequest
from emotion.api.jobs import Jobs
from emotion.api.query import AnalysisQuery
from emotion.api.responses import invalid
from emotion.api.uploads import Upload
from emotion.audio import shown_name
from emotion.engine.recognizer import Recognizer
from emotion.errors import RequestInvalid
from emotion.live import LiveMoment, LiveSession
from emotion.live.socket import BUSY, MAX_SOUND_BYTES, REFUSED, LiveSocket

_LOG = logging.getLogger(__name__)
_PROGRESS_S = 0.5
# The one text that a client sends.
_TEXT = TypeAdapter(Annotated[dict[Literal["stop"], bool], Field(min_length=1)])


class StreamQuery(AnalysisQuery):
    """The query of a stream: that of an analysis, and the rate of the samples."""

    rate_hz: int = Field(16_000, ge=8_000, le=192_000)


class Stream:
    """One web socket: how a stream differs from the page's microphone: a query, a job at the end, and problems."""

    def __init__(self, recognizer: Recognizer, jobs: Jobs, websocket: WebSocket) -> None:
        self._recognizer, self._jobs, self._websocket = recognizer, jobs, websocket
        self.client = client_of(websocket.scope).name

    def too_large(self) -> RequestInvalid:
        return RequestInvalid(f"A piece of sound has at most {MAX_SOUND_BYTES} bytes. Send smaller ones.")

    async def begin(self, socket: LiveSocket) -> LiveSession:
        """Raises RequestInvalid."""
        self._query = query = _query_of(self._websocket)
        path = self._jobs.folder() / f"stream-{secrets.token_hex(8)}"
        # What the client wants is asked of the file at the end; the session is to keep nothing when the client is gone.
        nothing = AnalysisRequest(keep_audio=False)
        return LiveSession(self._recognizer, query.rate_hz, socket.put_moment, nothing, path)

    def ready(self) -> dict[str, Any]:
        return {"type": "ready", "every_s": self._recognizer.settings.live_every_s}

    def moment(self, moment: LiveMoment) -> Iterable[dict[str, Any]]:
        return [{"type": "moment", **moment.record()}]

    def hear(self, _: LiveSession, text: str) -> bool:
        try:
            return _TEXT.validate_json(text)["stop"]
        except ValidationError:
            raise RequestInvalid('A stream takes sound, and the text {"stop": true} at its end.') from None

    async def finish(self, session: LiveSession, socket: LiveSocket, release: Callable[[], None]) -> None:
        """Have the recording analyzed as the file that the client could have uploaded instead."""
        upload = Upload(shown_name(b"", self._query.name or "stream.wav"), await asyncio.to_thread(session.finish_file))
        release()  # the job takes a slot of its own
        scope = self._websocket.scope
        request = self._query.request(self._websocket.headers, client_of(scope))
        try:
            # The sound cannot be sent again, so it waits for its place in a full queue.
            job = await self._jobs.create_job_waiting(upload, request, str(scope.get("root_path", "")))
        except BaseException:
            upload.discard()
            raise
        async with aclosing(self._jobs.follow_job(job, _PROGRESS_S)) as descriptions:
            async for description in descriptions:
                await socket.send({"type": "progress", "job": description})
        if job.result is None:
            raise job.error or RuntimeError("a stream ended without an outcome")
        head = b'{"type":"done","location":' + orjson.dumps(job.record.path)
        await socket.send(head + b',"record":' + await job.result.read_json() + b"}")

    def failure(self, error: Exception) -> tuple[dict[str, Any], int]:
        problem = problem_of(error)
        if problem.status == 500:
            _LOG.error("a stream failed unexpectedly", exc_info=error)
        return {"type": "failed", "problem": problem.body}, BUSY if "Retry-After" in problem.headers else REFUSED


def _query_of(websocket: WebSocket) -> StreamQuery:
    """Raises RequestInvalid."""
    given = websocket.query_params
    values: dict[str, Any] = {key: given.getlist(key) if key == "exports" else given[key] for key in given}
    try:
        return StreamQuery.model_validate(values)
    except ValidationError as error:
        raise invalid(error.errors()) from None
