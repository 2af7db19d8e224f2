"""The folder of results: files that appear whole, on this machine or in an object store."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from emotion.bulk.errors import PlaceRefused, ResultsInUse, ResultsUnwritable
from emotion.bulk.storage import WEB, is_local, name_of, protocol_of, storage
from emotion.errors import EmotionError

# Names that begin so are no results: pandas, pyarrow and duckdb pass them over when they read the folder.
_ASIDE = "_aside-"
_LOCK = "_lock"


class Store(Protocol):
    """What results need of the place that they are in."""

    def names(self) -> list[str]: ...

    def read(self, name: str) -> bytes | None:
        """The content of a small file, None where there is none."""
        ...

    def open(self, name: str) -> BinaryIO: ...

    def aside(self) -> Path:
        """A new path of this machine to write to, before `publish`."""
        ...

    def publish(self, aside: Path, name: str) -> None:
        """Make a file one of the results, at once and whole; one of the same name is replaced."""
        ...

    def remove(self, name: str) -> None: ...

    def held(self) -> AbstractContextManager[None]:
        """Keep others from writing here, as far as the place allows it."""
        ...


def open_store(place: str) -> Store:
    """The store at a path or URL; raises PlaceRefused for the web."""
    if is_local(place):
        return LocalStore(Path(place))
    if protocol_of(place) in WEB:
        raise PlaceRefused("Results cannot be written to the web. Use a folder or an object store.")
    return RemoteStore(place)


class LocalStore:
    """A folder of this machine, or one that many machines see."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        with self._sayable():
            return sorted(os.listdir(self._folder)) if self._folder.is_dir() else []  # noqa: PTH208 - names only

    def read(self, name: str) -> bytes | None:
        with self._sayable():
            path = self._folder / name
            return path.read_bytes() if path.is_file() else None

    def open(self, name: str) -> BinaryIO:
        with self._sayable():
            return (self._folder / name).open("rb")

    def aside(self) -> Path:
        with self._sayable():
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{_ASIDE}{secrets.token_hex(8)}"

    def publish(self, aside: Path, name: str) -> None:
        with self._sayable():
            # To the disk first: after a power failure a name without its content would be a damaged part.
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(self._folder / name)

    def remove(self, name: str) -> None:
        with self._sayable():
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises ResultsInUse if another command of this machine writes here. What a kill left aside goes."""
        import filelock

        with self._sayable():
            self._folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._folder / _LOCK, timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise ResultsInUse(self._folder.name) from None
        except OSError as error:
            raise ResultsUnwritable(self._folder.name, error.strerror or "unknown") from None
        try:
            for name in self.names():
                if name.startswith(_ASIDE):
                    self.remove(name)
            yield
        finally:
            lock.release()

    @contextmanager
    def _sayable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResultsUnwritable(self._folder.name, error.strerror or "unknown") from error


class RemoteStore:
    """A prefix of an object store: a file is put there in one request, and is there whole or not at all."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._system, self._root = storage(place)

    def __reduce__(self) -> tuple[type["RemoteStore"], tuple[str]]:
        return RemoteStore, (self._place,)

    def names(self) -> list[str]:
        with self._sayable():
            try:
                found = self._system.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def read(self, name: str) -> bytes | None:
        with self._sayable():
            try:
                return cast(bytes, self._system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> BinaryIO:
        with self._sayable():
            return cast(BinaryIO, self._system.open(self._path(name), "rb"))

    def aside(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="emotion-")) / "part"

    def publish(self, aside: Path, name: str) -> None:
        with self._sayable():
            self._system.put_file(str(aside), self._path(name))
        shutil.rmtree(aside.parent, ignore_errors=True)

    def remove(self, name: str) -> None:
        with self._sayable():
            self._system.rm_file(self._path(name))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Object stores lock nothing; whoever begins last is found out by the others at their next part."""
        yield

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @contextmanager
    def _sayable(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, EmotionError):
            raise
        except Exception as error:  # every storage has its own
            raise ResultsUnwritable(name_of(self._place), type(error).__name__) from error
