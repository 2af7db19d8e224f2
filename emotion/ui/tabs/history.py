"""History."""

import gradio as gr

from emotion.ui.desk import Desk


def add_history(desk: Desk, tab: gr.Tab) -> None:  # noqa: ARG001
    """Lay out the tab and wire it."""
