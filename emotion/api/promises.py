"""What clients were promised with 202, on the disk: a server that starts again goes on where the one before it ended.

Each server holds one folder below `.jobs` among the outputs. What is left in the folders of servers that are gone, by
order or by a crash, is taken over by the next one that starts.
"""

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, ValidationError

from emotion.access import Client
from emotion.api.answers import Answer
from emotion.api.bodies import Upload
from emotion.api.wishes import Wish
from emotion.errors import EmotionError, Unexpected, error_of
from emotion.logs.request_context import NO_REQUEST
from emotion.outputs.folders import disk_errors

FOLDER = ".jobs"
MOST_SERVERS = 64
# What is begun a second time has no other promised one beside it: if that ends the server too, it is likely the cause.
MOST_BEGINNINGS = 2
_LOG = logging.getLogger(__name__)
_PROMISE, _RECORDING, _RECORD, _FILES = "job.json", "recording", "record.json", "files"


class Outcome(BaseModel):
    """How a promised job ended: with the answer that lies beside it, or with an error; `ended` is in s since 1970."""

    ended: float
    cached: bool = False
    duration_s: float = 0.0
    timings_ms: dict[str, float] = {}
    code: str = ""
    message: str = ""

    @property
    def error(self) -> EmotionError | None:
        return error_of(self.code, self.message) if self.code else None


class Promise(BaseModel):
    """One recording that a client was told to come back for, by the request of this id."""

    identity: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    client: Client
    name: str
    wish: Wish
    created: str
    path: str
    request_id: str = NO_REQUEST
    beginnings: int = 1
    outcome: Outcome | None = None


class Promises:
    """Keeps promises below a folder of outputs; for all threads, every method may take as long as a disk does.

    Raises DiskFull and FolderNotWritable.
    """

    def __init__(self, outputs: Path) -> None:
        self._root = outputs / FOLDER
        self._claiming = threading.Lock()
        self._home: Path | None = None
        self._held: list[FileLock] = []

    def restore(self) -> list[Promise]:
        """What earlier servers left, from now on kept here: what is over in the order of its end, then the rest, what
        was begun most often last.
        """
        if not self._root.is_dir():
            return []
        home = self._own_folder()
        for folder in self._folders():
            lock = _lock(folder)
            if lock is not None:
                for left in folder.glob(f"*/{_PROMISE}"):
                    left.parent.replace(home / left.parent.name)
                lock.release()
        for unwritten in home.iterdir():
            if unwritten.is_dir() and not (unwritten / _PROMISE).exists():
                shutil.rmtree(unwritten, ignore_errors=True)
        return sorted(self._readable(home), key=_in_order)

    def keep(self, promise: Promise, upload: Upload) -> None:
        """Write a promise down, with the recording that it is about."""
        folder = self.room(promise.identity)
        try:
            with disk_errors(folder, 0):
                if isinstance(upload.source, bytes):
                    (folder / _RECORDING).write_bytes(upload.source)
                else:
                    _link_or_copy(upload.source, folder / _RECORDING)
                _write(folder, promise)
        except EmotionError:  # half a recording would only take the room that is missing
            self.drop(promise.identity)
            raise

    def recording(self, identity: str) -> Path:
        return self._folder(identity) / _RECORDING

    def room(self, identity: str) -> Path:
        """The folder of a promise, for what belongs to its answer."""
        folder = self._own_folder() / identity
        with disk_errors(folder, 0):
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def begin(self, promise: Promise) -> bool:
        """Note that it is begun once more; False when it was begun so often that it is not to be tried again."""
        if promise.beginnings >= MOST_BEGINNINGS:
            return False
        self._note(promise.identity, beginnings=promise.beginnings + 1)
        return True

    def fulfil(self, identity: str, answer: Answer) -> Answer:
        """Keep the answer instead of the recording, and give it with its files where they lie from now on."""
        folder = self._folder(identity)
        with disk_errors(folder, answer.size_bytes):
            if isinstance(answer.record, bytes):
                (folder / _RECORD).write_bytes(answer.record)
            else:
                shutil.move(answer.record, folder / _RECORD)
            (folder / _FILES).mkdir(exist_ok=True)
            for name, path in answer.files.items():
                shutil.move(path, folder / _FILES / name)
            if answer.folder is not None:
                shutil.rmtree(answer.folder, ignore_errors=True)
            outcome = Outcome(
                ended=time.time(), cached=answer.cached, duration_s=answer.duration_s, timings_ms=answer.timings_ms
            )
            self._end(folder, outcome)
        return self.answer(identity, outcome)

    def fail(self, identity: str, error: Exception) -> None:
        """Keep instead of the recording why there is no answer."""
        told = error if isinstance(error, EmotionError) else Unexpected()
        self._end(self._folder(identity), Outcome(ended=time.time(), code=told.code, message=told.message))

    def answer(self, identity: str, outcome: Outcome) -> Answer:
        """The answer that was kept; raises OSError where somebody took its files away."""
        folder = self._folder(identity)
        files = {path.name: path for path in sorted((folder / _FILES).iterdir())}
        size_bytes = sum(path.stat().st_size for path in (*files.values(), folder / _RECORD))
        return Answer(
            folder / _RECORD, outcome.cached, outcome.duration_s, outcome.timings_ms, files, folder, size_bytes
        )

    def drop(self, identity: str) -> None:
        """Delete all that is kept of a promise; nothing if there is none."""
        if self._home is not None:
            shutil.rmtree(self._home / identity, ignore_errors=True)

    def close(self) -> None:
        """Leave what is kept to the next server; this end was none of its fault."""
        if self._home is not None:
            for promise in self._readable(self._home):
                if promise.outcome is None:
                    with contextlib.suppress(EmotionError):  # it only counts one beginning too many
                        self._note(promise.identity, beginnings=0)
        for lock in self._held:
            lock.release()

    def _own_folder(self) -> Path:
        with self._claiming:
            if self._home is None:
                self._home = self._claim()
            return self._home

    def _claim(self) -> Path:
        """The first folder that no server holds."""
        with disk_errors(self._root, 0):
            for number in range(MOST_SERVERS):
                folder = self._root / f"server-{number}"
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock = _lock(folder)
                if lock is not None:
                    self._held.append(lock)
                    return folder
            raise OSError(f"{MOST_SERVERS} servers hold folders of jobs")

    def _folders(self) -> Iterator[Path]:
        """Those of other servers."""
        return (folder for folder in sorted(self._root.glob("server-*")) if folder != self._home and folder.is_dir())

    def _folder(self, identity: str) -> Path:
        return self._own_folder() / identity

    def _readable(self, home: Path) -> Iterator[Promise]:
        for file in home.glob(f"*/{_PROMISE}"):
            try:
                promise = Promise.model_validate_json(file.read_bytes())
            except OSError as error:  # it may be there again at the next start
                _LOG.warning("a job that an earlier server left cannot be read (%s)", error.strerror)
                continue
            except ValidationError:
                promise = None
            if promise is not None and promise.identity == file.parent.name:
                yield promise
            else:
                _LOG.warning("a job that an earlier server left cannot be understood; it is deleted")
                shutil.rmtree(file.parent, ignore_errors=True)

    def _end(self, folder: Path, outcome: Outcome) -> None:
        self._note(folder.name, outcome=outcome)
        (folder / _RECORDING).unlink(missing_ok=True)

    def _note(self, identity: str, **changes: object) -> None:
        folder = self._folder(identity)
        with disk_errors(folder, 0):
            before = Promise.model_validate_json((folder / _PROMISE).read_bytes())
            _write(folder, before.model_copy(update=changes))


def _in_order(promise: Promise) -> tuple[bool, float, str]:
    if promise.outcome is not None:
        return (False, promise.outcome.ended, "")
    return (True, promise.beginnings, promise.created)


def _write(folder: Path, promise: Promise) -> None:
    """At once or not at all."""
    new = folder / f"{_PROMISE}.new"
    new.write_text(promise.model_dump_json(), encoding="utf-8")
    new.replace(folder / _PROMISE)


def _lock(folder: Path) -> FileLock | None:
    """The lock of a server's folder, None while another holds it; it ends with the process at the latest."""
    lock = FileLock(folder / "lock", blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another disk, or one without links
        shutil.copyfile(source, target)
