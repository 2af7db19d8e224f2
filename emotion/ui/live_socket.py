"""The live microphone's web socket: a first message and sound in, moments out, and the name of the run at the end.

In: a `Hello` as JSON, pieces of 16-bit little-endian mono PCM, changes of the wish, and last `{"stop": true}`.
Out, as JSON: `{"ready": true, ...}`, moments, `{"labels": [...]}` when another model answers from now on,
`{"finishing": share}`, and last `{"run": name}` or `{"error": text}`.
"""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers

from emotion.access import Turns, client_of
from emotion.analysis import Granularity
from emotion.errors import EmotionError, LiveFull, LiveRefused, TooManyRequests
from emotion.labels import EMOTIONS, Language, emotion_of
from emotion.live import LiveMoment, LiveSession, LiveWish
from emotion.model import ModelCard
from emotion.outputs import ExportFormat
from emotion.recognizer import Recognizer
from emotion.ui.place import owner_of
from emotion.ui.words import Words, language_of

log = logging.getLogger(__name__)
PATH = "/live"
# More than a second of the highest rate; the page sends a tenth of a second at a time.
MAX_SOUND_BYTES = 512 * 1024
MAX_TEXT_BYTES = 4 * 1024
# A page that was held up sends what it kept at once. Who sends a file faster than it is spoken has to wait.
AHEAD_S = 30.0
# A microphone never pauses: who is quiet for so long is a laptop that went to sleep.
IDLE_S = 30.0
# A session costs a window every half second and 115 MB of disk an hour.
MOST_SESSIONS = 8
_SHARE_EVERY_S = 1.0
_MOMENTS_WAITING = 32
_REFUSED, _BUSY = 1008, 1013
Message = TypeVar("Message", bound=BaseModel)


class Wish(BaseModel):
    """What becomes of the session at its end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    granularity: Granularity = "utterance"
    embedding: bool = False
    exports: tuple[ExportFormat, ...] = Field((), max_length=16)
    keep_audio: bool = True

    def live(self) -> LiveWish:
        return LiveWish(self.granularity, self.embedding, tuple(self.exports), self.keep_audio)


class Hello(Wish):
    """The first message."""

    rate_hz: int
    language: Language | None = None


class Change(Wish):
    """A changed wish, and whether it is the last message; what it does not name stays as it was."""

    stop: bool = False


def add_live_route(app: FastAPI, recognizer: Recognizer, turns: Turns, most_sessions: int = MOST_SESSIONS) -> None:
    """Listen to microphones at `/live`; to be called before the page is mounted, which takes every other address."""
    door = _Door(recognizer, turns, most_sessions)
    app.add_api_websocket_route(PATH, door.enter)


def live_value(recognizer: Recognizer, words: Words, wish: LiveWish) -> dict[str, Any]:
    """The value of the component that live.js draws: words, the labels of the model that answers now, and the wish."""
    return {
        "words": words.group("live"),
        "language": words.language,
        "labels": _labels(recognizer.state.card, words),
        "wish": {
            "granularity": wish.granularity,
            "embedding": wish.embedding,
            "exports": list(wish.exports),
            "keep_audio": wish.keep_audio,
        },
    }


class _Gone(Exception):
    """The browser left, or fell silent for good."""


class _Door:
    """Lets the page's own web sockets in, and not too many."""

    def __init__(self, recognizer: Recognizer, turns: Turns, most_sessions: int) -> None:
        self._recognizer, self._turns = recognizer, turns
        self._most, self._open = most_sessions, 0

    async def enter(self, websocket: WebSocket) -> None:
        if not _is_own_page(websocket.headers):
            await websocket.close(_REFUSED)
            return
        await websocket.accept()
        conversation = _Conversation(websocket, self._recognizer)
        if self._open >= self._most:
            await conversation.refuse(LiveFull(self._most))
            return
        self._open += 1
        try:
            # A microphone is a recording in work from its first sound until the run is written.
            with self._turns.turn(client_of(websocket.scope).name):
                await conversation.hold()
        except TooManyRequests as error:
            await conversation.refuse(error)
        finally:
            self._open -= 1


class _Conversation:
    """One web socket from its first message to its last."""

    def __init__(self, websocket: WebSocket, recognizer: Recognizer) -> None:
        self._websocket, self._recognizer = websocket, recognizer
        accepted = websocket.headers.get("accept-language", "")
        self._words = Words(language_of(accepted, recognizer.settings.language))
        self._loop = asyncio.get_running_loop()
        self._moments: asyncio.Queue[LiveMoment] = asyncio.Queue(_MOMENTS_WAITING)
        self._outputs: Path = recognizer.settings.outputs / owner_of(websocket.scope)

    async def refuse(self, error: EmotionError) -> None:
        await self._say({"error": self._words.error(error)})
        await self._close(_BUSY)

    async def hold(self) -> None:
        """Listen until the end; what goes wrong is said to the browser, as far as it still hears."""
        try:
            hello = await self._greet()
            session = LiveSession(self._recognizer, hello.rate_hz, self._take, hello.live(), self._outputs)
            await self._converse(session, hello)
        except _Gone:
            pass
        except Exception as error:  # the reader gets a sentence, whatever went wrong
            if not isinstance(error, EmotionError):
                log.error("a live session failed unexpectedly", exc_info=error)
            await self._say({"error": self._words.error(error)})
        finally:
            await self._close()

    async def _greet(self) -> Hello:
        message = await self._receive()
        if not isinstance(message, str):
            raise LiveRefused
        hello = _parsed(Hello, message)
        if hello.language is not None:
            self._words = Words(hello.language)
        return hello

    async def _converse(self, session: LiveSession, hello: Hello) -> None:
        card = self._recognizer.state.card
        every_s = self._recognizer.settings.live_every_s
        await self._say({"ready": True, "every_s": every_s, "labels": _labels(card, self._words)})
        telling = asyncio.create_task(self._tell(card))
        try:
            await self._listen(session, hello)
        except BaseException:
            await self._leave(session)
            raise
        finally:
            telling.cancel()
        await self._finish(session)

    async def _listen(self, session: LiveSession, wish: Wish) -> None:
        """Feed the session, and tell it what is wished, until it is stopped or full."""
        started_s = self._loop.time()
        while not session.is_full:
            message = await self._receive()
            if isinstance(message, str):
                change = _parsed(Change, message)
                wish = wish.model_copy(update=change.model_dump(exclude_unset=True, exclude={"stop"}))
                session.wish = wish.live()
                if change.stop:
                    return
                continue
            await asyncio.to_thread(session.feed, message)
            await asyncio.sleep(wait_s(session.heard_s, self._loop.time() - started_s))

    async def _finish(self, session: LiveSession) -> None:
        is_full, ending = session.is_full, asyncio.wrap_future(session.stop())
        while not ending.done():
            await self._say({"finishing": round(session.finished_share, 3)})
            await asyncio.wait({ending}, timeout=_SHARE_EVERY_S)
        await self._say({"run": ending.result().folder.name, "is_full": is_full})

    async def _leave(self, session: LiveSession) -> None:
        """Wait until what is kept of a session is written: it counts as open, and a program that ends waits for it."""
        kept = session.leave()
        if kept is None:
            return
        ending = asyncio.wrap_future(kept)
        await asyncio.wait({ending})
        error = ending.exception()
        if error is not None:
            log.warning("a live session could not be kept: %s", error)

    # Messages

    def _take(self, moment: LiveMoment) -> None:
        """Called from whatever thread knows a moment."""
        with suppress(RuntimeError):  # the loop may be closed when the program ends
            self._loop.call_soon_threadsafe(self._queue, moment)

    def _queue(self, moment: LiveMoment) -> None:
        if not self._moments.full():  # a browser that does not take its moments loses some
            self._moments.put_nowait(moment)

    async def _tell(self, card: ModelCard) -> None:
        while True:
            moment = await self._moments.get()
            if card is not self._recognizer.state.card:
                card = self._recognizer.state.card
                await self._say({"labels": _labels(card, self._words)})
            await self._say(moment_record(moment))

    async def _receive(self) -> str | bytes:
        try:
            message = await asyncio.wait_for(self._websocket.receive(), IDLE_S)
        except TimeoutError:
            raise _Gone from None
        if message["type"] == "websocket.disconnect":
            raise _Gone
        sound, text = message.get("bytes"), message.get("text") or ""
        if len(sound or b"") > MAX_SOUND_BYTES or len(text) > MAX_TEXT_BYTES:
            raise LiveRefused
        return text if sound is None else bytes(sound)

    async def _say(self, message: dict[str, Any]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the browser may be gone, which `_receive` learns
            await self._websocket.send_json(message)

    async def _close(self, code: int = 1000) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code)


def wait_s(heard_s: float, elapsed_s: float) -> float:
    """How long who has sent so much sound in so much time has to wait."""
    return max(heard_s - elapsed_s - AHEAD_S, 0.0)


def moment_record(moment: LiveMoment) -> dict[str, Any]:
    """A moment as plain JSON values."""
    scores = moment.scores and {label: round(score, 6) for label, score in moment.scores.items()}
    return {
        "time_s": round(moment.time_s, 3),
        "scores": scores,
        "key": None if moment.emotion is None else moment.emotion.key,
        "confidence": round(moment.confidence, 6),
        "is_silent": moment.is_silent,
        "interval_s": round(moment.interval_s, 3),
        "level_db": round(moment.level_db, 1),
    }


def _labels(card: ModelCard, words: Words) -> list[dict[str, Any]]:
    """The nine emotions and what else the model has labels for, and which of them it cannot tell."""
    keys = [emotion.key for emotion in EMOTIONS]
    emotions = [emotion_of(key) for key in (*keys, *(label for label in card.labels if label not in keys))]
    silent = {*card.untold, *(key for key in keys if key not in card.labels)}
    return [
        {
            "key": e.key,
            "name": e.name(words.language),
            "headline": e.headline(words.language),
            "emoji": e.emoji,
            "colour": e.colour,
            "untold": e.key in silent,
        }
        for e in emotions
    ]


def _parsed(kind: type[Message], text: str) -> Message:
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        raise LiveRefused from None


def _is_own_page(headers: Headers) -> bool:
    """Whether the web socket comes from a page of this server, or from a program, which names no origin.

    Browsers let any page open a web socket to any server and send the reader's cookies along; what they do not let a
    page do is to lie in Origin, or to set X-Forwarded-Host, by which a proxy says how the reader calls this server.
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    with suppress(ValueError):  # of an address that is none
        host = urlsplit(origin).netloc.lower()
        hosts = [headers.get("host", ""), *headers.get("x-forwarded-host", "").split(",")]
        return bool(host) and host in {name.strip().lower() for name in hosts}
    return False
