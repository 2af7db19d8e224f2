"""The JSON of an analysis (result.json) and of a job: the one definition for those who write, read and describe it.

It needs nothing but Python, so that `emotion.client` can be used without the packages of a server. A key that is
`NotRequired` may be missing; none is ever null unless its type says so.
"""

import sys
from typing import Annotated, Any, Literal, NotRequired

if sys.version_info >= (3, 12):
    from typing import TypedDict
else:  # pydantic cannot describe the one of earlier versions; this package comes with httpx
    from typing_extensions import TypedDict

Granularity = Literal["utterance", "frame"]
Stage = Literal["waiting", "decoding", "ready", "recognising", "done", "cancelled", "failed"]
JobStatus = Literal["queued", "decoding", "recognising", "done", "failed", "cancelled"]


class Described:
    """Adds to the JSON schema of a type, in `Annotated`; pydantic asks for it by this method."""

    def __init__(self, description: str = "", **schema: Any) -> None:
        self._schema = {"description": description, **schema} if description else schema

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core_schema), **self._schema}


Score = Annotated[float, Described(minimum=0, maximum=1)]
Scores = Annotated[
    dict[str, Score], Described("by label; they add up to 1", examples=[{"happy": 0.853, "neutral": 0.147}])
]


class ModelRecord(TypedDict):
    """What computed a result."""

    name: Annotated[str, Described(examples=["emotion2vec_plus_large"])]
    fingerprint: Annotated[str, Described("of the weights", examples=["sha256:be501a01f26f"])]
    runtime: Annotated[str, Described(examples=["torch"])]
    device: Annotated[str, Described(examples=["cpu"])]
    precision: Annotated[str, Described(examples=["bf16"])]


class SegmentRecord(TypedDict):
    """A stretch of one emotion, or of `silence`; times in seconds.

    Confidence is the mean over its frames, 0 in silence.
    """

    start: float
    end: float
    emotion: str
    confidence: Score


class FrameRecord(TypedDict):
    """One frame of 20 ms; times in seconds."""

    index: Annotated[int, Described(minimum=0)]
    start: float
    end: float
    emotion: str
    confidence: Score
    scores: Scores


class EmbeddingRecord(TypedDict):
    """The embedding, [D] for utterance and [T, D] for frame granularity, in C order.

    `base64` holds the numbers; with `embedding=npy`, and where they are more than 16 MB, `file` is where to fetch them.
    """

    dtype: Annotated[Literal["<f4"], Described("little-endian float32, as numpy calls it")]
    shape: Annotated[list[int], Described(examples=[[1024]])]
    base64: NotRequired[str]
    file: NotRequired[str]


class ResultHead(TypedDict):
    """What every result.json has, those of the first version too."""

    schema: Literal[1]
    emotion: str
    confidence: Score
    scores: Scores
    granularity: Granularity
    timestamp: Annotated[str, Described("local time of the server")]
    file: str
    duration_s: Annotated[float, Described(minimum=0)]
    uncertain: bool
    model: ModelRecord
    num_frames: int


class OptionalParts(TypedDict, total=False):
    """What only some results have."""

    speech_scores: Annotated[Scores, Described("of the speech alone, where less than half of the recording is speech")]
    channels: Annotated[int, Described("of the file, where it has more than one")]
    mixed_from: Annotated[list[int], Described("the channels that were averaged, from 1; one where they cancel out")]
    channels_differ: Annotated[bool, Described("whether the channels hold different sound")]
    frames: list[FrameRecord]
    frames_file: str
    segments: list[SegmentRecord]
    embedding: EmbeddingRecord
    files: Annotated[dict[str, str], Described("addresses of the files, by name")]


class AnalysisRecord(ResultHead, OptionalParts):
    """The analysis of one recording: the content of result.json.

    `frames` and `segments` are there for frame granularity; beyond 10 minutes `frames_file` names the file with the
    frames instead. `embedding` is there when it was asked for, `files` when there are files to fetch.
    """

    margin: Annotated[Score, Described("lead of the first emotion over the second")]
    silent: Annotated[bool, Described("nobody is heard: `emotion` is `silence`, `confidence` and `margin` are 0")]
    short: Annotated[bool, Described("less than a second of speech")]
    speech_s: Annotated[float, Described("seconds of speech", minimum=0)]
    overall_from: Literal["clip", "windows"]
    cached: Annotated[bool, Described("whether the same sound was recognised before, and the model not asked again")]
    frame_rate_hz: int
    timings_ms: dict[str, float]


class ProgressRecord(TypedDict):
    """How far a recording is; `position` is how many are before it, `wait_s` about how long those take."""

    stage: Stage
    position: int
    windows_done: int
    windows: int
    wait_s: float | None
    duration_s: Annotated[float | None, Described("length of the recording, known once it is decoded")]


class JobLinks(TypedDict):
    """Where a job, its events and its files are."""

    self: str
    events: str
    files: str


class JobRecord(TypedDict):
    """An analysis that is in work."""

    id: str
    name: str
    status: JobStatus
    created: str
    progress: ProgressRecord
    links: JobLinks
