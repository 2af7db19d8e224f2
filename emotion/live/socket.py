"""One web socket that carries a live session: pieces of sound in, moments out, both bounded."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from emotion.errors import EmotionError
from emotion.live import LiveMoment

# More than a second of the highest rate; a page sends a tenth of a second at a time.
MAX_SOUND_BYTES = 512 * 1024
MAX_TEXT_BYTES = 4 * 1024
# A page that was held up sends what it kept at once. Who sends a file faster than it is spoken has to wait.
AHEAD_S = 30.0
# A microphone never pauses: who is quiet for so long is a laptop that went to sleep.
IDLE_S = 30.0
# A session costs a window every half second and 115 MB of disk an hour.
MOST_SESSIONS = 8
REFUSED, BUSY = 1008, 1013
_MOMENTS_WAITING = 32


class Gone(Exception):
    """Who sent the sound left, or fell silent for good."""


class LiveWire:
    """Takes moments from any thread, and belongs to the event loop for the rest.

    `refusal()` is what a message larger than allowed raises.
    """

    def __init__(self, websocket: WebSocket, refusal: Callable[[], EmotionError]) -> None:
        self._websocket, self._refusal = websocket, refusal
        self._loop = asyncio.get_running_loop()
        self._moments: asyncio.Queue[LiveMoment] = asyncio.Queue(_MOMENTS_WAITING)

    def take(self, moment: LiveMoment) -> None:
        """Note a moment, from whatever thread knows it."""
        with suppress(RuntimeError):  # the loop may be closed when the program ends
            self._loop.call_soon_threadsafe(self._queue, moment)

    async def next_moment(self) -> LiveMoment:
        """The next moment that is to be told."""
        return await self._moments.get()

    async def receive(self) -> str | bytes:
        """The next message; raises Gone, and the refusal."""
        try:
            message = await asyncio.wait_for(self._websocket.receive(), IDLE_S)
        except TimeoutError:
            raise Gone from None
        if message["type"] == "websocket.disconnect":
            raise Gone
        sound, text = message.get("bytes"), message.get("text") or ""
        if len(sound or b"") > MAX_SOUND_BYTES or len(text) > MAX_TEXT_BYTES:
            raise self._refusal()
        return text if sound is None else bytes(sound)

    async def say(self, message: dict[str, Any]) -> None:
        await self.send(orjson.dumps(message))

    async def send(self, json: bytes) -> None:
        """Send JSON as text; who is gone is noticed by `receive`."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_text(json.decode())

    async def close(self, code: int = 1000) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code)

    def _queue(self, moment: LiveMoment) -> None:
        if not self._moments.full():  # who does not take its moments loses some
            self._moments.put_nowait(moment)


def wait_s(heard_s: float, elapsed_s: float) -> float:
    """How long who has sent so much sound in so much time has to wait."""
    return max(heard_s - elapsed_s - AHEAD_S, 0.0)


def moment_record(moment: LiveMoment) -> dict[str, Any]:
    """A moment as plain JSON values; without scores where there was silence."""
    return {
        "time_s": round(moment.time_s, 3),
        "emotion": None if moment.emotion is None else moment.emotion.key,
        "confidence": round(moment.confidence, 6),
        "scores": moment.scores and {label: round(score, 6) for label, score in moment.scores.items()},
        "is_silent": moment.is_silent,
        "interval_s": round(moment.interval_s, 3),
        "level_db": round(moment.level_db, 1),
    }
