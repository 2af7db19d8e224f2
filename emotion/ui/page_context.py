"""What every tab of the page works with."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from emotion.access import Client, client_of
from emotion.engine.recognizer import Recognizer
from emotion.logs import request_context
from emotion.monitor import StudioWatch
from emotion.settings import Settings
from emotion.texts import Words
from emotion.ui.file_links import FileLinks
from emotion.ui.language import visitor_language
from emotion.ui.runs import Runs
from emotion.ui.timeline_detail import TimelineDetails
from emotion.ui.workspace import PageVisitor, Workspace, Workspaces, owner_of

# An event that is asked often, or that must not wait behind a recording.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# An event that sets the open clip: only of events that queue does Gradio tell the other tabs what has changed.
OPENING: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class PageContext:
    """What all tabs share: the recognizer, the recordings in work, the workspaces, and the files on offer.

    `open_clip` holds the folder of the clip that the visitor looked at last, below the folder of the visitor's outputs.
    """

    recognizer: Recognizer
    watch: StudioWatch
    runs: Runs
    workspaces: Workspaces
    file_links: FileLinks
    details: TimelineDetails
    tabs: gr.Tabs
    open_clip: gr.State

    @property
    def settings(self) -> Settings:
        return self.recognizer.settings

    def words(self, request: gr.Request) -> Words:
        """The texts in the visitor's language."""
        return Words(visitor_language(request.cookies, request.headers, self.settings.language))

    def workspace(self, request: gr.Request) -> Workspace:
        """The runs that this visitor sees."""
        return self.workspaces.of(owner_of(_scope_of(request)))

    def visitor(self, request: gr.Request) -> PageVisitor:
        """Who looks at the page, with their workspace and texts."""
        session, request_id = request.session_hash or "", _request_id_of(request)
        return PageVisitor(session, self.client(request).name, request_id, self.workspace(request), self.words(request))

    def client(self, request: gr.Request) -> Client:
        """The client that the visitor is signed in as."""
        return client_of(_scope_of(request))


def _request_id_of(request: gr.Request) -> str:
    """The id of a visitor's request, for the logs; events that queue run outside of it."""
    return str(_scope_of(request).get("state", {}).get("request_id", request_context.NO_REQUEST))


def _scope_of(request: gr.Request) -> dict[str, Any]:
    """The ASGI scope of a visitor's request; events that queue have that of the request by which they joined."""
    # Of `request` itself every attribute that is a dictionary comes as an object.
    return {} if request.request is None else dict(request.request.scope)
