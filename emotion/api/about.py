"""What this server is and how it is: labels, models, status, and whether it lives and serves."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
from fastapi import Response

from emotion.access import problem_of
from emotion.api.responses import JSON
from emotion.engine.recognizer import Recognizer
from emotion.errors import EngineClosed
from emotion.labels import EMOTIONS, emotion_of
from emotion.model import BUILT_IN
from emotion.model.checkpoint import LICENSE, list_models
from emotion.monitor import StudioWatch

BUILT_IN_LICENSE = "CC BY-NC-SA 4.0"


class About:
    """The endpoints about the server; nothing here is of any client's recordings."""

    def __init__(self, recognizer: Recognizer, watch: StudioWatch) -> None:
        self._recognizer, self._watch = recognizer, watch

    async def labels(self) -> Response:
        """The emotions that the current model recognizes, in its order, and those that it does not."""
        card = self._recognizer.state.card
        known = [emotion_of(key) for key in card.labels]
        unknown = [emotion for emotion in EMOTIONS if emotion.key not in card.labels]
        unsupported = {*card.unsupported_labels, *(emotion.key for emotion in unknown)}
        return _json(
            {
                "model": card.name,
                "labels": [
                    {
                        "key": emotion.key,
                        "token": emotion.token,
                        "english": emotion.english,
                        "chinese": emotion.chinese,
                        "emoji": emotion.emoji,
                        "colour": emotion.color,
                        "unsupported": emotion.key in unsupported,
                        "untold": emotion.key in unsupported,
                    }
                    for emotion in (*known, *unknown)
                ],
            }
        )

    async def models(self) -> Response:
        """Which model answers now, what becomes of the one that was asked for, and which are on the server."""
        state = self._recognizer.state
        listed = await asyncio.to_thread(list_models, self._recognizer.settings.cache_dir)
        models = [(BUILT_IN, BUILT_IN_LICENSE, True)]
        models += [(entry.model.name, LICENSE, entry.present) for entry in listed]
        return _json(
            {
                "answering": {**state.card.record(), "embedding_size": state.card.embedding_size},
                # Of a model in a folder only its name: clients must not learn where it lies.
                "wanted": Path(state.wanted).name,
                "phase": state.phase,
                "done_bytes": state.done_bytes,
                "total_bytes": state.total_bytes,
                "reason": None if state.reason is None else state.reason.message,
                "models": [
                    {"name": name, "licence": licence, "present": present, "answers": name == state.card.name}
                    for name, licence, present in models
                ],
            }
        )

    async def status(self) -> Response:
        """Machine, engine and queue, with the advice that the page shows; a reading of a second ago at most."""
        status = await asyncio.to_thread(self._watch.read)
        record = status.record()
        del record["engine"]["recent"]  # how long each of the last recordings took
        stats = self._recognizer.engine.cache_stats
        record["cache"] = stats and {"hits": stats.hits, "misses": stats.misses, "entries": stats.entries}
        record["advice"] = [advice.record() for advice in self._watch.advice()]
        return _json(record)

    async def health(self) -> Response:
        """The process answers."""
        return _json({"status": "ok"})

    async def readiness(self) -> Response:
        """Whether the model serves: 503 while the server ends, and when the thread of the model is dead."""
        if not self._recognizer.engine.is_alive:
            return problem_of(EngineClosed()).response()
        return _json({"status": "ready", "model": self._recognizer.state.card.name})


def _json(record: dict[str, Any]) -> Response:
    return Response(orjson.dumps(record), headers={"Cache-Control": "no-store"}, media_type=JSON)
