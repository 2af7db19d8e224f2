"""Lists of recordings, read as a stream: CSV, TSV, JSON lines (as NeMo has them), plain lines, Parquet."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

from emotion.bulk.errors import ManifestInvalid, SourceMissing
from emotion.bulk.storage import WEB, beside, fetch, is_local, name_of, protocol_of, storage
from emotion.errors import EmotionError

# The first of these that a manifest has names the recordings.
COLUMNS = ("path", "file", "url", "audio_filepath")
_JSON_LINES = frozenset({".jsonl", ".ndjson", ".json"})
SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".parquet"}) | _JSON_LINES
_MAX_WEB_BYTES = 1_000_000_000
_BATCH_ROWS = 10_000


def is_manifest(place: str) -> bool:
    """Whether the name says that this is a list of recordings."""
    return Path(name_of(place)).suffix.lower() in SUFFIXES


def entries_of(manifest: str) -> Iterator[tuple[str, str]]:
    """Each line's own word and the place that it names; raises ManifestInvalid or SourceMissing."""
    name = name_of(manifest)
    suffix = Path(name).suffix.lower()
    with closing(_open(manifest)) as file:
        lines = _parquet_rows(file, name) if suffix == ".parquet" else _text_lines(file, name, suffix)
        try:
            for number, entry in lines:
                if not entry:
                    raise ManifestInvalid(name, f"line {number} names no recording")
                yield entry, beside(manifest, entry)
        except UnicodeDecodeError:
            raise ManifestInvalid(name, "it is not text in UTF-8") from None


def _open(manifest: str) -> BinaryIO:
    try:
        if is_local(manifest):
            return Path(manifest).open("rb")
        if protocol_of(manifest) in WEB:
            return io.BytesIO(fetch(manifest, _MAX_WEB_BYTES))
        system, path = storage(manifest)
        return cast(BinaryIO, system.open(path, "rb"))
    except EmotionError:
        raise
    except Exception:  # every storage has its own
        raise SourceMissing(name_of(manifest)) from None


def _text_lines(file: BinaryIO, name: str, suffix: str) -> Iterator[tuple[int, str]]:
    """The number of each line, and how it names its recording."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        if suffix in (".csv", ".tsv"):
            yield from _csv_rows(text, name, "\t" if suffix == ".tsv" else ",")
            return
        for number, line in enumerate(text, 1):
            if line.strip():
                yield number, _json_entry(line, number, name) if suffix in _JSON_LINES else line.strip()


def _csv_rows(text: io.TextIOWrapper, name: str, delimiter: str) -> Iterator[tuple[int, str]]:
    rows = csv.reader(text, delimiter=delimiter)
    try:
        heading = [word.strip().lower() for word in next(rows, [])]
        column = heading.index(_column(heading, name))
        for row in rows:
            if row:
                yield rows.line_num, row[column].strip() if column < len(row) else ""
    except csv.Error as error:
        raise ManifestInvalid(name, f"it is no CSV in line {rows.line_num}, {error}") from None


def _json_entry(line: str, number: int, name: str) -> str:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ManifestInvalid(name, f"line {number} is no JSON object; each line must be one")
    return str(record.get(_column(list(record), name)) or "").strip()


def _parquet_rows(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        column = _column(table.schema_arrow.names, name)
        number = 0
        for batch in table.iter_batches(_BATCH_ROWS, columns=[column]):
            values: list[Any] = batch.column(0).to_pylist()
            for number, value in enumerate(values, number + 1):  # noqa: B020 - counts on over the batches
                yield number, str(value or "").strip()
    except (pyarrow.ArrowException, OSError):
        raise ManifestInvalid(name, "it is no Parquet file") from None


def _column(columns: Sequence[str], name: str) -> str:
    """The column that names the recordings."""
    for known in COLUMNS:
        if known in columns:
            return known
    raise ManifestInvalid(name, f"it has none of the columns {', '.join(COLUMNS)}")
