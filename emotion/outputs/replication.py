"""Writes finished runs to a second place too: another folder, or an object store, whatever fsspec reaches."""

import logging
import posixpath
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emotion.errors import SettingsInvalid
from emotion.outputs.folders import hidden_name
from emotion.outputs.names import numbered

_LOG = logging.getLogger(__name__)
_WAITS_S = (1.0, 5.0, 25.0)
_CLOSING_S = 30.0
# Where a store cannot rename, this file goes last: a run is whole when it is there.
_LAST = ("result.json", "summary.csv")
_RENAMES = frozenset({"file", "local"})

_MIRRORS: list["RunReplicator"] = []


class RunReplicator:
    """Copies each run that is finished below `outputs` to `url`, on a thread of its own, under the same name.

    The copy is there whole or not at all: renamed into place on a file system; on an object store result.json, or
    summary.csv of a batch, comes last. A store that fails is tried again, and at last costs a line in the log; the run
    itself is not touched. What is deleted from `outputs` stays at `url`. Raises SettingsInvalid for an `url` that
    fsspec cannot open. `waits_s` are the pauses before it is tried again.
    """

    def __init__(self, outputs: Path, url: str, waits_s: tuple[float, ...] = _WAITS_S) -> None:
        self._outputs, self._waits_s = outputs.resolve(), waits_s
        self._store, self._root = _opened(url)
        self._finished: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()
        _MIRRORS.append(self)

    def take(self, folder: Path) -> None:
        """Copy this run when its turn comes, if it lies below the outputs and in no hidden folder.

        Hidden are the files of API jobs, which belong to one client and are deleted after a while.
        """
        folder = folder.resolve()
        if folder.is_relative_to(self._outputs) and not _is_hidden(folder.relative_to(self._outputs)):
            self._finished.put(folder)

    def close(self, patience_s: float = _CLOSING_S) -> None:
        """Finish what waits, within so many seconds, and take no more."""
        if self in _MIRRORS:
            _MIRRORS.remove(self)
        self._finished.put(None)
        self._thread.join(patience_s)
        self._closing.set()
        if self._thread.is_alive():
            _LOG.warning("the second place of results was too slow: runs are missing there")

    def _work(self) -> None:
        while (folder := self._finished.get()) is not None:
            for wait_s in (*self._waits_s, None):
                if self._try(folder, last=wait_s is None) or wait_s is None or self._closing.wait(wait_s):
                    break

    def _try(self, folder: Path, last: bool) -> bool:
        """Whether the run is there, or never will be."""
        if not folder.is_dir():  # deleted since
            return True
        try:
            self._copy(folder)
        except Exception as error:  # every store has a family of errors of its own
            said = "and is given up" if last else "and will be tried again"
            _LOG.warning("a run could not be copied to results_url (%s), %s", type(error).__name__, said)
            return False
        return True

    def _copy(self, folder: Path) -> None:
        parent = posixpath.join(self._root, *folder.relative_to(self._outputs).parts[:-1])
        if not self._renames:
            self._put(folder, self._free_name(parent, folder.name))
            return
        aside = posixpath.join(parent, hidden_name())
        try:
            self._put(folder, aside)
            self._store.mv(aside, self._free_name(parent, folder.name), recursive=True)
        except BaseException:
            if self._store.exists(aside):
                self._store.rm(aside, recursive=True)
            raise

    @property
    def _renames(self) -> bool:
        protocol = self._store.protocol
        return bool(_RENAMES & set((protocol,) if isinstance(protocol, str) else protocol))

    def _free_name(self, parent: str, name: str) -> str:
        """Another machine may have had a run in the same second."""
        paths = (posixpath.join(parent, free) for free in numbered(name))
        return next(path for path in paths if not self._store.exists(path))

    def _put(self, folder: Path, target: str) -> None:
        for path in _in_order(folder):
            place = posixpath.join(target, *path.relative_to(folder).parts)
            self._store.makedirs(posixpath.dirname(place), exist_ok=True)
            self._store.put_file(str(path), place)


def run_finished(folder: Path) -> None:
    """To be called with the folder of every run that is complete."""
    for mirror in tuple(_MIRRORS):
        mirror.take(folder)


def replicator_of(outputs: Path, url: str) -> Callable[[], None]:
    """Begin to copy runs to `url` if there is one; what comes back ends it."""
    return RunReplicator(outputs, url).close if url else lambda: None


def _opened(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        # Not the address itself: it may hold a password.
        raise SettingsInvalid(
            "The setting 'results_url' cannot be used: it is a path or an address like s3://bucket/outputs, and some "
            "stores need a package of their own (s3fs, gcsfs, adlfs).",
            key="results_url",
        ) from error
    return store, str(root).rstrip("/")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _in_order(folder: Path) -> Iterator[Path]:
    """The files of a run, the ones that say that it is whole at the end."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    last = [path for path in files if path.parent == folder and path.name in _LAST]
    yield from (path for path in files if path not in last)
    yield from last
