"""`WS /v1/stream`: 16-bit samples in, the emotion of the last seconds out, and at the end the analysis of everything.

In: pieces of 16-bit little-endian mono PCM, and last the text `{"stop": true}`.
Out, as JSON, each with a `type`: `ready`, `moment` again and again, `progress` with the job at the end, and last `done`
with the record or `failed` with the problem.
"""

import asyncio
import logging
import secrets
from contextlib import ExitStack, aclosing
from typing import Any

import orjson
from fastapi import WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion.access import client_of, problem_of
from emotion.analysis import AnalysisRequest
from emotion.api.jobs import Jobs
from emotion.api.pcm import PcmFile
from emotion.api.problems import invalid
from emotion.api.query import AnalysisQuery
from emotion.api.uploads import Upload
from emotion.audio import shown_name
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.errors import LiveFull, RequestInvalid
from emotion.live import LiveOptions, LiveSession
from emotion.live.socket import BUSY, MAX_SOUND_BYTES, MOST_SESSIONS, REFUSED, Gone, LiveWire, moment_record, wait_s

_LOG = logging.getLogger(__name__)
_PROGRESS_S = 0.5


class StreamQuery(AnalysisQuery):
    """The query of a stream: that of an analysis, and the rate of the samples."""

    rate_hz: int = Field(16_000, ge=8_000, le=192_000)


class StreamWord(BaseModel):
    """The one text that a client sends."""

    model_config = ConfigDict(extra="forbid")

    stop: bool


class Streams:
    """Lets clients stream, and not too many at a time."""

    def __init__(self, recognizer: Recognizer, jobs: Jobs, turns: ConcurrencyLimit, most: int = MOST_SESSIONS) -> None:
        self._recognizer, self._jobs, self._turns = recognizer, jobs, turns
        self._most, self._open = most, 0

    async def enter(self, websocket: WebSocket) -> None:
        await websocket.accept()
        stream = _Stream(websocket, self._recognizer, self._jobs, self._turns)
        if self._open >= self._most:
            await stream.refuse(LiveFull(self._most))
            return
        self._open += 1
        try:
            await stream.hold()
        finally:
            self._open -= 1


class _Stream:
    """One web socket from its first message to its last."""

    def __init__(self, websocket: WebSocket, recognizer: Recognizer, jobs: Jobs, turns: ConcurrencyLimit) -> None:
        self._websocket, self._recognizer, self._jobs, self._turns = websocket, recognizer, jobs, turns
        self._wire = LiveWire(websocket, _too_large)
        self._client = client_of(websocket.scope)
        self._loop = asyncio.get_running_loop()

    async def refuse(self, error: Exception) -> None:
        """Say why there is no result, and close."""
        problem = problem_of(error)
        await self._wire.say({"type": "failed", "problem": problem.body})
        await self._wire.close(BUSY if "Retry-After" in problem.headers else REFUSED)

    async def hold(self) -> None:
        """Listen until the end; what goes wrong is said to the client, as far as it still hears."""
        try:
            query = self._query()
            with self._turns.slot(self._client.name):
                upload = await self._record(query)
            await self._finish(upload, query.request(self._websocket.headers, self._client))
        except Gone:
            await self._wire.close()
        except Exception as error:
            if problem_of(error).status == 500:
                _LOG.error("a stream failed unexpectedly", exc_info=error)
            await self.refuse(error)
        else:
            await self._wire.close()

    def _query(self) -> StreamQuery:
        """Raises RequestInvalid."""
        given = self._websocket.query_params
        values: dict[str, Any] = {key: given.getlist(key) if key == "exports" else given[key] for key in given}
        try:
            return StreamQuery.model_validate(values)
        except ValidationError as error:
            raise invalid(error.errors()) from None

    async def _record(self, query: StreamQuery) -> Upload:
        """Everything that was heard, as the WAV file that the client could have uploaded instead."""
        settings = self._recognizer.settings
        with ExitStack() as opened:
            path = self._jobs.folder() / f"stream-{secrets.token_hex(8)}"
            sound = PcmFile(path, query.rate_hz, settings.max_file_bytes)
            opened.callback(sound.discard)
            # It only gives the moments; what is analysed at the end is the sound as it came.
            session = LiveSession(self._recognizer, query.rate_hz, self._wire.take, LiveOptions(keep_audio=False))
            opened.callback(session.leave)
            opened.callback(asyncio.create_task(self._tell()).cancel)
            await self._wire.say({"type": "ready", "every_s": settings.live_every_s})
            await self._listen(session, sound)
            return Upload(shown_name(b"", query.name or "stream.wav"), await asyncio.to_thread(sound.finish))

    async def _listen(self, session: LiveSession, sound: PcmFile) -> None:
        """Feed the session until it is stopped or full."""

        def feed(pcm: bytes) -> None:
            sound.write(pcm)
            session.feed(pcm)

        started_s = self._loop.time()
        while not session.is_full and not sound.is_full:
            message = await self._wire.receive()
            if isinstance(message, str):
                if _parsed(message).stop:
                    return
                continue
            await asyncio.to_thread(feed, message)
            await asyncio.sleep(wait_s(session.heard_s, self._loop.time() - started_s))

    async def _finish(self, upload: Upload, request: AnalysisRequest) -> None:
        # The sound cannot be sent again, so it waits for its place in a full queue.
        try:
            job = await self._jobs.submit_waiting(upload, request, str(self._websocket.scope.get("root_path", "")))
        except BaseException:
            upload.discard()
            raise
        async with aclosing(self._jobs.follow(job, _PROGRESS_S)) as descriptions:
            async for description in descriptions:
                await self._wire.say({"type": "progress", "job": description})
        if job.result is None:
            raise job.error or RuntimeError("a stream ended without an outcome")
        head = b'{"type":"done","location":' + orjson.dumps(job.record.path)
        await self._wire.send(head + b',"record":' + await job.result.read_json() + b"}")

    async def _tell(self) -> None:
        while True:
            await self._wire.say({"type": "moment", **moment_record(await self._wire.next_moment())})


def _too_large() -> RequestInvalid:
    return RequestInvalid(f"A piece of sound has at most {MAX_SOUND_BYTES} bytes. Send smaller ones.")


def _parsed(text: str) -> StreamWord:
    try:
        return StreamWord.model_validate_json(text)
    except ValidationError:
        raise RequestInvalid('A stream takes sound, and the text {"stop": true} at its end.') from None
