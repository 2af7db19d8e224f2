"""One row for each recording: what its columns are, and how an analysis or an error fills them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow

from emotion.analysis import Analysis
from emotion.bulk.listing import Recording, escaped
from emotion.errors import EmotionError
from emotion.model import ModelCard

Row = dict[str, Any]
_SEGMENT = pyarrow.struct(
    [
        ("start_s", pyarrow.float64()),
        ("end_s", pyarrow.float64()),
        ("emotion", pyarrow.string()),
        ("confidence", pyarrow.float32()),
    ]
)
_MOMENT = pyarrow.timestamp("ms", tz="UTC")
_FEW_VALUES = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())


def schema_of(labels: Sequence[str], by_frame: bool, embedding: bool) -> pyarrow.Schema:
    """The columns, the same in every part of some results."""
    floats = pyarrow.list_(pyarrow.float32())
    fields = [
        ("path", pyarrow.string()),
        ("entry", pyarrow.string()),
        ("size_bytes", pyarrow.int64()),
        ("modified", _MOMENT),
        ("duration_s", pyarrow.float64()),
        ("emotion", _FEW_VALUES),
        ("confidence", pyarrow.float32()),
        ("margin", pyarrow.float32()),
        ("uncertain", pyarrow.bool_()),
        ("silent", pyarrow.bool_()),
        *((f"score_{label}", pyarrow.float32()) for label in labels),
    ]
    if by_frame:
        fields += [(f"frames_{label}", floats) for label in labels]
        fields.append(("segments", pyarrow.list_(_SEGMENT)))
    if embedding:
        fields.append(("embedding", floats))
    fields += [(name, _FEW_VALUES) for name in ("overall_from", "error_code")]
    fields.append(("error", pyarrow.string()))
    fields += [(name, _FEW_VALUES) for name in ("model", "fingerprint", "runtime", "device", "precision")]
    fields += [(name, pyarrow.float32()) for name in ("decode_ms", "queue_ms", "inference_ms")]
    return pyarrow.schema([*fields, ("analysed_at", _MOMENT)])


def row_of(recording: Recording, outcome: Analysis | EmotionError, card: ModelCard) -> Row:
    """The row of a recording; what an error leaves unknown is not in it, and so null in the table."""
    row: Row = {
        "path": escaped(recording.path),
        "entry": escaped(recording.entry),
        "size_bytes": recording.size_bytes,
        "modified": recording.modified,
        "analysed_at": datetime.now(UTC),
    }
    if isinstance(outcome, EmotionError):
        return {**row, **_model(card), "error_code": outcome.code, "error": str(outcome)}
    return {**row, **_model(outcome.model), **_overall(outcome), **_by_frame(outcome)}


def _model(card: ModelCard) -> Row:
    facts: Row = {**card.record()}
    return {"model": facts.pop("name"), **facts}


def _overall(analysis: Analysis) -> Row:
    labels = analysis.model.labels
    return {
        "duration_s": round(analysis.clip.duration_s, 3),
        "emotion": analysis.emotion.key,
        "confidence": analysis.confidence,
        "margin": analysis.margin,
        "uncertain": analysis.uncertain,
        "silent": analysis.silent,
        **{f"score_{label}": float(score) for label, score in zip(labels, analysis.scores, strict=True)},
        "embedding": _embedding(analysis),
        "overall_from": analysis.overall_from,
        **{f"{stage}_ms": analysis.timings_ms.get(stage) for stage in ("decode", "queue", "inference")},
    }


def _embedding(analysis: Analysis) -> Any:
    """Of the whole recording, [D], also where frames are wanted: those of all frames are 200 kB a second."""
    if analysis.embedding is None or analysis.embedding.ndim == 1:
        return analysis.embedding
    return analysis.embedding.mean(axis=0, dtype=np.float64).astype(np.float32)


def _by_frame(analysis: Analysis) -> Row:
    if analysis.frame_scores is None:
        return {}
    segments = [
        {"start_s": s.start_s, "end_s": s.end_s, "emotion": s.emotion, "confidence": s.confidence}
        for s in analysis.segments
    ]
    columns = zip(analysis.model.labels, analysis.frame_scores.T, strict=True)
    return {**{f"frames_{label}": np.ascontiguousarray(scores) for label, scores in columns}, "segments": segments}
