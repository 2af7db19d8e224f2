"""Runs: one timestamped folder per clip, or one per batch with a sub-folder per clip and a summary."""

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson

from emotion.analysis import FRAMES_FILE, MAX_FRAMES_IN_JSON, Analysis, ExportFormat, frame_times_s
from emotion.audio import forget_rows, write_wav
from emotion.labels import EMOTIONS
from emotion.model import FloatArray
from emotion.outputs.exports import csv_line, known_formats, write_export
from emotion.outputs.folders import disk_errors, partial_folder, publish, push_to_disk, remove_stale_once
from emotion.outputs.locks import WriteLock
from emotion.outputs.names import numbered, printable, run_name, safe_name
from emotion.outputs.replication import run_finished
from emotion.outputs.workbook import write_workbook

_LOG = logging.getLogger(__name__)
AUDIO_FILE = "processed_audio.wav"
RESULT_FILE = "result.json"
_BLOCK_NUMBERS = 8_000_000
EMBEDDING_FILE = "embedding.npy"
SUMMARY_FILE = "summary.csv"
WORKBOOK_FILE = "summary.xlsx"
# What came later stands behind what was there; a score that the model does not have stays empty.
SUMMARY_COLUMNS = (
    *("file", "emotion", "confidence", "margin", "uncertain", "duration_s", "model", "folder", "error"),
    *("silent", "short", "speech_s"),
    *(f"score_{emotion.key}" for emotion in EMOTIONS),
)
# Without a byte order mark Excel shows Chinese file names as noise. pandas skips it; Python's csv asks for utf-8-sig.
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class ClipFiles:
    """What was written of one clip, None where it was not wanted; `analysis` knows the time that writing took."""

    folder: Path
    result: Path
    audio: Path | None
    embedding: Path | None
    frames: Path | None
    exports: dict[ExportFormat, tuple[Path, ...]]
    analysis: Analysis

    @property
    def all(self) -> list[Path]:
        """Every file, result.json first."""
        kept = [path for path in (self.result, self.audio, self.embedding, self.frames) if path is not None]
        return kept + [path for paths in self.exports.values() for path in paths]


def write_run(outputs: Path, analysis: Analysis, exports: Sequence[str] = (), keep_audio: bool = True) -> ClipFiles:
    """Write one clip as a run of its own, `outputs_YYYYMMDD_HHMMSS` by the analysis' timestamp.

    The folder appears whole or not at all. Raises DiskFull and FolderNotWritable, and SettingsInvalid for an unknown
    export.
    """
    formats = known_formats(exports)
    remove_stale_once(outputs)
    with partial_folder(outputs, _needed_bytes(analysis)) as partial:
        written = _write_clip(partial, analysis, formats, keep_audio)
        files = _moved(written, publish(partial, outputs, numbered(run_name(analysis.timestamp))))
    run_finished(files.folder)
    return files


class BatchRun:
    """Several clips in one run: a sub-folder per clip, each whole or not there, and one row per clip in summary.csv.

    `folder` is the run, `summary` its summary.csv, which has the rows of all clips so far. Use it as a context, or
    call `close`: until then nobody deletes the run.
    """

    def __init__(self, outputs: Path, now: datetime | None = None) -> None:
        self._outputs = outputs
        self._names: set[str] = set()
        remove_stale_once(outputs)
        with partial_folder(outputs, needed_bytes=0) as partial:
            # A folder that holds a file cannot be taken by the rename of another run, an empty one could.
            (partial / SUMMARY_FILE).write_bytes((_BYTE_ORDER_MARK + csv_line(SUMMARY_COLUMNS)).encode())
            self._lock = WriteLock(partial / SUMMARY_FILE)
            self.folder = publish(partial, outputs, numbered(run_name(now or datetime.now())))
        self.summary = self.folder / SUMMARY_FILE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, analysis: Analysis, exports: Sequence[str] = (), keep_audio: bool = True) -> ClipFiles:
        """Write one clip into its sub-folder, named after the clip; raises as `write_run` does."""
        formats = known_formats(exports)
        with partial_folder(self._outputs, _needed_bytes(analysis)) as partial:
            written = _write_clip(partial, analysis, formats, keep_audio)
            files = _moved(written, publish(partial, self.folder, self._free_names(analysis.clip.name)))
        self._names.add(files.folder.name.casefold())
        try:
            self._append(_summary_row(analysis, files.folder))
        except BaseException:
            shutil.rmtree(files.folder, ignore_errors=True)
            raise
        return files

    def add_failure(self, name: str, message: str) -> None:
        """Note a recording that could not be analysed, and why."""
        self._append({"file": name, "error": " ".join(message.split())})

    def close(self) -> Path:
        """Push the summary to the disk, make a workbook of it and say that the run is complete; its path."""
        try:
            with disk_errors(self._outputs, needed_bytes=0):
                push_to_disk([self.summary])
            if self._lock.release.alive:
                write_workbook(self.summary, self.folder / WORKBOOK_FILE)
        finally:
            was_open = self._lock.release.alive
            self._lock.release()
        if was_open:
            run_finished(self.folder)
        return self.summary

    def _free_names(self, clip_name: str) -> Iterator[str]:
        # Without regard to case, so that the run can be copied to Windows and macOS.
        return (name for name in numbered(safe_name(clip_name)) if name.casefold() not in self._names)

    def _append(self, row: dict[str, object]) -> None:
        line = csv_line([row.get(column, "") for column in SUMMARY_COLUMNS]).encode()
        with disk_errors(self._outputs, len(line)):
            size_bytes = self.summary.stat().st_size
            try:
                with self.summary.open("ab") as file:
                    file.write(line)
            except OSError:
                os.truncate(self.summary, size_bytes)
                raise


def json_entries(record: dict[str, Any]) -> bytes:
    """The inside of a JSON object, strict and in UTF-8, made to be read: a line per entry, per frame and per segment.

    NaN, which JSON does not have, becomes null.
    """
    return b",\n".join(b"  " + orjson.dumps(key) + b": " + _json_value(value) for key, value in record.items())


def _write_clip(folder: Path, analysis: Analysis, formats: Sequence[ExportFormat], keep_audio: bool) -> ClipFiles:
    """Fill a folder.

    The time `write` covers making and writing every file up to the last entry of result.json. It leaves out the few
    milliseconds of waiting for the disk, which end after result.json is complete.
    """
    started_s = time.perf_counter()
    result = folder / RESULT_FILE
    audio = _write_audio(folder, analysis) if keep_audio else None
    embedding = _write_embedding(folder, analysis)
    record: dict[str, Any] = {**analysis.record()}
    frames = _write_frames(folder, analysis) if "frames_file" in record else None
    exports = {format: write_export(analysis, format, folder) for format in formats}
    del record["timings_ms"]
    record["file"] = printable(record["file"])
    with result.open("wb") as file:
        file.write(b"{\n" + json_entries(record) + b",\n")
        analysis = analysis.with_timing("write", (time.perf_counter() - started_s) * 1000)
        file.write(json_entries({"timings_ms": analysis.timings_ms}) + b"\n}\n")
    push_to_disk(folder.iterdir())
    _LOG.info("written", extra={"stage": "write", "elapsed_ms": analysis.timings_ms["write"]})
    return ClipFiles(folder, result, audio, embedding, frames, exports, analysis)


def _write_audio(folder: Path, analysis: Analysis) -> Path:
    path = folder / AUDIO_FILE
    write_wav(analysis.clip, path)
    return path


def _write_embedding(folder: Path, analysis: Analysis) -> Path | None:
    if analysis.embedding is None:
        return None
    path = folder / EMBEDDING_FILE
    _save_array(path, analysis.embedding)
    return path


def _write_frames(folder: Path, analysis: Analysis) -> Path | None:
    if analysis.frame_scores is None:
        return None
    path = folder / FRAMES_FILE
    np.savez(path, times_s=frame_times_s(len(analysis.frame_scores)), scores=analysis.frame_scores)
    return path


def _save_array(path: Path, array: FloatArray) -> None:
    """`np.save`, but a full disk is an OSError with its number, which `ndarray.tofile` drops."""
    contiguous = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(contiguous))
        # Some at a time, since three hours of embeddings take 2.2 GB and lie in a file themselves.
        rows = len(contiguous) if contiguous.ndim == 1 else max(_BLOCK_NUMBERS // contiguous.shape[1], 1)
        for start in range(0, len(contiguous), max(rows, 1)):
            file.write(contiguous[start : start + rows].data)
            forget_rows(array, start, start + rows)


def _json_value(value: object) -> bytes:
    # Ten minutes of frames take orjson 80 ms and json 200 ms; and json writes NaN, which is no JSON.
    if isinstance(value, dict):
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).replace(b"\n", b"\n  ")
    if isinstance(value, list) and value:
        return b"[\n    " + b",\n    ".join(map(orjson.dumps, value)) + b"\n  ]"
    return orjson.dumps(value)


def _moved(files: ClipFiles, folder: Path) -> ClipFiles:
    """The same files after their folder was renamed."""
    return replace(
        files,
        folder=folder,
        result=folder / files.result.name,
        audio=files.audio and folder / files.audio.name,
        embedding=files.embedding and folder / files.embedding.name,
        frames=files.frames and folder / files.frames.name,
        exports={format: tuple(folder / path.name for path in paths) for format, paths in files.exports.items()},
    )


def _summary_row(analysis: Analysis, folder: Path) -> dict[str, object]:
    labels = analysis.model.labels
    return {
        "file": analysis.clip.name,
        "emotion": analysis.emotion.key,
        "confidence": round(analysis.confidence, 6),
        "margin": round(analysis.margin, 6),
        "uncertain": _flag(analysis.uncertain),
        "duration_s": round(analysis.clip.duration_s, 3),
        "model": analysis.model.name,
        "folder": folder.name,
        "silent": _flag(analysis.silent),
        "short": _flag(analysis.short),
        "speech_s": round(analysis.speech_s, 3),
        **dict(
            zip(
                (f"score_{label}" for label in labels),
                analysis.scores.astype(np.float64).round(6).tolist(),
                strict=True,
            )
        ),
    }


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _needed_bytes(analysis: Analysis) -> int:
    """About what a clip takes on the disk: 16 bits a sample, the embedding, and 260 bytes of JSON a frame."""
    embedding = 0 if analysis.embedding is None else analysis.embedding.nbytes
    frames = 0 if analysis.frame_scores is None else min(len(analysis.frame_scores), MAX_FRAMES_IN_JSON) * 260
    return 2 * len(analysis.clip.samples) + embedding + frames + 4096
