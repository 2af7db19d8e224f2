"""Arrays that lie in a file: what was read or written of them need not stay in memory."""

import errno
import mmap
import os
import tempfile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion.errors import DiskFull

# 128 MB: ten minutes of the large model's embeddings.
_HELD_NUMBERS = 32_000_000
_ZEROS = bytes(1 << 20)
_NUMBER_BYTES = 4
# EFBIG: more than the file system or the user's limit lets one file have.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def empty_array(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A float32 array to be filled: in memory up to 128 MB, beyond it in a temporary file without a name.

    Three hours of frame embeddings of the large model take 2.2 GB, which the system can then move out of memory.
    Raises DiskFull where the temporary folder has no room for all of it.
    """
    numbers = prod(shape)
    if numbers <= _HELD_NUMBERS:
        return np.empty(shape, np.float32)
    try:
        with tempfile.TemporaryFile(buffering=0) as file:  # the mapping keeps it alive, and ends it with the array
            _reserve_blocks(file.fileno(), numbers * _NUMBER_BYTES)
            return np.memmap(file, np.float32, mode="r+", shape=shape)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(numbers * _NUMBER_BYTES) from error
        raise


def _reserve_blocks(file: int, size_bytes: int) -> None:
    """Give a file its size and all its blocks: writing to a mapped hole on a full disk ends the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file, 0, size_bytes)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # what file systems say that cannot do it
                raise
        else:
            return
    left = size_bytes
    while left:
        left -= os.write(file, _ZEROS[:left])


def forget_rows(array: np.ndarray[Any, Any], start: int = 0, stop: int | None = None) -> None:
    """Let the system take back the memory of rows [start, stop) of a mapped array; they are read again when needed.

    For whoever walks through a long array: without it all that was touched stays. Views remain good. Does nothing
    for an array that is held in memory, nor where the system has no such call.
    """
    mapping = array.base
    if not isinstance(mapping, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED") or not len(array):
        return
    # From whole page to whole page; a neighbour that goes too costs one more read.
    row_bytes = array.nbytes // len(array)
    first = max(start, 0) * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
    last = len(mapping) if stop is None else min(stop * row_bytes, len(mapping))
    if first < last:
        mapping.madvise(mmap.MADV_DONTNEED, first, last - first)
