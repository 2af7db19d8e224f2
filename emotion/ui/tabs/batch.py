"""Batch."""

from emotion.ui.desk import Desk
from emotion.ui.uploads import Uploads


def add_batch(desk: Desk, uploads: Uploads) -> None:
    """Lay out the tab and wire it."""
