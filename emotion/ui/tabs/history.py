"""History."""

import gradio as gr

from emotion.ui.desk import Desk


def add_history(desk: Desk, tab: gr.Tab) -> None:
    """Lay out the tab and wire it."""
