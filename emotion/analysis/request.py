"""What is wanted of one recording."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from emotion.record import Granularity

GRANULARITIES: tuple[Granularity, ...] = ("utterance", "frame")
ExportFormat = Literal["csv", "srt", "vtt", "textgrid", "audacity", "rttm", "labelstudio"]
EmbeddingForm = Literal["npy", "base64"]
Priority = Literal["interactive", "background"]


@dataclass(frozen=True)
class AnalysisRequest:
    """What is wanted of one recording: made by each face, passed whole to the engine and to the writer of results.

    - `embedding_form` is how an answer over HTTP carries the embedding.
    - `exports` and `keep_audio` say what is written beside result.json.
    - Without `cache` the recording is computed even if the same sound was before, and not kept for the next one.
    - `client` is whose recordings in work are counted together; those of nobody (empty) are not counted.
    - Only what was computed for the same `owner` is taken from the cache: that a sound was heard before is nobody
      else's business.
    - A `background` request leaves a quarter of the queue to `interactive` ones.
    """

    granularity: Granularity = "utterance"
    embedding: bool = False
    embedding_form: EmbeddingForm = "npy"
    exports: tuple[ExportFormat, ...] = ()
    keep_audio: bool = True
    cache: bool = True
    client: str = ""
    owner: str = ""
    priority: Priority = "interactive"

    @property
    def keeps_frames(self) -> bool:
        """Whether the embeddings of all frames are wanted."""
        return self.embedding and self.granularity == "frame"

    def with_changes(self, **changes: Any) -> Self:
        """The same request with other values in some fields; raises TypeError for a field that it does not have."""
        return replace(self, **changes) if changes else self
