"""What every tab of the page works with."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from emotion.outputs.history import History
from emotion.recognizer import Recognizer
from emotion.settings import Settings
from emotion.ui.details import Details
from emotion.ui.language import reader_language
from emotion.ui.runs import Runs
from emotion.ui.shelf import Shelf
from emotion.ui.words import Words

# An event that is asked often, or that must not wait behind a recording.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# An event that sets the open clip: only of events that queue does Gradio tell the other tabs what has changed.
OPENING: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Desk:
    """The recogniser, the recordings in work, the stored runs, and the files on offer.

    `open_clip` holds the folder of the clip that the reader looked at last, below the folder of outputs.
    """

    recognizer: Recognizer
    runs: Runs
    history: History
    shelf: Shelf
    details: Details
    tabs: gr.Tabs
    open_clip: gr.State

    @property
    def settings(self) -> Settings:
        return self.recognizer.settings

    def words(self, request: gr.Request) -> Words:
        """The texts in the reader's language."""
        return Words(reader_language(request.cookies, request.headers, self.settings.language))
