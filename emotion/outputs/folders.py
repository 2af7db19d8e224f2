"""Folders that appear whole or not at all: written hidden, pushed to the disk, then renamed."""

import contextlib
import errno
import functools
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from emotion.errors import DiskFull, FolderNotWritable

PARTIAL_PREFIX = ".partial-"
STALE_AFTER_S = 24 * 3600.0
# EFBIG: more than the file system or the user's limit lets one file have; another disk is the cure too.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})


@contextlib.contextmanager
def disk_errors(folder: Path, needed_bytes: int) -> Iterator[None]:
    """Turns what the disk refuses into DiskFull or FolderNotWritable."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(needed_bytes) from error
        raise FolderNotWritable(folder.name, error.strerror or type(error).__name__) from error


@contextlib.contextmanager
def partial_folder(outputs: Path, needed_bytes: int) -> Iterator[Path]:
    """A hidden folder among the runs, to be filled and published; it is gone when the block fails.

    Raises DiskFull or FolderNotWritable.
    """
    partial = outputs / hidden_name()
    with disk_errors(outputs, needed_bytes):
        try:
            partial.mkdir(parents=True)
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def hidden_name() -> str:
    """A name for what is not there yet, or not there any more; after a day `remove_stale` clears it away."""
    return f"{PARTIAL_PREFIX}{secrets.token_hex(8)}"


def publish(partial: Path, home: Path, names: Iterator[str]) -> Path:
    """Move a filled folder to the first free of these names in `home`.

    The rename itself decides, so two processes never get one name: it fails on a folder that holds anything.
    """
    while True:
        try:
            return partial.rename(home / next(names))
        except OSError as error:
            if error.errno not in _TAKEN or not home.is_dir():
                raise


def push_to_disk(paths: Iterable[Path]) -> None:
    """Wait until the content of these files would survive a loss of power."""
    # Without it a rename may reach the disk before the bytes do. The file system joins pushes that wait together into
    # one: 4 ms for all files of a clip on a busy disk, instead of 4 ms each.
    files = list(paths)
    with ThreadPoolExecutor(len(files), thread_name_prefix="push") as pool:
        for _ in pool.map(_push_one, files):
            pass


@functools.cache
def remove_stale_once(outputs: Path) -> None:
    """`remove_stale`, the first time this process writes to these outputs: listing thousands of runs takes a while."""
    remove_stale(outputs, time.time())


def remove_stale(outputs: Path, now_s: float) -> None:
    """Delete what a crash left behind: hidden partial folders older than a day."""
    for partial in outputs.glob(f"{PARTIAL_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process may be cleaning too
            if now_s - partial.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(partial, ignore_errors=True)


def _push_one(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())
