"""The lanes of a timeline in finer steps, for the stretch that a reader looks at closely."""

import secrets
import threading
from collections import OrderedDict
from typing import Any

from fastapi import FastAPI, HTTPException

from emotion.errors import EmotionError
from emotion.outputs.history import History
from emotion.ui import lanes

# Analyses that are held; an older one is read again from its run, which takes a third of a second for an hour.
_MOST_HELD = 2
_MOST_KNOWN = 4_096


class Details:
    """Serves parts of the clips that were shown, under addresses that cannot be guessed."""

    def __init__(self, history: History, smoothing_s: float) -> None:
        self._history, self._smoothing_s = history, smoothing_s
        self._lock = threading.Lock()
        self._tokens: OrderedDict[str, str] = OrderedDict()
        self._held: OrderedDict[str, lanes.Source] = OrderedDict()

    def address(self, clip: str, source: lanes.Source) -> str:
        """Where the details of a clip are served; `source` is what they are taken from."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._tokens[token] = clip
            if len(self._tokens) > _MOST_KNOWN:
                self._tokens.popitem(last=False)
            self._hold(clip, source)
        return f"details/{token}"

    def mount(self, app: FastAPI) -> None:
        """Serve the addresses."""
        app.add_api_route("/details/{token}", self._serve, methods=["GET"], include_in_schema=False)

    def _serve(self, token: str, start_s: float, end_s: float) -> dict[str, Any]:
        clip = self._tokens.get(token)
        if clip is None:
            raise HTTPException(404)
        return lanes.detail(self._source(clip), start_s, end_s)

    def _source(self, clip: str) -> lanes.Source:
        held = self._held.get(clip)
        if held is None:
            try:
                analysis = self._history.open_clip(clip).analysis
            except EmotionError:
                raise HTTPException(404) from None
            held = lanes.source(analysis, self._smoothing_s)
            with self._lock:
                self._hold(clip, held)
        return held

    def _hold(self, clip: str, source: lanes.Source) -> None:
        self._held[clip] = source
        self._held.move_to_end(clip)
        if len(self._held) > _MOST_HELD:
            self._held.popitem(last=False)
