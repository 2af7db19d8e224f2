"""Arrays that lie in a file: what was read or written of them need not stay in memory."""

import mmap
from typing import Any

import numpy as np


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
