"""Whether a run is being written: a lock that other processes see and that ends with the process that holds it."""

import contextlib
import os
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What this process writes. All there is where the system or the file system has no locks: Windows, some network disks.
_HELD_HERE: set[tuple[int, int]] = set()


class WriteLock:
    """Says that the folder of this file is being written, from now until `release` or the end of the process.

    It belongs to the file and not to its name, so the folder may be renamed. Nobody is kept from anything: whoever
    deletes asks `is_locked` first.
    """

    def __init__(self, file: Path) -> None:
        identity = _identity(file)
        self.release = weakref.finalize(self, _let_go, identity, _take_lock(file))
        _HELD_HERE.add(identity)


def is_locked(file: Path) -> bool:
    """Whether this or another process holds the lock of the file; a file that is not there has none."""
    try:
        return _identity(file) in _HELD_HERE or _is_locked_elsewhere(file)
    except OSError:
        return False


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def _take_lock(file: Path) -> int | None:
    """The descriptor that holds the lock; the system gives the lock up when it closes, at the latest in a crash."""
    if fcntl is None:
        return None
    # A descriptor and no file object: it lives as long as the lock, which nobody need release.
    descriptor = os.open(file, os.O_RDWR)
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _let_go(identity: tuple[int, int], descriptor: int | None) -> None:
    _HELD_HERE.discard(identity)
    if descriptor is not None:
        os.close(descriptor)


def _is_locked_elsewhere(file: Path) -> bool:
    if fcntl is None:
        return False
    descriptor = os.open(file, os.O_RDONLY)
    try:
        # Shared, so that two who ask at once do not take each other for a writer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
