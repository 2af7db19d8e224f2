"""An analysis as the answer to a request: the record of result.json as bytes, and the files beside it."""

import asyncio
import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from emotion.analysis import MAX_FRAMES_IN_JSON, Analysis
from emotion.api.wishes import Wish
from emotion.model import FloatArray
from emotion.outputs import write_run
from emotion.outputs.folders import disk_errors
from emotion.outputs.names import printable
from emotion.outputs.run import EMBEDDING_FILE

# 16 MB of numbers are 22 MB of text; what is larger is better fetched as a file.
MOST_BASE64_BYTES = 16_000_000
# Larger answers wait on the disk until they are fetched.
_HELD_BYTES = 32 * 1024
# Below so many frames and numbers the answer is made at once; a thread would cost more.
_QUICK_FRAMES = 250
_QUICK_NUMBERS = 20_000
ARRAY_TYPE = "<f4"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is kept of an analysis: its record, in memory or in a file, and its files by name.

    `folder` goes with the answer, `size_bytes` is what lies on the disk.
    """

    record: bytes | Path
    cached: bool
    duration_s: float
    timings_ms: dict[str, float]
    files: dict[str, Path] = field(default_factory=dict)
    folder: Path | None = None
    size_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """What lies in memory."""
        return len(self.record) if isinstance(self.record, bytes) else 0

    @property
    def paths(self) -> list[Path]:
        """What to delete with the answer."""
        return [path for path in (self.folder, self.record) if isinstance(path, Path)]


async def answer_of(analysis: Analysis, wish: Wish, files_path: str, folder: Callable[[], Path]) -> Answer:
    """Make the answer; `files_path` is the address of its files, `folder()` has room for them.

    Raises DiskFull and FolderNotWritable.
    """
    if _is_quick(analysis, wish):
        return Answer(
            orjson.dumps(_record(analysis, wish, {}, files_path)),
            analysis.cached,
            analysis.clip.duration_s,
            analysis.timings_ms,
        )
    return await asyncio.to_thread(_write, analysis, wish, files_path, folder())


def _is_quick(analysis: Analysis, wish: Wish) -> bool:
    frames = 0 if analysis.frame_scores is None else len(analysis.frame_scores)
    numbers = 0 if analysis.embedding is None else analysis.embedding.size
    return not _wants_files(analysis, wish) and frames <= _QUICK_FRAMES and numbers <= _QUICK_NUMBERS


def _wants_files(analysis: Analysis, wish: Wish) -> bool:
    has_many_frames = analysis.frame_scores is not None and len(analysis.frame_scores) > MAX_FRAMES_IN_JSON
    has_many_numbers = analysis.embedding is not None and analysis.embedding.nbytes > MOST_BASE64_BYTES
    return bool(wish.exports) or wish.embedding == "npy" or has_many_frames or has_many_numbers


def _write(analysis: Analysis, wish: Wish, files_path: str, folder: Path) -> Answer:
    """The same for what is long or has files, on a thread."""
    files: dict[str, Path] = {}
    run: Path | None = None
    if _wants_files(analysis, wish):
        written = write_run(folder, analysis, wish.exports, keep_audio=False)
        analysis, run = written.analysis, written.folder
        files = {path.name: path for path in written.all}
    record: bytes | Path = orjson.dumps(_record(analysis, wish, files, files_path))
    size_bytes = sum(path.stat().st_size for path in files.values())
    if isinstance(record, bytes) and len(record) > _HELD_BYTES:
        size_bytes += len(record)
        path = folder / f"record-{secrets.token_hex(8)}.json"
        with disk_errors(folder, len(record)):
            path.write_bytes(record)
        record = path
    return Answer(record, analysis.cached, analysis.clip.duration_s, analysis.timings_ms, files, run, size_bytes)


def _record(analysis: Analysis, wish: Wish, files: dict[str, Path], files_path: str) -> dict[str, Any]:
    record = analysis.record()
    record["file"] = printable(record["file"])
    if analysis.embedding is not None and wish.embedding != "none":
        record["embedding"] = _embedding_record(analysis.embedding, wish, f"{files_path}/{EMBEDDING_FILE}")
    if files:
        record["files"] = {name: f"{files_path}/{name}" for name in files}
    return record


def _embedding_record(embedding: FloatArray, wish: Wish, address: str) -> dict[str, Any]:
    about: dict[str, Any] = {"dtype": ARRAY_TYPE, "shape": list(embedding.shape)}
    if wish.embedding == "npy" or embedding.nbytes > MOST_BASE64_BYTES:
        return {**about, "file": address}
    numbers = np.ascontiguousarray(embedding, ARRAY_TYPE)
    return {**about, "base64": base64.b64encode(numbers.data).decode()}
