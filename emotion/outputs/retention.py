"""How long runs stay: what is deleted, by age and by size, and never while it is being written."""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from emotion.errors import EmotionError, RunIsOpen, RunNotFound
from emotion.outputs.folders import disk_errors, hidden_name
from emotion.outputs.locks import is_locked
from emotion.outputs.names import RunTime, run_time
from emotion.outputs.paths import all_outputs, run_folder, run_folders, tree_bytes
from emotion.outputs.run import SUMMARY_FILE

EVERY_S = 600.0
# Somebody is still looking at it, whatever the bounds are.
SAFE_AGE_S = 60.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retention:
    """How old a run may get and how large all runs together; 0 is no bound."""

    max_age_s: float = 0.0
    max_bytes: int = 0

    @classmethod
    def of(cls, keep_days: float, keep_gb: float) -> "Retention":
        """The bounds in the units of the settings; a gigabyte is 10^9 bytes."""
        return cls(keep_days * 86_400, round(keep_gb * 1e9))

    @property
    def is_bounded(self) -> bool:
        return self.max_age_s > 0 or self.max_bytes > 0


@dataclass(frozen=True)
class _Stay:
    """A run and since when it lies there: a batch since its last row, every other run since it began."""

    made: RunTime
    folder: Path
    since_s: float


def apply(outputs: Path, retention: Retention, now_s: float) -> list[str]:
    """Delete the runs that are too old, then the oldest until the rest is small enough; the names of what went.

    The runs of all clients count together. Stays whatever is being written, is younger than a minute, cannot be
    deleted, or has not the name of a run.
    """
    stays = sorted((stay for folder in all_outputs(outputs) for stay in _stays(folder)), key=lambda stay: stay.made)
    deleted: list[_Stay] = []
    left: list[_Stay] = []
    for stay in stays:
        is_old = 0 < retention.max_age_s < now_s - stay.since_s
        (deleted if is_old and _went(stay, now_s) else left).append(stay)
    if retention.max_bytes > 0:
        deleted += _oldest_beyond(retention.max_bytes, left, now_s)
    return [stay.folder.name for stay in deleted]


def delete_run(outputs: Path, name: str) -> None:
    """Delete a run; raises RunNotFound, RunIsOpen and FolderNotWritable.

    It goes from sight in one step, and what a crash leaves of it goes with the other leftovers (`remove_stale`).
    """
    folder = run_folder(outputs, name)
    if is_locked(folder / SUMMARY_FILE):
        raise RunIsOpen(name)
    aside = outputs / hidden_name()
    with disk_errors(outputs, needed_bytes=0):
        try:
            folder.rename(aside)
        except FileNotFoundError:
            raise RunNotFound from None
    shutil.rmtree(aside, ignore_errors=True)


class RetentionTask:
    """Applies the retention every ten minutes, in the background; does nothing where there is no bound."""

    def __init__(self, outputs: Path, retention: Retention, clock_s: Callable[[], float] = time.time) -> None:
        self._outputs, self._retention, self._clock_s = outputs, retention, clock_s
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, with a first look at once."""
        if self._thread is None and self._retention.is_bounded:
            self._thread = threading.Thread(target=self._keep, name="retention", daemon=True)
            self._thread.start()

    def look(self) -> None:
        """Look now, for example since something was written; returns at once."""
        self._wake.set()

    def close(self) -> None:
        """End after the deletion in hand."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _keep(self) -> None:
        while True:
            self._wake.clear()
            if self._closing:  # asked after the clearing, which may have taken the call to close with it
                return
            self._apply()
            self._wake.wait(EVERY_S)

    def _apply(self) -> None:
        try:
            count = len(apply(self._outputs, self._retention, self._clock_s()))
        except OSError as error:
            log.warning("outputs could not be looked through: %s", error.strerror)
            return
        if count:
            log.info("%d runs were deleted, by age or by size", count)


def _oldest_beyond(max_bytes: int, stays: list[_Stay], now_s: float) -> Iterator[_Stay]:
    """Delete until the rest is small enough, the first of these first."""
    sizes_bytes = [tree_bytes(stay.folder) for stay in stays]
    total_bytes = sum(sizes_bytes)
    for stay, size_bytes in zip(stays, sizes_bytes, strict=True):
        if total_bytes <= max_bytes:
            return
        if _went(stay, now_s):
            total_bytes -= size_bytes
            yield stay


def _stays(outputs: Path) -> Iterator[_Stay]:
    for entry in run_folders(outputs):
        made = run_time(entry.name)
        if made is not None:
            folder = outputs / entry.name
            yield _Stay(made, folder, _since_s(folder, made))


def _since_s(folder: Path, made: RunTime) -> float:
    since_s = made.started.timestamp()
    with suppress(OSError):
        return max(since_s, (folder / SUMMARY_FILE).stat().st_mtime)
    return since_s


def _went(stay: _Stay, now_s: float) -> bool:
    """Whether this run is gone now."""
    if now_s - stay.since_s < SAFE_AGE_S:
        return False
    try:
        delete_run(stay.folder.parent, stay.folder.name)
    except RunNotFound:
        return True  # another process looked too
    except EmotionError:
        return False
    return True
