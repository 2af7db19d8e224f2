"""A part of the results: rows that become one Parquet file, which appears whole or not at all."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
from pyarrow import parquet

from emotion.bulk.errors import PartDamaged
from emotion.bulk.rows import Row

SUFFIX = ".parquet"
_PREFIX = "part-"
_NAME_DIGITS = 20
# Rows wait in memory up to so much; frames of a long recording are large.
_GROUP_ROWS = 1_000
_GROUP_BYTES = 16_000_000
_ROW_BYTES = 500


def part_name(paths: Iterable[str]) -> str:
    """The name of the part that holds these recordings: the same whoever makes it, in whatever order."""
    content = "\0".join(sorted(paths)).encode("utf-8", "surrogateescape")
    return f"{_PREFIX}{sha256(content).hexdigest()[:_NAME_DIGITS]}{SUFFIX}"


def is_part(name: str) -> bool:
    return name.startswith(_PREFIX) and name.endswith(SUFFIX)


@dataclass(frozen=True)
class Sum:
    """What a part, or many, hold."""

    rows: int = 0
    failed: int = 0
    sound_s: float = 0.0

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.rows + other.rows, self.failed + other.failed, self.sound_s + other.sound_s)

    def with_row(self, row: Row) -> "Sum":
        return self + Sum(1, int("error_code" in row), float(row.get("duration_s") or 0.0))


class PartWriter:
    """Writes rows into a file that is not yet one of the results; `close` makes it complete.

    Raises OSError where the disk is full.
    """

    def __init__(self, path: Path, schema: pyarrow.Schema) -> None:
        self.path = path
        self.sum = Sum()
        self._file = parquet.ParquetWriter(path, schema, compression="zstd")
        self._schema = schema
        self._rows: list[Row] = []
        self._held_bytes = 0
        self._paths: list[str] = []
        self._began_s = time.monotonic()

    @property
    def age_s(self) -> float:
        """How long ago it was begun, with its first row."""
        return time.monotonic() - self._began_s

    @property
    def name(self) -> str:
        """What it will be called among the results."""
        return part_name(self._paths)

    def add(self, row: Row) -> None:
        self._rows.append(row)
        self._paths.append(row["path"])
        self.sum = self.sum.with_row(row)
        self._held_bytes += _ROW_BYTES + sum(getattr(value, "nbytes", 0) for value in row.values())
        if len(self._rows) >= _GROUP_ROWS or self._held_bytes > _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and how much it is in all."""
        self._flush()
        self._file.add_key_value_metadata({key: str(value) for key, value in vars(self.sum).items()})
        self._file.close()

    def _flush(self) -> None:
        # Taken first: whatever interrupts the writing, no row is written twice.
        rows, self._rows, self._held_bytes = self._rows, [], 0
        if rows:
            self._file.write_table(pyarrow.Table.from_pylist(rows, self._schema))


def read_sum(file: BinaryIO, name: str) -> Sum:
    """What a part holds, from its last bytes; raises PartDamaged."""
    try:
        found: dict[bytes, Any] = parquet.ParquetFile(file).metadata.metadata or {}
        return Sum(int(found[b"rows"]), int(found[b"failed"]), float(found[b"sound_s"]))
    except (pyarrow.ArrowException, OSError, KeyError, ValueError):
        raise PartDamaged(name) from None


def read_paths(file: BinaryIO, name: str) -> list[str]:
    """The recordings of a part; reads no other column. Raises PartDamaged."""
    try:
        paths: list[str] = parquet.ParquetFile(file).read(columns=["path"]).column(0).to_pylist()
    except (pyarrow.ArrowException, OSError):
        raise PartDamaged(name) from None
    return paths


def write_without_failures(file: BinaryIO, name: str, target: Path) -> bool:
    """Write a part again without the recordings that failed; False, and nothing written, if no other is in it."""
    from pyarrow import compute

    try:
        table = parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError):
        raise PartDamaged(name) from None
    kept = table.filter(compute.is_null(table.column("error_code")))
    if not len(kept):
        return False
    total = Sum(len(kept), 0, float(compute.sum(kept.column("duration_s")).as_py() or 0.0))
    with parquet.ParquetWriter(target, table.schema, compression="zstd") as writer:
        writer.write_table(kept)
        writer.add_key_value_metadata({key: str(value) for key, value in vars(total).items()})
    return True
