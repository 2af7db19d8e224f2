"""The lanes of a timeline in finer steps, for the stretch that a visitor looks at closely."""

import secrets
import threading
from collections import OrderedDict
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from emotion.errors import EmotionError
from emotion.ui import timeline_data
from emotion.ui.workspace import Workspace, owner_of

# Analyses that are held; an older one is read again from its run, which takes a third of a second for an hour.
_MOST_HELD = 2
_MOST_KNOWN = 4_096


class TimelineDetails:
    """Serves parts of clips, under addresses that nobody can guess, to those whose clips they are."""

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self._lock = threading.Lock()
        self._tokens: OrderedDict[str, tuple[Workspace, str]] = OrderedDict()
        self._held: OrderedDict[tuple[str, str], timeline_data.Source] = OrderedDict()

    def address(self, workspace: Workspace, clip: str, source: timeline_data.Source) -> str:
        """Where the details of a clip are served; `source` is what they are taken from."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._tokens[token] = (workspace, clip)
            if len(self._tokens) > _MOST_KNOWN:
                self._tokens.popitem(last=False)
            self._hold(workspace, clip, source)
        return f"details/{token}"

    def mount(self, app: FastAPI) -> None:
        """Serve the addresses."""
        app.add_api_route("/details/{token}", self._serve, methods=["GET"], include_in_schema=False)

    def _serve(self, token: str, start_s: float, end_s: float, request: Request) -> dict[str, Any]:
        workspace, clip = self._tokens.get(token, (None, ""))
        if workspace is None or workspace.owner != owner_of(request.scope):
            raise HTTPException(404)
        return timeline_data.detail(self._source(workspace, clip), start_s, end_s)

    def _source(self, workspace: Workspace, clip: str) -> timeline_data.Source:
        held = self._held.get((workspace.owner, clip))
        if held is None:
            try:
                analysis = workspace.history.open_clip(clip).analysis
            except EmotionError:
                raise HTTPException(404) from None
            held = timeline_data.source(analysis, self._smoothing_s)
            with self._lock:
                self._hold(workspace, clip, held)
        return held

    def _hold(self, workspace: Workspace, clip: str, source: timeline_data.Source) -> None:
        self._held[workspace.owner, clip] = source
        self._held.move_to_end((workspace.owner, clip))
        if len(self._held) > _MOST_HELD:
            self._held.popitem(last=False)
