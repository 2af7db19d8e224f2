"""Live."""

from fastapi import FastAPI

from emotion.ui.desk import Desk


def add_live(desk: Desk, app: FastAPI) -> None:
    """Lay out the tab and wire it."""
