"""One private folder for everything that a server and its libraries put aside, which goes with the server.

A server that was killed cannot clean up, so the next start of the same user does: what its lock no longer holds.
"""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"
# Between making a folder and locking it a start takes less than this.
_UNLOCKED_S = 600.0


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder (0700) that `tempfile` and Gradio use as long as the context lasts; deletes those of dead servers."""
    parent, uploads, user = Path(tempfile.gettempdir()), os.environ.get("GRADIO_TEMP_DIR"), _user()
    _sweep(parent, user)
    folder = parent / f"emotion2vec-studio-{user}-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    lock = _locked(folder / _LOCK, os.O_CREAT | os.O_RDWR)
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    # Elsewhere all users of a machine would share one folder, which belongs to whoever came first.
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        os.environ.pop("GRADIO_TEMP_DIR") if uploads is None else os.environ.update(GRADIO_TEMP_DIR=uploads)
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _sweep(parent: Path, user: int) -> None:
    """Delete the folders of this user whose servers are gone."""
    for folder in parent.glob(f"emotion2vec-studio-{user}-*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != user or _is_held(folder):
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    try:
        lock = _locked(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:  # it is just being made, or was half deleted
        return time.time() - folder.stat().st_mtime < _UNLOCKED_S
    if lock is None:
        return True
    os.close(lock)
    return False


def _locked(path: Path, flags: int) -> int | None:
    """The descriptor that holds the lock of a file until it is closed; None where another has it, or none can be."""
    descriptor = os.open(path, flags, 0o600)
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
    os.close(descriptor)
    return None


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
