"""What the answers look like, for the description of the API; the answers themselves are made from the records."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema, models_json_schema

from emotion.analysis import Granularity
from emotion.api.jobs import Status
from emotion.engine import ClipTimes, Stage
from emotion.engine.recognizer import Phase
from emotion.monitor import MachineStatus, StageShares

_ID = "0f8fad5bd9cb469fa16570867728950e"
_PATH = f"/v1/analyses/{_ID}"
_FINGERPRINT = "sha256:be501a01f26fcdc7663a062dff86af839afbaef7c4de32f5e42d7e1ad2784da4"
_KEYS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
_SCORES: dict[str, Any] = dict(zip(_KEYS, (0.012, 0.004, 0.006, 0.853, 0.063, 0.02, 0.011, 0.03, 0.001), strict=True))
Score = Annotated[float, Field(ge=0, le=1)]
Scores = Annotated[dict[str, Score], Field(description="by label; they add up to 1", examples=[_SCORES])]


def _left_out(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# A key that is there or not, and never null.
_Absent = SkipJsonSchema[None]
_NOT_ALWAYS: Any = Field(default=None, json_schema_extra=_left_out)


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelRecord(_Described):
    """What computed a result."""

    name: str = Field(examples=["emotion2vec_plus_large"])
    fingerprint: str = Field(examples=[_FINGERPRINT])
    runtime: str = Field(examples=["torch"])
    device: str = Field(examples=["cpu"])
    precision: str = Field(examples=["bf16"])


class FrameRecord(_Described):
    """One frame of 20 ms; times in seconds."""

    index: int = Field(ge=0)
    start: float
    end: float
    emotion: str
    confidence: Score
    scores: Scores


class SegmentRecord(_Described):
    """A stretch of one emotion; times in seconds, confidence the mean over its frames."""

    start: float
    end: float
    emotion: str
    confidence: Score


class EmbeddingRecord(_Described):
    """The embedding, [D] for utterance and [T, D] for frame granularity, in C order.

    `base64` holds the numbers; with `embedding=npy`, and where they are more than 16 MB, `file` is where to fetch them.
    """

    dtype: Literal["<f4"] = Field(description="little-endian float32, as numpy calls it")
    shape: list[int] = Field(examples=[[1024]])
    base64: str | _Absent = _NOT_ALWAYS
    file: str | _Absent = _NOT_ALWAYS


class AnalysisRecord(_Described):
    """The analysis of one recording: the content of result.json.

    `frames` and `segments` are there for frame granularity; beyond 10 minutes `frames_file` names the file with the
    frames instead. `embedding` is there when it was asked for, `files` when there are files to fetch.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "schema": 1,
                "emotion": "happy",
                "confidence": 0.853,
                "scores": _SCORES,
                "granularity": "utterance",
                "timestamp": "2026-11-22 10:00:00",
                "file": "call.m4a",
                "duration_s": 12.84,
                "margin": 0.79,
                "uncertain": False,
                "silent": False,
                "overall_from": "clip",
                "cached": False,
                "model": {
                    "name": "emotion2vec_plus_large",
                    "fingerprint": _FINGERPRINT,
                    "runtime": "torch",
                    "device": "cpu",
                    "precision": "bf16",
                },
                "frame_rate_hz": 50,
                "num_frames": 641,
                "timings_ms": {"decode": 8.1, "queue": 0.4, "inference": 231.0},
            }
        }
    )

    # Pydantic has a method called `schema`.
    version: Literal[1] = Field(alias="schema")
    emotion: str
    confidence: Score
    scores: Scores
    granularity: Granularity
    timestamp: str = Field(description="local time of the server")
    file: str
    duration_s: float = Field(ge=0)
    margin: Score = Field(description="lead of the first emotion over the second")
    uncertain: bool
    silent: bool
    overall_from: Literal["clip", "windows"]
    cached: bool = Field(description="whether the same sound was recognised before, and the model not asked again")
    model: ModelRecord
    frame_rate_hz: int
    num_frames: int
    frames: list[FrameRecord] | _Absent = _NOT_ALWAYS
    frames_file: str | _Absent = _NOT_ALWAYS
    segments: list[SegmentRecord] | _Absent = _NOT_ALWAYS
    timings_ms: dict[str, float]
    embedding: EmbeddingRecord | _Absent = _NOT_ALWAYS
    files: dict[str, str] | _Absent = Field(
        default=None, json_schema_extra=_left_out, description="addresses of the files, by name"
    )


class ProgressRecord(_Described):
    """How far a recording is; `position` is how many are before it, `wait_s` about how long those take."""

    stage: Stage
    position: int
    windows_done: int
    windows: int
    wait_s: float | None
    duration_s: float | None = Field(description="length of the recording, known once it is decoded")


class JobLinks(_Described):
    self: str
    events: str
    files: str


class JobRecord(_Described):
    """An analysis that is in work."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": _ID,
                "name": "meeting.mp3",
                "status": "recognising",
                "created": "2026-11-22 10:00:00",
                "progress": {
                    "stage": "recognising",
                    "position": 0,
                    "windows_done": 12,
                    "windows": 150,
                    "wait_s": 0.0,
                    "duration_s": 3600.0,
                },
                "links": {"self": _PATH, "events": f"{_PATH}/events", "files": f"{_PATH}/files"},
            }
        }
    )

    id: str
    name: str
    status: Status
    created: str
    progress: ProgressRecord
    links: JobLinks


class Problem(_Described):
    """Why there is no answer (RFC 9457). `code` is a stable word for programs, `detail` is for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:emotion2vec-studio:error:not_sound",
                "title": "Not sound",
                "status": 415,
                "detail": "'notes.txt' holds no sound that can be read. Use WAV, MP3, M4A, FLAC, OGG, WEBM, AMR, "
                "AIFF, CAF or WMA.",
                "code": "not_sound",
                "request_id": "8c1f0b7a4d2e9653",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class AnalysisEntry(_Described):
    """One of several recordings, with the status that it would have been answered with alone: `record` for 200, `job`
    for 202, `problem` for anything else.
    """

    name: str
    status: int
    location: str | _Absent = _NOT_ALWAYS
    record: AnalysisRecord | _Absent = _NOT_ALWAYS
    job: JobRecord | _Absent = _NOT_ALWAYS
    problem: Problem | _Absent = _NOT_ALWAYS


class AnalysisList(_Described):
    """The recordings of one request, in their order."""

    analyses: list[AnalysisEntry]


class FileRecord(_Described):
    name: str = Field(examples=["segments.csv"])
    size_bytes: int
    href: str


class FileList(_Described):
    """The files of one analysis."""

    files: list[FileRecord]


class LabelRecord(_Described):
    """One emotion; `untold` says that the model never gives it a score."""

    key: str = Field(examples=["happy"])
    token: str = Field(examples=["开心/happy"])
    english: str = Field(examples=["Happy"])
    chinese: str = Field(examples=["快乐"])
    emoji: str = Field(examples=["😊"])
    colour: str = Field(examples=["#E69F00"])
    untold: bool


class LabelList(_Described):
    """The labels of the model that answers now, in its order."""

    model: str
    labels: list[LabelRecord]


class AnsweringModel(ModelRecord):
    """The model that answers now; `embedding_size` is D."""

    embedding_size: int


class ModelEntry(_Described):
    name: str
    licence: str
    present: bool = Field(description="whether it is on the server")
    answers: bool


class ModelList(_Described):
    """Which model answers, and what becomes of the one that was wished for."""

    answering: AnsweringModel
    wanted: str
    phase: Phase
    done_bytes: int
    total_bytes: int
    reason: str | None
    models: list[ModelEntry]


class EngineRecord(_Described):
    """The engine; `shares` are of the time since the reading before, `median` of the last recordings."""

    queue_length: int
    queue_size: int
    clips_done: int
    batch_frames: int
    decode_threads: int
    inference_threads: int
    shares: StageShares
    median: ClipTimes | None


class CacheRecord(_Described):
    hits: int
    misses: int
    entries: int


class AdviceRecord(_Described):
    """What to do about something, as a code and its numbers."""

    code: str
    values: dict[str, int]


class StatusRecord(_Described):
    """Machine, engine and model at one moment."""

    uptime_s: float
    period_s: float
    machine: MachineStatus
    engine: EngineRecord
    model: ModelRecord
    cache: CacheRecord | None
    advice: list[AdviceRecord]


class Health(_Described):
    status: Literal["ok"]


class Readiness(_Described):
    status: Literal["ready"]
    model: str


class StreamMoment(_Described):
    """What a stream says of its last seconds, `time_s` after its start; no scores where there was silence."""

    type: Literal["moment"]
    time_s: float
    emotion: str | None
    confidence: Score
    scores: Scores | None
    is_silent: bool
    interval_s: float
    level_db: float


_DESCRIBED: tuple[type[BaseModel], ...] = (
    AnalysisRecord,
    AnalysisList,
    JobRecord,
    Problem,
    FileList,
    LabelList,
    ModelList,
    StatusRecord,
    Health,
    Readiness,
    StreamMoment,
)


def component_schemas() -> dict[str, Any]:
    """The schemas by name, which refer to each other as `#/components/schemas/NAME`."""
    wanted = [(model, "serialization") for model in _DESCRIBED]
    _, schemas = models_json_schema(wanted, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return dict(schemas["$defs"])
