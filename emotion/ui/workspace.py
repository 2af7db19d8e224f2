"""Whose runs a visitor sees: each client that is asked for a key or a password has a workspace of its own."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.access import client_of
from emotion.analysis import AnalysisRequest
from emotion.outputs.history import History
from emotion.outputs.similar import EmbeddingIndex
from emotion.texts import Words


@dataclass(frozen=True)
class Workspace:
    """What one client sees, and nobody else.

    `owner` is empty where nobody is asked who they are: then all share one workspace.
    """

    owner: str
    outputs: Path
    history: History
    embeddings: EmbeddingIndex


@dataclass(frozen=True)
class PageVisitor:
    """Who looks at one page: its session, the name under which limits count their recordings, the id of the request,
    and the texts in their language.
    """

    session: str
    name: str
    request_id: str
    workspace: Workspace
    words: Words

    def own(self, request: AnalysisRequest) -> AnalysisRequest:
        """The same request, counted and cached as this visitor's."""
        return request.with_changes(client=self.name, owner=self.workspace.owner)


class Workspaces:
    """The workspaces of all clients, each made when it is first asked for; for any thread."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self._lock = threading.Lock()
        self._known: dict[str, Workspace] = {}

    def of(self, owner: str) -> Workspace:
        """The workspace of an owner."""
        with self._lock:
            workspace = self._known.get(owner)
            if workspace is None:
                outputs = self._outputs / owner
                workspace = self._known[owner] = Workspace(owner, outputs, History(outputs), EmbeddingIndex())
            return workspace


def owner_of(scope: Mapping[str, Any]) -> str:
    """Who asks, as the folder of the client below that of outputs; empty where all share it."""
    return client_of(scope).owner
