"""The way back: what was written of a clip becomes its analysis again."""

import re
import zipfile
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from pydantic import TypeAdapter, ValidationError

from emotion.analysis import FRAMES_FILE, TIMESTAMP_FORMAT, Analysis, AnalysisRequest, Segment
from emotion.analysis.speech import find_speech
from emotion.audio import SAMPLE_RATE_HZ, Clip, DecodeLimits, decode
from emotion.errors import ClipError, RunNotFound
from emotion.labels import SILENCE
from emotion.model import FRAME_SPAN_SAMPLES, FRAME_STEP_SAMPLES, FloatArray, ModelCard, num_frames
from emotion.outputs.exports import found_exports
from emotion.outputs.run import AUDIO_FILE, EMBEDDING_FILE, RESULT_FILE, ClipFiles
from emotion.record import AnalysisRecord, ResultHead, SegmentRecord

# The entries before the frames take one kilobyte, ten minutes of frames eight megabytes.
_HEAD_BYTES = 8192
# The start of a line that only an entry of the outermost level has; no string holds the end of a line.
_FRAMES = re.compile(rb',\n  "(?:frames|frames_file|segments)": ')
# What comes of files that were cut, mixed up or written by someone else.
_DAMAGES = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, zipfile.BadZipFile)
_HEAD = TypeAdapter(ResultHead)


class NotStored(Exception):
    """A folder holds no result that can be read."""


def read_head(folder: Path) -> ResultHead:
    """The entries of result.json, of a long one only those before the frames; raises NotStored."""
    try:
        with (folder / RESULT_FILE).open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if len(head) == _HEAD_BYTES:
                cut = _FRAMES.search(head)
                head = head[: cut.start()] + b"}" if cut else head + file.read()
        return _checked(orjson.loads(head))
    except (OSError, ValueError) as error:
        raise NotStored from error


def read_clip(folder: Path) -> ClipFiles:
    """The files of a clip and its analysis, as they were when the clip was written.

    Frame scores come back to six decimals where they lie in result.json. Sound that is missing or does not fit the
    result counts as not kept, an embedding likewise; the embedding stays on the disk until it is looked at. Raises
    RunNotFound where the result itself is damaged.
    """
    try:
        record = _checked(orjson.loads((folder / RESULT_FILE).read_bytes()))
        return _clip_files(folder, cast(AnalysisRecord, record))
    except (*_DAMAGES, NotStored) as error:
        raise RunNotFound from error


def _clip_files(folder: Path, record: AnalysisRecord) -> ClipFiles:
    clip, audio = _sound(folder, record)
    embedding = _embedding(folder, record)
    by_frame = record["granularity"] == "frame"
    frames = _kept(folder / FRAMES_FILE) if "frames_file" in record else None
    frame_scores = _frame_scores(frames, record) if by_frame else None
    analysis = Analysis(
        clip=clip,
        model=_card(record, frame_scores, embedding),
        request=AnalysisRequest(record["granularity"], embedding is not None),
        timestamp=datetime.strptime(record["timestamp"], TIMESTAMP_FORMAT),
        scores=np.array(list(record["scores"].values()), np.float32),
        frame_scores=frame_scores,
        embedding=embedding,
        segments=tuple(_segment(entry) for entry in record["segments"]) if by_frame else (),
        overall_from="clip" if record["overall_from"] == "clip" else "windows",
        uncertain=record["uncertain"],
        speech_s=_speech_s(record, clip),
        speech_scores=_speech_scores(record),
        cached=bool(record.get("cached", False)),
        timings_ms=dict(record["timings_ms"]),
    )
    kept_embedding = None if embedding is None else folder / EMBEDDING_FILE
    return ClipFiles(folder, folder / RESULT_FILE, audio, kept_embedding, frames, found_exports(folder), analysis)


def _speech_s(record: AnalysisRecord, clip: Clip) -> float:
    """How much speech there was; results of before 0.5 say at most that there was none."""
    if "speech_s" in record:
        return float(record["speech_s"])
    if record.get("silent", False):
        return 0.0
    return find_speech(clip).seconds if "silent" not in record else clip.duration_s


def _speech_scores(record: AnalysisRecord) -> FloatArray | None:
    if "speech_scores" not in record:
        return None
    return np.array([record["speech_scores"][label] for label in record["scores"]], np.float32)


def _checked(record: Any) -> ResultHead:
    """The record, if it has what every result has."""
    try:
        _HEAD.validate_python(record, strict=True)
    except ValidationError as error:
        raise NotStored from error
    if len(record["scores"]) < 2:
        raise NotStored
    if record.get("silent") is True:  # results of before 0.5 name an emotion of a silent recording too
        record["emotion"] = SILENCE.key
    return cast(ResultHead, record)


def _kept(path: Path) -> Path | None:
    return path if path.is_file() and not path.is_symlink() else None


def _sound(folder: Path, record: AnalysisRecord) -> tuple[Clip, Path | None]:
    """The clip and its file, or a clip without samples."""
    path = _kept(folder / AUDIO_FILE)
    if path is not None:
        # What was written once is read again, whatever the limits are now.
        limits = DecodeLimits(max_file_bytes=path.stat().st_size, max_clip_s=record["duration_s"] + 1)
        with suppress(ClipError):
            clip = decode(path, limits)
            if num_frames(len(clip.samples)) == record["num_frames"]:
                return replace(clip, name=record["file"], **_channels(record)), path
    clip = Clip(record["file"], np.zeros(0, np.float32), samples_not_kept=_num_samples(record), **_channels(record))
    return clip, None


def _channels(record: AnalysisRecord) -> dict[str, Any]:
    mixed_from = tuple(record.get("mixed_from", ()))
    return {
        "channels": record.get("channels", 1),
        "mixed_from": mixed_from,
        "channels_differ": record.get("channels_differ", False),
    }


def _num_samples(record: AnalysisRecord) -> int:
    """How long the recording was: by its milliseconds, and not against its number of frames."""
    first = (record["num_frames"] - 1) * FRAME_STEP_SAMPLES + FRAME_SPAN_SAMPLES
    by_time = round(record["duration_s"] * SAMPLE_RATE_HZ)
    return int(min(max(by_time, first), first + FRAME_STEP_SAMPLES - 1))


def _embedding(folder: Path, record: AnalysisRecord) -> FloatArray | None:
    path = _kept(folder / EMBEDDING_FILE)
    if path is None:
        return None
    try:
        embedding = np.lib.format.open_memmap(path, mode="r")  # refuses everything but plain numbers
        rows = (record["num_frames"],) if record["granularity"] == "frame" else ()
        fits = embedding.ndim > 0 and embedding.shape[:-1] == rows and embedding.dtype == np.float32
    except _DAMAGES:
        return None
    return embedding if fits else None


def _frame_scores(frames: Path | None, record: AnalysisRecord) -> FloatArray:
    """Scores [T, C] from frames.npz or from the record; raises NotStored unless they are as many as they should be."""
    scores = _scores_of_file(frames) if frames is not None else _scores_of_record(record)
    if scores.shape != (record["num_frames"], len(record["scores"])):
        raise NotStored
    return scores


def _scores_of_file(frames: Path) -> FloatArray:
    with np.load(frames, allow_pickle=False) as arrays:
        return np.asarray(arrays["scores"], np.float32)


def _scores_of_record(record: AnalysisRecord) -> FloatArray:
    # null, which stands for a score that is no number, becomes NaN again.
    return np.array([list(frame["scores"].values()) for frame in record["frames"]], np.float32)


def _segment(entry: SegmentRecord) -> Segment:
    confidence = entry["confidence"]
    return Segment(entry["start"], entry["end"], entry["emotion"], float("nan") if confidence is None else confidence)


def _card(record: AnalysisRecord, frame_scores: FloatArray | None, embedding: FloatArray | None) -> ModelCard:
    """The model that was used; a label that scores exactly 0 everywhere is one that it cannot tell."""
    scores = record["scores"]
    unsupported_labels = [
        label
        for column, label in enumerate(scores)
        if scores[label] == 0 and (frame_scores is None or not frame_scores[:, column].any())
    ]
    model = {key: str(value) for key, value in record["model"].items()}
    return ModelCard(
        name=model["name"],
        fingerprint=model["fingerprint"],
        runtime=model["runtime"],
        device=model["device"],
        precision=model["precision"],
        labels=tuple(scores),
        embedding_size=0 if embedding is None else embedding.shape[-1],
        unsupported_labels=tuple(unsupported_labels),
    )
