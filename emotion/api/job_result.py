"""The result of a job: the JSON of result.json, and the files beside it."""

import asyncio
import base64
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from emotion.analysis import MAX_FRAMES_IN_JSON, Analysis
from emotion.errors import JobNotFound
from emotion.model import FloatArray
from emotion.outputs import write_run
from emotion.outputs.folders import disk_errors
from emotion.outputs.names import printable
from emotion.outputs.run import EMBEDDING_FILE
from emotion.record import AnalysisRecord, EmbeddingRecord

# 16 MB of numbers are 22 MB of text; what is larger is better fetched as a file.
MAX_BASE64_BYTES = 16_000_000
# Larger results wait on the disk until they are fetched.
_MAX_MEMORY_BYTES = 32 * 1024
# Below so many frames and numbers the JSON is made at once; a thread would cost more.
_QUICK_FRAMES = 250
_QUICK_NUMBERS = 20_000
ARRAY_TYPE: Final = "<f4"


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of an analysis: its JSON, in memory or in a file, and its other files by name.

    `folder` is deleted with the result; `disk_bytes` is what its files take.
    """

    json: bytes | Path
    cached: bool
    duration_s: float
    timings_ms: dict[str, float]
    files: dict[str, Path] = field(default_factory=dict)
    folder: Path | None = None
    disk_bytes: int = 0

    @property
    def memory_bytes(self) -> int:
        return len(self.json) if isinstance(self.json, bytes) else 0

    @property
    def is_on_disk(self) -> bool:
        return self.folder is not None or isinstance(self.json, Path)

    def delete_files(self) -> None:
        if isinstance(self.json, Path):
            self.json.unlink(missing_ok=True)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    async def read_json(self) -> bytes:
        """The JSON, read on a thread if it lies on the disk; raises JobNotFound if it was just deleted."""
        if isinstance(self.json, bytes):
            return self.json
        try:
            return await asyncio.to_thread(self.json.read_bytes)
        except OSError:
            raise JobNotFound from None


async def result_of(analysis: Analysis, files_url: str, make_folder: Callable[[], Path]) -> JobResult:
    """Make the result; `files_url` is the address of its files, `make_folder()` has room for them.

    Raises DiskFull and FolderNotWritable.
    """
    frames = 0 if analysis.frame_scores is None else len(analysis.frame_scores)
    numbers = 0 if analysis.embedding is None else analysis.embedding.size
    if not _needs_files(analysis) and frames <= _QUICK_FRAMES and numbers <= _QUICK_NUMBERS:
        return _make_result(analysis, files_url, None)
    return await asyncio.to_thread(_make_result, analysis, files_url, make_folder())


def _make_result(analysis: Analysis, files_url: str, folder: Path | None) -> JobResult:
    """Make a result that is quick to make without a folder, any other with one."""
    files: dict[str, Path] = {}
    run: Path | None = None
    if folder is not None and _needs_files(analysis):
        written = write_run(folder, analysis, analysis.request.exports, keep_audio=False)
        analysis, run = written.analysis, written.folder
        files = {path.name: path for path in written.all}
    content = orjson.dumps(_record(analysis, files, files_url))
    json: bytes | Path = content
    disk_bytes = sum(path.stat().st_size for path in files.values())
    if folder is not None and len(content) > _MAX_MEMORY_BYTES:
        json, disk_bytes = folder / f"record-{secrets.token_hex(8)}.json", disk_bytes + len(content)
        with disk_errors(folder, len(content)):
            json.write_bytes(content)
    return JobResult(json, analysis.cached, analysis.clip.duration_s, analysis.timings_ms, files, run, disk_bytes)


def _needs_files(analysis: Analysis) -> bool:
    has_many_frames = analysis.frame_scores is not None and len(analysis.frame_scores) > MAX_FRAMES_IN_JSON
    return bool(analysis.request.exports) or has_many_frames or _embedding_is_file(analysis)


def _embedding_is_file(analysis: Analysis) -> bool:
    if analysis.embedding is None:
        return False
    return analysis.request.embedding_form == "npy" or analysis.embedding.nbytes > MAX_BASE64_BYTES


def _record(analysis: Analysis, files: dict[str, Path], files_url: str) -> AnalysisRecord:
    record = analysis.record()
    record["file"] = printable(record["file"])
    if analysis.embedding is not None:
        record["embedding"] = _embedding_record(analysis, analysis.embedding, f"{files_url}/{EMBEDDING_FILE}")
    if files:
        record["files"] = {name: f"{files_url}/{name}" for name in files}
    return record


def _embedding_record(analysis: Analysis, embedding: FloatArray, url: str) -> EmbeddingRecord:
    if _embedding_is_file(analysis):
        return {"dtype": ARRAY_TYPE, "shape": list(embedding.shape), "file": url}
    numbers = base64.b64encode(np.ascontiguousarray(embedding, ARRAY_TYPE).data).decode()
    return {"dtype": ARRAY_TYPE, "shape": list(embedding.shape), "base64": numbers}
