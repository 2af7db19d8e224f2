"""A part of the results: rows that become one Parquet file, which appears whole or not at all."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
from pyarrow import compute, parquet

from emotion.bulk.errors import PartDamaged
from emotion.bulk.rows import Row
from emotion.bulk.store import Store, unwritable

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
    """Writes rows into a file beside the results; `close` makes it complete. Raises ResultsUnwritable."""

    def __init__(self, store: Store, schema: pyarrow.Schema) -> None:
        self._store_name, self._schema = store.name, schema
        self.path, self.sum = store.aside(), Sum()
        with unwritable(store.name):
            self._file = parquet.ParquetWriter(self.path, schema, compression="zstd")
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

    def add_row(self, row: Row) -> None:
        self._rows.append(row)
        self._paths.append(row["path"])
        self.sum = self.sum.with_row(row)
        self._held_bytes += _ROW_BYTES + sum(getattr(value, "nbytes", 0) for value in row.values())
        if len(self._rows) >= _GROUP_ROWS or self._held_bytes > _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and how much it is in all."""
        self._flush()
        with unwritable(self._store_name):
            self._file.add_key_value_metadata(_metadata(self.sum))
            self._file.close()

    def _flush(self) -> None:
        # Taken first: whatever interrupts the writing, no row is written twice.
        rows, self._rows, self._held_bytes = self._rows, [], 0
        with unwritable(self._store_name):
            if rows:
                self._file.write_table(pyarrow.Table.from_pylist(rows, self._schema))


def read_sum(file: BinaryIO, name: str) -> Sum:
    """What a part holds, from its last bytes; raises PartDamaged."""
    with _damage_of(name):
        found: dict[bytes, Any] = parquet.ParquetFile(file).metadata.metadata or {}
        return Sum(int(found[b"rows"]), int(found[b"failed"]), float(found[b"sound_s"]))


def read_paths(file: BinaryIO, name: str) -> list[str]:
    """The recordings of a part; reads no other column. Raises PartDamaged."""
    with _damage_of(name):
        paths: list[str] = parquet.ParquetFile(file).read(columns=["path"]).column(0).to_pylist()
    return paths


def write_without_failures(file: BinaryIO, name: str, target: Path) -> bool:
    """Write a part again without the recordings that failed; False, and nothing written, if no other is in it."""
    with _damage_of(name):
        table = parquet.ParquetFile(file).read()
    succeeded = table.filter(compute.is_null(table.column("error_code")))
    if not len(succeeded):
        return False
    total = Sum(len(succeeded), 0, float(compute.sum(succeeded.column("duration_s")).as_py() or 0.0))
    with parquet.ParquetWriter(target, table.schema, compression="zstd") as writer:
        writer.write_table(succeeded)
        writer.add_key_value_metadata(_metadata(total))
    return True


def _metadata(total: Sum) -> dict[str, str]:
    return {key: str(value) for key, value in vars(total).items()}


@contextmanager
def _damage_of(name: str) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError, KeyError, ValueError):
        raise PartDamaged(name) from None
