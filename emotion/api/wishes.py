"""What a request wants: the query and the headers of a recording, as one value."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.datastructures import Headers

from emotion.analysis import Granularity
from emotion.outputs import ExportFormat

EmbeddingForm = Literal["none", "npy", "base64"]
_PREFERENCE = re.compile(r"(?:^|,)\s*respond-async\s*(?:$|[,;])", re.IGNORECASE)
_NO_STORE = re.compile(r"(?:^|,)\s*no-store\s*(?:$|,)", re.IGNORECASE)
_MOST_NAME = 1_000


class AnalysisQuery(BaseModel):
    """The query of a request for an analysis; a parameter that is not known is refused, since it may be a slip."""

    model_config = ConfigDict(extra="forbid")

    granularity: Granularity = Field("utterance", description="`frame` adds the scores of every 20 ms, and segments")
    embedding: EmbeddingForm = Field(
        "none", description="`npy` offers a file embedding.npy, `base64` puts the numbers into the answer"
    )
    exports: list[ExportFormat] = Field(
        [], max_length=32, description="files for other programs; repeat the parameter, or separate with commas"
    )
    name: Annotated[str | None, Field(max_length=_MOST_NAME)] = Field(
        None, description="what the recording is called, for a body that is the recording itself"
    )

    @field_validator("exports", mode="before")
    @classmethod
    def _apart(cls, given: object) -> object:
        if not isinstance(given, list):
            return given
        return [name.strip() for part in given for name in str(part).split(",") if name.strip()]


@dataclass(frozen=True)
class Wish:
    """What is wanted of one recording; `cache` says whether an earlier analysis of the same sound may answer."""

    granularity: Granularity = "utterance"
    embedding: EmbeddingForm = "none"
    exports: tuple[ExportFormat, ...] = ()
    cache: bool = True

    @classmethod
    def of(cls, query: AnalysisQuery, headers: Headers) -> "Wish":
        """What query and `Cache-Control` say."""
        exports = tuple(dict.fromkeys(query.exports))
        cache = _NO_STORE.search(headers.get("cache-control", "")) is None
        return cls(query.granularity, query.embedding, exports, cache)


def prefers_async(headers: Headers) -> bool:
    """Whether the client wants a job at once: `Prefer: respond-async` (RFC 7240)."""
    return _PREFERENCE.search(", ".join(headers.getlist("prefer"))) is not None
