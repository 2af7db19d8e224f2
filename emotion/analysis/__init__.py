"""What is said of a clip: windows, scores, segments, comparison and evaluation; pure, and the one JSON record."""

from emotion.analysis.analysis import (
    FRAMES_FILE,
    MAX_FRAMES_IN_JSON,
    SCHEMA,
    TIMESTAMP_FORMAT,
    Analysis,
    Segment,
    analyze,
    find_segments,
    frame_times_s,
    smooth,
)
from emotion.analysis.request import (
    GRANULARITIES,
    AnalysisRequest,
    EmbeddingForm,
    ExportFormat,
    Priority,
)
from emotion.model import softmax
from emotion.record import Granularity

__all__ = [
    "FRAMES_FILE",
    "GRANULARITIES",
    "MAX_FRAMES_IN_JSON",
    "SCHEMA",
    "TIMESTAMP_FORMAT",
    "Analysis",
    "AnalysisRequest",
    "EmbeddingForm",
    "ExportFormat",
    "Granularity",
    "Priority",
    "Segment",
    "analyze",
    "find_segments",
    "frame_times_s",
    "smooth",
    "softmax",
]
