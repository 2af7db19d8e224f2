"""Runs as a list shows them, each read from its folder by the few bytes that it takes."""

import contextlib
import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from emotion.outputs.exports import plain_cell
from emotion.outputs.names import RunTime, is_safe_name
from emotion.outputs.paths import file_sizes
from emotion.outputs.reader import NotStored, read_head
from emotion.outputs.run import AUDIO_FILE, EMBEDDING_FILE, RESULT_FILE, SUMMARY_COLUMNS, SUMMARY_FILE
from emotion.record import ResultHead


@dataclass(frozen=True)
class ClipEntry:
    """One clip of a run: `file` is the recording's name, `folder` (`outputs_x` or `outputs_x/sub`) tells it from all
    others, `fingerprint` its model from all other models.

    A recording of a batch that could not be analysed has only its name and the `error`, and no folder.
    """

    file: str
    folder: str = ""
    emotion: str = ""
    confidence: float = 0.0
    uncertain: bool = False
    duration_s: float = 0.0
    granularity: str = ""
    model: str = ""
    fingerprint: str = ""
    has_audio: bool = False
    has_embedding: bool = False
    error: str = ""


@dataclass(frozen=True)
class RunEntry:
    """One run; `clips` in the order in which they were written, `is_open` while more may come."""

    name: str
    started: datetime
    clips: tuple[ClipEntry, ...]
    file_count: int
    size_bytes: int
    is_batch: bool
    is_open: bool = False


@dataclass(frozen=True)
class Read:
    """What was read in a folder with the name of a run, and the `stamp_of` it then; None where it held no run."""

    time: RunTime
    stamp: tuple[int, ...]
    run: RunEntry | None
    clips: dict[str, "_ReadClip"]


@dataclass(frozen=True)
class _ReadClip:
    changed_ns: int
    sizes_bytes: tuple[int, ...]
    entry: ClipEntry | None


def stamp_of(folder: "os.DirEntry[str]", is_batch: bool) -> tuple[int, ...]:
    """What changes when a run does; for a batch its summary too, which grows without a change of the folder."""
    changed_ns = folder.stat(follow_symlinks=False).st_mtime_ns
    if not is_batch:
        return (changed_ns,)
    summary = os.lstat(f"{folder.path}/{SUMMARY_FILE}")
    return changed_ns, summary.st_mtime_ns, summary.st_size


def read_run(folder: "os.DirEntry[str]", time: RunTime, before: Read | None) -> Read:
    """A run, of a batch only those clips that were not read `before`; raises OSError when the folder goes meanwhile."""
    sizes = file_sizes(folder.path)
    is_batch = SUMMARY_FILE in sizes
    # Before the reading, so that what is written meanwhile is read the next time.
    stamp = stamp_of(folder, is_batch)
    clips = _read_clips(folder, before) if is_batch else {folder.name: _read_clip(folder, folder.name)}
    found = {name: clip.entry for name, clip in clips.items() if clip.entry is not None}
    if not is_batch and not found:
        return Read(time, stamp, None, clips)
    entries = tuple(_in_order(Path(folder.path), found) if is_batch else found.values())
    sizes_bytes = [size for clip in clips.values() for size in clip.sizes_bytes]
    if is_batch:
        sizes_bytes += sizes.values()
    run = RunEntry(folder.name, time.started, entries, len(sizes_bytes), sum(sizes_bytes), is_batch)
    return Read(time, stamp, run, clips)


def _read_clips(run: "os.DirEntry[str]", before: Read | None) -> dict[str, _ReadClip]:
    """The sub-folders of a batch by name; what goes meanwhile is left out."""
    known = before.clips if before is not None else {}
    clips: dict[str, _ReadClip] = {}
    with os.scandir(run.path) as subs:
        for sub in subs:
            if not sub.is_dir(follow_symlinks=False) or not is_safe_name(sub.name):
                continue
            with contextlib.suppress(OSError):
                clip = known.get(sub.name)
                if clip is None or clip.changed_ns != sub.stat(follow_symlinks=False).st_mtime_ns:
                    clip = _read_clip(sub, f"{run.name}/{sub.name}")
                clips[sub.name] = clip
    return clips


def _read_clip(folder: "os.DirEntry[str]", name: str) -> _ReadClip:
    changed_ns = folder.stat(follow_symlinks=False).st_mtime_ns
    sizes = file_sizes(folder.path)
    entry = None
    if RESULT_FILE in sizes:
        with contextlib.suppress(NotStored):
            entry = _clip_entry(read_head(Path(folder.path)), name, sizes)
    return _ReadClip(changed_ns, tuple(sizes.values()), entry)


def _clip_entry(record: ResultHead, folder: str, sizes: dict[str, int]) -> ClipEntry:
    return ClipEntry(
        file=record["file"],
        folder=folder,
        emotion=record["emotion"],
        confidence=record["confidence"],
        uncertain=record["uncertain"],
        duration_s=record["duration_s"],
        granularity=record["granularity"],
        model=record["model"]["name"],
        fingerprint=record["model"]["fingerprint"],
        has_audio=AUDIO_FILE in sizes,
        has_embedding=EMBEDDING_FILE in sizes,
    )


def _in_order(folder: Path, clips: dict[str, ClipEntry]) -> Iterator[ClipEntry]:
    """The clips as the summary has them, failures between them; then those that came to no row, after a crash."""
    left = dict(clips)
    for row in _rows(folder / SUMMARY_FILE):
        if row["error"]:
            yield ClipEntry(plain_cell(row["file"]), error=plain_cell(row["error"]))
        elif plain_cell(row["folder"]) in left:
            yield left.pop(plain_cell(row["folder"]))
    yield from (left[name] for name in sorted(left))


def _rows(summary: Path) -> Iterator[dict[str, str]]:
    """The rows so far; of a row that is being written, what is there."""
    try:
        with summary.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.reader(file)
            next(lines, None)
            for cells in lines:
                yield dict.fromkeys(SUMMARY_COLUMNS, "") | dict(zip(SUMMARY_COLUMNS, cells, strict=False))
    except (OSError, csv.Error):
        return
