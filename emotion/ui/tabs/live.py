"""Live."""

from fastapi import FastAPI

from emotion.ui.desk import Desk


def add_live(desk: Desk, app: FastAPI) -> None:  # noqa: ARG001
    """Lay out the tab and wire it."""
