"""The live microphone's web socket: a first message and sound in, moments out, and the name of the run at the end.

In: a `Hello` as JSON, pieces of 16-bit little-endian mono PCM, changed options, and last `{"stop": true}`.
Out, as JSON: `{"ready": true, ...}`, moments, `{"labels": [...]}` when another model answers from now on,
`{"finishing": share}`, and last `{"run": name}` or `{"error": text}`.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion.access import client_of
from emotion.access.gate import is_foreign
from emotion.analysis import AnalysisRequest, Granularity
from emotion.engine import ConcurrencyLimit, follow_async
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, LiveFull, LiveRefused, TooManyRequests
from emotion.labels import EMOTION_BY_KEY, Language, emotion_of
from emotion.live import LiveMoment, LiveSession
from emotion.live.socket import BUSY, MAX_SESSIONS, NORMAL, REFUSED, LiveConversations, LiveSocket
from emotion.model import ModelCard
from emotion.outputs import ExportFormat
from emotion.texts import Words, language_of

_LOG = logging.getLogger(__name__)
_PROGRESS_S = 1.0
Text = TypeVar("Text", bound="Options")


class Options(BaseModel):
    """What becomes of the session at its end; what a later message does not name stays as it was."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    granularity: Granularity = "utterance"
    embedding: bool = False
    exports: tuple[ExportFormat, ...] = Field((), max_length=16)
    keep_audio: bool = True

    def applied_to(self, request: AnalysisRequest) -> AnalysisRequest:
        """The request with the options that are named here."""
        return request.with_changes(**self.model_dump(include=set(Options.model_fields), exclude_unset=True))


class Hello(Options):
    """The first message."""

    rate_hz: int
    language: Language | None = None


class Change(Options):
    """Changed options, and whether it is the last message."""

    stop: bool = False


def add_live_route(
    app: FastAPI, recognizer: Recognizer, limit: ConcurrencyLimit, max_sessions: int = MAX_SESSIONS
) -> None:
    """Listen to microphones at `/live`; to be called before the page is mounted, which takes every other address."""
    conversations = LiveConversations(limit, max_sessions, partial(_Microphone, recognizer))

    async def live(websocket: WebSocket) -> None:
        # Scripts of other web sites may use the API where it is so set, but never the page's own sockets.
        if is_foreign(websocket.headers):
            await websocket.close(REFUSED)
        else:
            await conversations.hold(websocket)

    app.add_api_websocket_route("/live", live)


def live_value(recognizer: Recognizer, words: Words, request: AnalysisRequest) -> dict[str, Any]:
    """The value of the component that live.js draws: words, labels of the model that answers now, and the options."""
    return {
        "words": words.group("live"),
        "language": words.language,
        "labels": _labels(recognizer.state.card, words),
        "wish": Options.model_validate(request, from_attributes=True).model_dump(mode="json"),
    }


class _Microphone:
    """How the page's microphone differs from a stream of the API: a first message, a run at the end, and sentences."""

    def __init__(self, recognizer: Recognizer, websocket: WebSocket) -> None:
        self._recognizer = recognizer
        accepted = websocket.headers.get("accept-language", "")
        self._words = Words(language_of(accepted, recognizer.settings.language))
        client = client_of(websocket.scope)
        self.client, self._owner = client.name, client.owner

    def too_large(self) -> LiveRefused:
        return LiveRefused()

    async def begin(self, socket: LiveSocket) -> LiveSession:
        """Raises LiveRefused and RateOutOfRange."""
        hello = _parsed(Hello, await socket.receive())
        if hello.language is not None:
            self._words = Words(hello.language)
        request = hello.applied_to(AnalysisRequest(owner=self._owner))
        return LiveSession(self._recognizer, hello.rate_hz, socket.put_moment, request)

    def ready(self) -> dict[str, Any]:
        self._card = self._recognizer.state.card
        every_s = self._recognizer.settings.live_every_s
        return {"ready": True, "every_s": every_s, "labels": _labels(self._card, self._words)}

    def moment(self, moment: LiveMoment) -> Iterator[dict[str, Any]]:
        """The moment, after the labels when another model answers from now on."""
        if self._card is not self._recognizer.state.card:
            self._card = self._recognizer.state.card
            yield {"labels": _labels(self._card, self._words)}
        yield moment.record()

    def hear(self, session: LiveSession, text: str) -> bool:
        change = _parsed(Change, text)
        session.request = change.applied_to(session.request)
        return change.stop

    async def finish(self, session: LiveSession, socket: LiveSocket, _: Callable[[], None]) -> None:
        """Wait for the run, which takes the slot of the session until it is written."""
        is_full, ending = session.is_full, session.stop()
        await socket.send({"finishing": 0.0})
        async for progress in follow_async(session, ending, _PROGRESS_S):
            share = 1.0 if progress.stage == "done" else progress.windows_done / max(progress.windows, 1)
            await socket.send({"finishing": round(share, 3)})
        await socket.send({"run": ending.result().folder.name, "is_full": is_full})

    def failure(self, error: Exception) -> tuple[dict[str, Any], int]:
        if not isinstance(error, EmotionError):
            _LOG.error("a live session failed unexpectedly", exc_info=error)
        code = BUSY if isinstance(error, LiveFull | TooManyRequests) else NORMAL
        return {"error": self._words.error(error)}, code


def _labels(card: ModelCard, words: Words) -> list[dict[str, Any]]:
    """The nine emotions and what else the model has labels for, and which of them it cannot tell."""
    keys = dict.fromkeys((*EMOTION_BY_KEY, *card.labels))
    unsupported = {*card.unsupported_labels, *(keys.keys() - card.labels)}
    return [
        {
            "key": e.key,
            "name": e.name(words.language),
            "headline": e.headline(words.language),
            "emoji": e.emoji,
            "colour": e.color,
            "untold": e.key in unsupported,
        }
        for e in map(emotion_of, keys)
    ]


def _parsed(kind: type[Text], text: str | bytes) -> Text:
    """Raises LiveRefused, also for sound where a text should come."""
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        raise LiveRefused from None
