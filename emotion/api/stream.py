"""`WS /v1/stream`: 16-bit samples in, the emotion of the last seconds out, and at the end the analysis of everything.

In: pieces of 16-bit little-endian mono PCM, and last the text `{"stop": true}`.
Out, as JSON, each with a `type`: `ready`, `moment` again and again, `progress` with the job at the end, and last `done`
with the record or `failed` with the problem.
"""

import asyncio
import logging
import secrets
from contextlib import ExitStack, suppress
from typing import Any

import orjson
from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion.access import client_of, problem_of
from emotion.access.limits import Turns
from emotion.api import replies
from emotion.api.bodies import Upload
from emotion.api.jobs import Job, Jobs
from emotion.api.pcm import PcmFile
from emotion.api.problems import invalid
from emotion.api.wishes import AnalysisQuery, Wish
from emotion.audio import shown_name
from emotion.errors import EngineBusy, LiveFull, RequestInvalid, TooManyRequests
from emotion.live import LiveMoment, LiveSession, LiveWish
from emotion.recognizer import Recognizer

_LOG = logging.getLogger(__name__)
# More than a second of the highest rate.
MAX_SOUND_BYTES = 512 * 1024
MAX_TEXT_BYTES = 1024
# Who sends a file faster than it is spoken has to wait; an upload is quicker.
AHEAD_S = 30.0
IDLE_S = 30.0
MOST_STREAMS = 8
_MOMENTS_WAITING = 32
_PROGRESS_S = 0.5
# The sound cannot be sent again, so it waits for its place in a full queue.
_RETRY_S = 0.25
_PATIENCE_S = 600.0
_REFUSED, _BUSY = 1008, 1013


class StreamQuery(AnalysisQuery):
    """The query of a stream: that of an analysis, and the rate of the samples."""

    rate_hz: int = Field(16_000, ge=8_000, le=192_000)


class StreamWord(BaseModel):
    """The one text that a client sends."""

    model_config = ConfigDict(extra="forbid")

    stop: bool


class _Gone(Exception):
    """The client left, or fell silent for good."""


class Streams:
    """Lets clients stream, and not too many at a time."""

    def __init__(self, recognizer: Recognizer, jobs: Jobs, turns: Turns, most: int = MOST_STREAMS) -> None:
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

    def __init__(self, websocket: WebSocket, recognizer: Recognizer, jobs: Jobs, turns: Turns) -> None:
        self._websocket, self._recognizer, self._jobs, self._turns = websocket, recognizer, jobs, turns
        self._client = client_of(websocket.scope).name
        self._loop = asyncio.get_running_loop()
        self._moments: asyncio.Queue[LiveMoment] = asyncio.Queue(_MOMENTS_WAITING)

    async def refuse(self, error: Exception) -> None:
        """Say why there is no result, and close."""
        problem = problem_of(error)
        await self._say({"type": "failed", "problem": problem.body})
        await self._close(_BUSY if "Retry-After" in problem.headers else _REFUSED)

    async def hold(self) -> None:
        """Listen until the end; what goes wrong is said to the client, as far as it still hears."""
        try:
            query = self._query()
            with self._turns.turn(self._client):
                upload = await self._record(query)
            await self._finish(upload, Wish.of(query, self._websocket.headers))
        except _Gone:
            await self._close()
        except Exception as error:
            if problem_of(error).status == 500:
                _LOG.error("a stream failed unexpectedly", exc_info=error)
            await self.refuse(error)
        else:
            await self._close()

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
            session = LiveSession(self._recognizer, query.rate_hz, self._take, LiveWish(keep_audio=False))
            opened.callback(session.leave)
            opened.callback(asyncio.create_task(self._tell()).cancel)
            await self._say({"type": "ready", "every_s": settings.live_every_s})
            await self._listen(session, sound)
            return Upload(shown_name(b"", query.name or "stream.wav"), await asyncio.to_thread(sound.finish))

    async def _listen(self, session: LiveSession, sound: PcmFile) -> None:
        """Feed the session until it is stopped or full."""

        def feed(pcm: bytes) -> None:
            sound.write(pcm)
            session.feed(pcm)

        started_s = self._loop.time()
        while not session.is_full and not sound.is_full:
            message = await self._receive()
            if isinstance(message, str):
                if _parsed(message).stop:
                    return
                continue
            await asyncio.to_thread(feed, message)
            await asyncio.sleep(max(session.heard_s - (self._loop.time() - started_s) - AHEAD_S, 0.0))

    async def _finish(self, upload: Upload, wish: Wish) -> None:
        job = await self._begin_patiently(upload, wish)
        while job.task is not None:
            await self._say({"type": "progress", "job": self._jobs.record(job)})
            await asyncio.wait({job.task}, timeout=_PROGRESS_S)
        if job.answer is None:
            raise job.error or RuntimeError("a stream ended without an outcome")
        record = await replies.record_of(job.answer)
        await self._send(b'{"type":"done","location":' + orjson.dumps(job.path) + b',"record":' + record + b"}")

    async def _begin_patiently(self, upload: Upload, wish: Wish) -> Job:
        give_up_s = self._loop.time() + _PATIENCE_S
        root = str(self._websocket.scope.get("root_path", ""))
        try:
            while True:
                try:
                    return self._jobs.begin(upload, wish, self._client, root)
                except (EngineBusy, TooManyRequests):
                    if self._loop.time() > give_up_s:
                        raise
                await asyncio.sleep(_RETRY_S)
        except BaseException:
            upload.discard()
            raise

    # Messages

    def _take(self, moment: LiveMoment) -> None:
        """Called from whatever thread knows a moment."""
        with suppress(RuntimeError):  # the loop may be closed when the program ends
            self._loop.call_soon_threadsafe(self._queue, moment)

    def _queue(self, moment: LiveMoment) -> None:
        if not self._moments.full():  # a client that does not take its moments loses some
            self._moments.put_nowait(moment)

    async def _tell(self) -> None:
        while True:
            await self._say(moment_record(await self._moments.get()))

    async def _receive(self) -> str | bytes:
        try:
            message = await asyncio.wait_for(self._websocket.receive(), IDLE_S)
        except TimeoutError:
            raise _Gone from None
        if message["type"] == "websocket.disconnect":
            raise _Gone
        sound, text = message.get("bytes"), message.get("text") or ""
        if len(sound or b"") > MAX_SOUND_BYTES or len(text) > MAX_TEXT_BYTES:
            raise RequestInvalid(f"A piece of sound has at most {MAX_SOUND_BYTES} bytes. Send smaller ones.")
        return text if sound is None else bytes(sound)

    async def _say(self, message: dict[str, Any]) -> None:
        await self._send(orjson.dumps(message))

    async def _send(self, json: bytes) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the client may be gone, which `_receive` learns
            await self._websocket.send_text(json.decode())

    async def _close(self, code: int = 1000) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code)


def moment_record(moment: LiveMoment) -> dict[str, Any]:
    """A moment as plain JSON values; without scores where there was silence."""
    return {
        "type": "moment",
        "time_s": round(moment.time_s, 3),
        "emotion": None if moment.emotion is None else moment.emotion.key,
        "confidence": round(moment.confidence, 6),
        "scores": moment.scores and {label: round(score, 6) for label, score in moment.scores.items()},
        "is_silent": moment.is_silent,
        "interval_s": round(moment.interval_s, 3),
        "level_db": round(moment.level_db, 1),
    }


def _parsed(text: str) -> StreamWord:
    try:
        return StreamWord.model_validate_json(text)
    except ValidationError:
        raise RequestInvalid('A stream takes sound, and the text {"stop": true} at its end.') from None
