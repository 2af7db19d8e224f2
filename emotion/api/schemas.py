"""What the answers look like, for the description of the API: the shapes of `emotion.record`, and those of the API."""

from importlib.resources import files
from typing import Annotated, Any, Literal, NotRequired

import orjson
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


def component_schemas() -> dict[str, Any]:
    """The schemas by name, which refer to each other as `#/components/schemas/NAME`."""
    adapters = [(shape.__name__, "serialization", TypeAdapter(shape)) for shape in _DESCRIBED]
    _, described = TypeAdapter.json_schemas(adapters, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = described["$defs"]
    examples = orjson.loads(files("emotion.api").joinpath("examples.json").read_bytes())
    for name, schema in schemas.items():
        if "properties" in schema:
            schema["additionalProperties"] = False
        if name in examples:
            schema["example"] = examples[name]
    return schemas
