"""The live microphone's web socket: a first message and sound in, moments out, and the name of the run at the end.

In: a `Hello` as JSON, pieces of 16-bit little-endian mono PCM, changes of the wish, and last `{"stop": true}`.
Out, as JSON: `{"ready": true, ...}`, moments, `{"labels": [...]}` when another model answers from now on,
`{"finishing": share}`, and last `{"run": name}` or `{"error": text}`.
"""

import asyncio
import logging
from typing import Any, TypeVar

from fastapi import FastAPI, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion.access import client_of
from emotion.access.gate import is_foreign
from emotion.analysis import Granularity
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, LiveFull, LiveRefused, TooManyRequests
from emotion.labels import EMOTIONS, Language, emotion_of
from emotion.live import LiveOptions, LiveSession
from emotion.live.socket import BUSY, MOST_SESSIONS, REFUSED, Gone, LiveWire, moment_record, wait_s
from emotion.model import ModelCard
from emotion.outputs import ExportFormat
from emotion.texts import Words, language_of
from emotion.ui.workspace import owner_of

log = logging.getLogger(__name__)
PATH = "/live"
_SHARE_EVERY_S = 1.0
Message = TypeVar("Message", bound=BaseModel)


class Wish(BaseModel):
    """What becomes of the session at its end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    granularity: Granularity = "utterance"
    embedding: bool = False
    exports: tuple[ExportFormat, ...] = Field((), max_length=16)
    keep_audio: bool = True

    def live(self) -> LiveOptions:
        return LiveOptions(self.granularity, self.embedding, tuple(self.exports), self.keep_audio)


class Hello(Wish):
    """The first message."""

    rate_hz: int
    language: Language | None = None


class Change(Wish):
    """A changed wish, and whether it is the last message; what it does not name stays as it was."""

    stop: bool = False


def add_live_route(
    app: FastAPI, recognizer: Recognizer, turns: ConcurrencyLimit, most_sessions: int = MOST_SESSIONS
) -> None:
    """Listen to microphones at `/live`; to be called before the page is mounted, which takes every other address."""
    door = _Door(recognizer, turns, most_sessions)
    app.add_api_websocket_route(PATH, door.enter)


def live_value(recognizer: Recognizer, words: Words, wish: LiveOptions) -> dict[str, Any]:
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


class _Door:
    """Lets the page's own web sockets in, and not too many."""

    def __init__(self, recognizer: Recognizer, turns: ConcurrencyLimit, most_sessions: int) -> None:
        self._recognizer, self._turns = recognizer, turns
        self._most, self._open = most_sessions, 0

    async def enter(self, websocket: WebSocket) -> None:
        # Scripts of other web sites may use the API where it is so set, but never the page's own sockets.
        if is_foreign(websocket.headers):
            await websocket.close(REFUSED)
            return
        await websocket.accept()
        conversation = _Conversation(websocket, self._recognizer)
        if self._open >= self._most:
            await conversation.refuse(LiveFull(self._most))
            return
        self._open += 1
        try:
            # A microphone is a recording in work from its first sound until the run is written.
            with self._turns.slot(client_of(websocket.scope).name):
                await conversation.hold()
        except TooManyRequests as error:
            await conversation.refuse(error)
        finally:
            self._open -= 1


class _Conversation:
    """One web socket from its first message to its last."""

    def __init__(self, websocket: WebSocket, recognizer: Recognizer) -> None:
        self._recognizer, self._wire = recognizer, LiveWire(websocket, LiveRefused)
        accepted = websocket.headers.get("accept-language", "")
        self._words = Words(language_of(accepted, recognizer.settings.language))
        self._loop = asyncio.get_running_loop()
        self._owner = owner_of(websocket.scope)

    async def refuse(self, error: EmotionError) -> None:
        await self._wire.say({"error": self._words.error(error)})
        await self._wire.close(BUSY)

    async def hold(self) -> None:
        """Listen until the end; what goes wrong is said to the browser, as far as it still hears."""
        try:
            hello = await self._greet()
            outputs = self._recognizer.settings.outputs / self._owner
            session = LiveSession(self._recognizer, hello.rate_hz, self._wire.take, hello.live(), outputs, self._owner)
            await self._converse(session, hello)
        except Gone:
            pass
        except Exception as error:  # the reader gets a sentence, whatever went wrong
            if not isinstance(error, EmotionError):
                log.error("a live session failed unexpectedly", exc_info=error)
            await self._wire.say({"error": self._words.error(error)})
        finally:
            await self._wire.close()

    async def _greet(self) -> Hello:
        message = await self._wire.receive()
        if not isinstance(message, str):
            raise LiveRefused
        hello = _parsed(Hello, message)
        if hello.language is not None:
            self._words = Words(hello.language)
        return hello

    async def _converse(self, session: LiveSession, hello: Hello) -> None:
        card = self._recognizer.state.card
        every_s = self._recognizer.settings.live_every_s
        await self._wire.say({"ready": True, "every_s": every_s, "labels": _labels(card, self._words)})
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
            message = await self._wire.receive()
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
            await self._wire.say({"finishing": round(session.finished_share, 3)})
            await asyncio.wait({ending}, timeout=_SHARE_EVERY_S)
        await self._wire.say({"run": ending.result().folder.name, "is_full": is_full})

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

    async def _tell(self, card: ModelCard) -> None:
        while True:
            moment = await self._wire.next_moment()
            if card is not self._recognizer.state.card:
                card = self._recognizer.state.card
                await self._wire.say({"labels": _labels(card, self._words)})
            await self._wire.say(moment_record(moment))


def _labels(card: ModelCard, words: Words) -> list[dict[str, Any]]:
    """The nine emotions and what else the model has labels for, and which of them it cannot tell."""
    keys = [emotion.key for emotion in EMOTIONS]
    emotions = [emotion_of(key) for key in (*keys, *(label for label in card.labels if label not in keys))]
    silent = {*card.unsupported_labels, *(key for key in keys if key not in card.labels)}
    return [
        {
            "key": e.key,
            "name": e.name(words.language),
            "headline": e.headline(words.language),
            "emoji": e.emoji,
            "colour": e.color,
            "untold": e.key in silent,
        }
        for e in emotions
    ]


def _parsed(kind: type[Message], text: str) -> Message:
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        raise LiveRefused from None
