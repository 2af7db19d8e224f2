"""What the answers look like, for the description of the API: the shapes of `emotion.record`, and those of the API."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from emotion.engine import ClipTimes
from emotion.engine.recognizer import Phase
from emotion.monitor import MachineStatus, StageShares
from emotion.record import AnalysisRecord, Described, JobRecord, ModelRecord, Score, Scores


class Problem(TypedDict):
    """Why there is no answer (RFC 9457). `code` is a stable word for programs, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class AnalysisEntry(TypedDict):
    """One of several recordings, with the status that it would have been answered with alone: `record` for 200, `job`
    for 202, `problem` for anything else.
    """

    name: str
    status: int
    location: NotRequired[str]
    record: NotRequired[AnalysisRecord]
    job: NotRequired[JobRecord]
    problem: NotRequired[Problem]


class AnalysisList(TypedDict):
    """The recordings of one request, in their order."""

    analyses: list[AnalysisEntry]


class FileRecord(TypedDict):
    """A file of an analysis."""

    name: Annotated[str, Described(examples=["segments.csv"])]
    size_bytes: int
    href: str


class FileList(TypedDict):
    """The files of one analysis."""

    files: list[FileRecord]


class LabelRecord(TypedDict):
    """One emotion; `unsupported`, and `untold`, its earlier name, say that the model never gives it a score."""

    key: Annotated[str, Described(examples=["happy"])]
    token: Annotated[str, Described(examples=["开心/happy"])]
    english: Annotated[str, Described(examples=["Happy"])]
    chinese: Annotated[str, Described(examples=["快乐"])]
    emoji: Annotated[str, Described(examples=["😊"])]
    colour: Annotated[str, Described(examples=["#E69F00"])]
    unsupported: bool
    untold: bool


class LabelList(TypedDict):
    """The labels of the model that answers now, in its order."""

    model: str
    labels: list[LabelRecord]


class AnsweringModel(ModelRecord):
    """The model that answers now; `embedding_size` is D."""

    embedding_size: int


class ModelEntry(TypedDict):
    """A model that the server knows."""

    name: str
    licence: str
    present: Annotated[bool, Described("whether it is on the server")]
    answers: bool


class ModelList(TypedDict):
    """Which model answers, and what becomes of the one that was asked for."""

    answering: AnsweringModel
    wanted: str
    phase: Phase
    done_bytes: int
    total_bytes: int
    reason: str | None
    models: list[ModelEntry]


class EngineRecord(TypedDict):
    """The engine; `shares` are of the time since the reading before, `median` of the last recordings."""

    queue_length: int
    queue_size: int
    clips_done: int
    batch_frames: int
    decode_threads: int
    inference_threads: int
    shares: StageShares
    median: ClipTimes | None


class CacheRecord(TypedDict):
    """How often a sound was known."""

    hits: int
    misses: int
    entries: int


class AdviceRecord(TypedDict):
    """What to do about something, as a code and its numbers."""

    code: str
    values: dict[str, int]


class StatusRecord(TypedDict):
    """Machine, engine and model at one moment."""

    uptime_s: float
    period_s: float
    machine: MachineStatus
    engine: EngineRecord
    model: ModelRecord
    cache: CacheRecord | None
    advice: list[AdviceRecord]


class Health(TypedDict):
    """The process lives."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """The model serves."""

    status: Literal["ready"]
    model: str


class StreamMoment(TypedDict):
    """What a stream says of its last seconds, `time_s` after its start; no scores where there was silence."""

    type: Literal["moment"]
    time_s: float
    emotion: str | None
    confidence: Score
    scores: Scores | None
    is_silent: bool
    interval_s: float
    level_db: float


_DESCRIBED = (
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
_ID = "0f8fad5bd9cb469fa16570867728950e"
_PATH = f"/v1/analyses/{_ID}"
_KEYS = ("angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown")
_SCORES = dict(zip(_KEYS, (0.012, 0.004, 0.006, 0.853, 0.063, 0.02, 0.011, 0.03, 0.001), strict=True))
_RECORD: AnalysisRecord = {
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
        "fingerprint": "sha256:be501a01f26fcdc7663a062dff86af839afbaef7c4de32f5e42d7e1ad2784da4",
        "runtime": "torch",
        "device": "cpu",
        "precision": "bf16",
    },
    "frame_rate_hz": 50,
    "num_frames": 641,
    "timings_ms": {"decode": 8.1, "queue": 0.4, "inference": 231.0},
}
_JOB: JobRecord = {
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
_PROBLEM: Problem = {
    "type": "urn:emotion2vec-studio:error:not_sound",
    "title": "Not sound",
    "status": 415,
    "detail": "'notes.txt' holds no sound that can be read. Use WAV, MP3, M4A, FLAC, OGG, WEBM, AMR, AIFF, CAF or WMA.",
    "code": "not_sound",
    "request_id": "8c1f0b7a4d2e9653",
}
_EXAMPLES = {"AnalysisRecord": _RECORD, "JobRecord": _JOB, "Problem": _PROBLEM}


def component_schemas() -> dict[str, Any]:
    """The schemas by name, which refer to each other as `#/components/schemas/NAME`."""
    adapters = [(shape.__name__, "serialization", TypeAdapter(shape)) for shape in _DESCRIBED]
    _, described = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = described["$defs"]
    for name, schema in schemas.items():
        if "properties" in schema:
            schema["additionalProperties"] = False
        if name in _EXAMPLES:
            schema["example"] = _EXAMPLES[name]
    return schemas
