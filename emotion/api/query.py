"""The query and the headers of a request for an analysis."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.datastructures import Headers

from emotion.access import Client
from emotion.analysis import AnalysisRequest, EmbeddingForm, ExportFormat, Granularity

_PREFERENCE = re.compile(r"(?:^|,)\s*respond-async\s*(?:$|[,;])", re.IGNORECASE)
_NO_STORE = re.compile(r"(?:^|,)\s*no-store\s*(?:$|,)", re.IGNORECASE)
_MAX_NAME_LENGTH = 1_000


class AnalysisQuery(BaseModel):
    """The query of a request for an analysis; an unknown parameter is refused, since it may be a typing error."""

    model_config = ConfigDict(extra="forbid")

    granularity: Granularity = Field("utterance", description="`frame` adds the scores of every 20 ms, and segments")
    embedding: Literal["none", EmbeddingForm] = Field(
        "none", description="`npy` offers a file embedding.npy, `base64` puts the numbers into the answer"
    )
    exports: list[ExportFormat] = Field(
        [], max_length=32, description="files for other programs; repeat the parameter, or separate with commas"
    )
    name: Annotated[str | None, Field(max_length=_MAX_NAME_LENGTH)] = Field(
        None, description="what the recording is called, for a body that is the recording itself"
    )

    @field_validator("exports", mode="before")
    @classmethod
    def _split_at_commas(cls, given: object) -> object:
        if not isinstance(given, list):
            return given
        return [name.strip() for part in given for name in str(part).split(",") if name.strip()]

    def request(self, headers: Headers, client: Client) -> AnalysisRequest:
        """What this client wants of a recording; `Cache-Control: no-store` has it computed anew."""
        return AnalysisRequest(
            granularity=self.granularity,
            embedding=self.embedding != "none",
            embedding_form="npy" if self.embedding == "none" else self.embedding,
            exports=tuple(dict.fromkeys(self.exports)),
            keep_audio=False,
            cache=_NO_STORE.search(headers.get("cache-control", "")) is None,
            client=client.name,
            owner=client.owner,
        )


def prefers_async(headers: Headers) -> bool:
    """Whether the client wants a job at once: `Prefer: respond-async` (RFC 7240)."""
    return _PREFERENCE.search(", ".join(headers.getlist("prefer"))) is not None
