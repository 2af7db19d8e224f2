"""The tensors of a converted file where they lie on disk, without PyTorch: mapped, read when used, forgotten."""

import json
import math
import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class MappedTensors:
    """Tensors of a safetensors file by name, float32 views into a mapping of the file.

    The header was checked when the checkpoint was found; offsets are checked again here, since a view must never
    reach beyond the file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # Copy-on-write, since some users of an array insist on one that can be written to; nobody writes.
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        header_bytes = int.from_bytes(self._mapping[:8], "little")
        self._start = 8 + header_bytes
        if self._start > len(self._mapping):
            raise ValueError(f"{path.name} is cut off")
        self._entries = json.loads(self._mapping[8 : self._start])
        self._read_bytes = 0

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        entry = self._entries[name]
        first, last = entry["data_offsets"]
        shape = tuple(entry["shape"])
        count = math.prod(shape)
        lies_inside = 0 <= first <= last <= len(self._mapping) - self._start
        if entry["dtype"] != "F32" or last - first != 4 * count or not lies_inside:
            raise ValueError(f"{name} is no tensor of float32")
        self._read_bytes += last - first
        return np.frombuffer(self._mapping, np.float32, count, self._start + first).reshape(shape)

    def forget(self, beyond_bytes: int = 0) -> None:
        """Let the system take back the memory of all that was read; it is read again when needed.

        Does nothing before `beyond_bytes` were asked for since the last time.
        """
        if self._read_bytes >= beyond_bytes and hasattr(self._mapping, "madvise"):  # Windows has none
            self._mapping.madvise(mmap.MADV_DONTNEED)
            self._read_bytes = 0
