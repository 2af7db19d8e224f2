"""The place of the results, on this machine or in an object store: files that appear whole."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import filelock

from emotion.bulk.errors import PlaceRefused, ResultsInUse, ResultsUnwritable
from emotion.bulk.storage import WEB, is_local, name_of, protocol_of, storage
from emotion.errors import EmotionError

# Names that begin so are no results: pandas, pyarrow and duckdb ignore them when they read the folder.
_ASIDE = "_aside-"
_LOCK = "_lock"


@contextmanager
def unwritable(name: str, kind: type[Exception] = OSError) -> Iterator[None]:
    """Raise ResultsUnwritable for errors of this kind at the place of the results that is called so."""
    try:
        yield
    except EmotionError:
        raise
    except kind as error:
        raise ResultsUnwritable(name, getattr(error, "strerror", None) or type(error).__name__) from error


class Store:
    """A folder of this machine or one that many machines see, or a prefix of an object store; can be sent to others.

    Raises PlaceRefused for the web, later ResultsUnwritable.
    """

    def __init__(self, place: str) -> None:
        if protocol_of(place) in WEB:
            raise PlaceRefused("Results cannot be written to the web. Use a folder or an object store.")
        self.name, self._folder = name_of(place), Path(place) if is_local(place) else None
        self._system, self._root = storage(place)

    def names(self) -> list[str]:
        with self._errors():
            try:
                found = self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def has(self, name: str) -> bool:
        with self._errors():
            return bool(self._system.exists(self._path(name)))

    def read_file(self, name: str) -> bytes | None:
        """The content of a small file, None where there is none."""
        with self._errors():
            try:
                return cast(bytes, self._system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def open_file(self, name: str) -> BinaryIO:
        with self._errors():
            return cast(BinaryIO, self._system.open(self._path(name), "rb"))

    def aside(self) -> Path:
        """A new path of this machine to write to, before `publish_file`."""
        if self._folder is None:
            return Path(tempfile.mkdtemp(prefix="emotion-")) / "part"
        with self._errors():
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{_ASIDE}{secrets.token_hex(8)}"

    def publish_file(self, aside: Path, name: str) -> None:
        """Make a file one of the results, at once and whole; one of the same name is replaced."""
        with self._errors():
            if self._folder is None:  # one request: there whole or not at all
                self._system.put_file(str(aside), self._path(name))
                shutil.rmtree(aside.parent, ignore_errors=True)
                return
            # To the disk first: after a power failure a name without its content would be a damaged part.
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(self._folder / name)

    def delete_file(self, name: str) -> None:
        with self._errors(), suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises ResultsInUse if another command of this machine writes here. What a kill left aside is deleted.

        Object stores lock nothing; the others notice at their next part which command began last.
        """
        if self._folder is None:
            yield
            return
        lock = filelock.FileLock(self._folder / _LOCK, timeout=0)
        with self._errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except filelock.Timeout:
                raise ResultsInUse(self.name) from None
        try:
            for name in self.names():
                if name.startswith(_ASIDE):
                    self.delete_file(name)
            yield
        finally:
            lock.release()

    def _errors(self) -> AbstractContextManager[None]:
        return unwritable(self.name, OSError if self._folder else Exception)  # every storage has its own

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"
