"""The runs in outputs: listed, searched, opened again, packed and deleted.

history = History(Path("outputs"))
history.runs(search="call", emotion="angry", limit=20).runs[0].clips[0].folder
history.open_clip("outputs_20261122_120000").analysis
"""

import contextlib
import os
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from emotion.errors import EmotionError, RunIsOpen, RunNotFound
from emotion.outputs.archive import zip_chunks
from emotion.outputs.index import ClipEntry, Read, RunEntry, read_run, stamp_of
from emotion.outputs.locks import is_locked
from emotion.outputs.names import run_time
from emotion.outputs.paths import clip_folder, run_folder, run_folders
from emotion.outputs.reader import read_clip
from emotion.outputs.retention import delete_run
from emotion.outputs.run import SUMMARY_FILE, ClipFiles

__all__ = ["ClipEntry", "Deletion", "History", "RunEntry", "RunPage", "matching_clips"]


@dataclass(frozen=True)
class RunPage:
    """Some of the runs that were asked for, newest first; `total` of them are found, among `kept_runs` that are there,
    which take `kept_bytes`.
    """

    runs: tuple[RunEntry, ...]
    total: int
    kept_runs: int
    kept_bytes: int


@dataclass(frozen=True)
class Deletion:
    """What became of runs that were to be deleted. That some were `gone` before is no fault; those that are `open` are
    being written and stay, and so do those that `failed`, of which `error` says why.
    """

    deleted: tuple[RunEntry, ...] = ()
    gone: tuple[str, ...] = ()
    open: tuple[RunEntry, ...] = ()
    failed: tuple[RunEntry, ...] = ()
    error: EmotionError | None = None


class History:
    """What lies in a folder of outputs, whoever wrote it; may be asked by several threads.

    A run that was read stays in memory until its folder changes, so that only the first look takes long: about a
    second for 5,000 runs. Folders that hold no result are passed over.
    """

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self._reading = threading.Lock()
        self._known: dict[str, Read] = {}
        self._newest_first: list[RunEntry] = []

    def runs(self, search: str = "", emotion: str = "", limit: int | None = None, offset: int = 0) -> RunPage:
        """Runs with a clip whose file name has `search` in it, in any case, and whose emotion is `emotion`."""
        kept = self._all()
        found = [run for run in kept if matching_clips(run, search, emotion)] if search.strip() or emotion else kept
        first = max(offset, 0)
        page = found[first:] if limit is None else found[first : first + max(limit, 0)]
        kept_bytes = sum(run.size_bytes for run in kept)
        return RunPage(tuple(self._now(run) for run in page), len(found), len(kept), kept_bytes)

    def run(self, name: str) -> RunEntry:
        """One run; raises RunNotFound."""
        run_folder(self.outputs, name)
        self._all()
        read = self._known.get(name)
        if read is None or read.run is None:
            raise RunNotFound
        return self._now(read.run)

    def chosen(self, names: Iterable[str]) -> tuple[RunEntry, ...]:
        """Those of some runs that are there, newest first; whatever else is named is passed over."""
        wanted = frozenset(names)
        return tuple(self._now(run) for run in self._all() if run.name in wanted)

    def has_clip(self, folder: str) -> bool:
        """Whether a clip is there, without reading it."""
        try:
            return any(clip.folder == folder for clip in self.run(folder.partition("/")[0]).clips)
        except RunNotFound:
            return False

    def open_clip(self, folder: str) -> ClipFiles:
        """The files of a clip and its analysis as on the day it was made; raises RunNotFound.

        What was not kept is None, and the clip then has no samples (`samples_not_kept`).
        """
        return read_clip(clip_folder(self.outputs, folder))

    def zip_chunks(self, *names: str) -> Iterator[bytes]:
        """A zip of whole runs, piece by piece as it is packed; raises RunNotFound at once if one is not there."""
        return zip_chunks([run_folder(self.outputs, name) for name in names])

    def delete(self, name: str) -> None:
        """Remove a whole run; raises RunNotFound, RunIsOpen while it is being written, and FolderNotWritable."""
        delete_run(self.outputs, name)

    def delete_all(self, names: Iterable[str]) -> Deletion:
        """Remove those of some runs that are listed; what one of them meets hinders no other."""
        wanted = tuple(dict.fromkeys(names))
        deleted, is_open, failed = [], [], []
        error: EmotionError | None = None
        for run in self.chosen(wanted):
            try:
                self.delete(run.name)
                deleted.append(run)
            except RunNotFound:  # it went since it was listed
                continue
            except RunIsOpen:
                is_open.append(run)
            except EmotionError as met:
                failed.append(run)
                error = met
        left = {run.name for run in (*deleted, *is_open, *failed)}
        gone = tuple(name for name in wanted if name not in left)
        return Deletion(tuple(deleted), gone, tuple(is_open), tuple(failed), error)

    def _all(self) -> list[RunEntry]:
        """Every run, newest first; only what is new or has changed is read."""
        with self._reading:
            known: dict[str, Read] = {}
            for folder in run_folders(self.outputs):
                with contextlib.suppress(OSError):  # it went meanwhile
                    read = _read(folder, self._known.get(folder.name))
                    if read is not None:
                        known[folder.name] = read
            if len(known) != len(self._known) or any(self._known.get(name) is not known[name] for name in known):
                newest_first = sorted(known.values(), key=lambda read: read.time, reverse=True)
                self._newest_first = [read.run for read in newest_first if read.run is not None]
                self._known = known
            return self._newest_first

    def _now(self, run: RunEntry) -> RunEntry:
        is_open = run.is_batch and is_locked(self.outputs / run.name / SUMMARY_FILE)
        return replace(run, is_open=True) if is_open else run


def matching_clips(run: RunEntry, search: str = "", emotion: str = "") -> tuple[ClipEntry, ...]:
    """The clips for which `History.runs` finds a run; all of them where nothing is searched."""
    wanted = _folded(search.strip())
    return tuple(clip for clip in run.clips if _matches(clip, wanted, emotion))


def _read(folder: "os.DirEntry[str]", before: Read | None) -> Read | None:
    """The run as it is now; what was read `before` if it has not changed, None if the name is not that of a run."""
    time = before.time if before is not None else run_time(folder.name)
    if time is None:
        return None
    if before is not None:
        is_batch = before.run is not None and before.run.is_batch
        if before.stamp == stamp_of(folder, is_batch):
            return before
    return read_run(folder, time, before)


def _matches(clip: ClipEntry, wanted: str, emotion: str) -> bool:
    return (not emotion or clip.emotion == emotion) and wanted in _folded(clip.file)


def _folded(text: str) -> str:
    """Without regard to case, and to the two ways to write an umlaut: macOS takes file names apart."""
    return unicodedata.normalize("NFC", text).casefold()
