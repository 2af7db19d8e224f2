"""What travels between the front and a replica: one recording there, progress and at last an analysis back.

Long arrays travel in pieces, so that neither side holds three hours of embeddings (2.2 GB) as one message.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np

from emotion.analysis import Analysis, AnalysisRequest
from emotion.audio import Clip, empty_array, forget_rows
from emotion.cache import CacheStats
from emotion.engine import BatchPredicted, Progress, StageTimes
from emotion.errors import EmotionError
from emotion.model import FloatArray, ModelCard

# 4 MB: a recording of a minute still fits into one message.
_PIECE_NUMBERS = 1_000_000


@dataclass(frozen=True)
class AnalyzeRequest:
    """One recording for a replica, and the id of the request that it belongs to.

    The source is a path only where front and replicas share a file system. Of a clip the samples do not come back.
    """

    source: bytes | Path | Clip
    request: AnalysisRequest
    name: str | None
    request_id: str


@dataclass(frozen=True)
class ProgressMessage:
    """How far a replica is."""

    progress: Progress


@dataclass(frozen=True)
class Piece:
    """Rows of one array of an analysis, from row `start` on."""

    array: str
    start: int
    rows: FloatArray


@dataclass(frozen=True)
class Answer:
    """An analysis without its long arrays; `shapes` of those that follow as pieces, of which some are here already."""

    analysis: Analysis
    shapes: dict[str, tuple[int, ...]]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Refused:
    """What is wrong with the recording, or with the model."""

    error: EmotionError


@dataclass(frozen=True)
class ReplicaUnavailable:
    """The replica is ending or full; another one may be asked."""


Message = ProgressMessage | Answer | Piece | Refused | ReplicaUnavailable


@dataclass(frozen=True)
class Report:
    """One replica at one moment, with its recordings in work; `batches` are those since its last report."""

    replica: str
    in_work: int
    card: ModelCard
    decode_threads: int
    batch_frames: int
    times: StageTimes
    cache: CacheStats | None
    batches: tuple[BatchPredicted, ...] = field(default=(), repr=False)


def packed(analysis: Analysis, with_samples: bool) -> Iterator[Answer | Piece]:
    """The analysis as messages; the first one is the answer."""
    samples = analysis.clip.samples if with_samples else None
    found = {"samples": samples, "embedding": analysis.embedding, "frame_scores": analysis.frame_scores}
    arrays = {name: array for name, array in found.items() if array is not None}
    pieces = _pieces(arrays)
    first, count = [], 0
    for piece in pieces:
        first.append(piece)
        count += piece.rows.size
        if count >= _PIECE_NUMBERS:
            break
    clip = replace(analysis.clip, samples=np.zeros(0, np.float32), samples_not_kept=analysis.clip.num_samples)
    bare = replace(analysis, clip=clip, embedding=None, frame_scores=None)
    yield Answer(bare, {name: array.shape for name, array in arrays.items()}, tuple(first))
    yield from pieces


class ResultAssembler:
    """Puts the messages of one analysis together; `clip` is the front's own, None where the samples come back.

    Raises DiskFull where a long array finds no room.
    """

    def __init__(self, answer: Answer, clip: Clip | None) -> None:
        self._analysis, self._clip = answer.analysis, clip
        self._arrays = {name: empty_array(shape) for name, shape in answer.shapes.items()}
        self._missing = sum(prod(shape) for shape in answer.shapes.values())
        for piece in answer.pieces:
            self.add(piece)

    @property
    def is_whole(self) -> bool:
        return self._missing == 0

    def add(self, piece: Piece) -> None:
        array, stop = self._arrays[piece.array], piece.start + len(piece.rows)
        array[piece.start : stop] = piece.rows
        forget_rows(array, piece.start, stop)
        self._missing -= piece.rows.size

    def analysis(self) -> Analysis:
        """The analysis as the engine of one process gives it."""
        clip = self._clip
        if clip is None:
            self._arrays["samples"].setflags(write=False)
            clip = replace(self._analysis.clip, samples=self._arrays["samples"], samples_not_kept=0)
        return replace(
            self._analysis,
            # A copy: what came with the message lies in the memory of the cluster, and would keep all of it there.
            scores=np.array(self._analysis.scores),
            speech_scores=None if self._analysis.speech_scores is None else np.array(self._analysis.speech_scores),
            clip=clip,
            embedding=self._arrays.get("embedding"),
            frame_scores=self._arrays.get("frame_scores"),
        )


def _pieces(arrays: dict[str, FloatArray]) -> Iterator[Piece]:
    for name, array in arrays.items():
        width = prod(array.shape[1:])
        step = max(_PIECE_NUMBERS // width, 1)
        for start in range(0, len(array), step):
            # A copy, since a slice of a mapped array would be sent as the whole file.
            yield Piece(name, start, np.array(array[start : start + step]))
            forget_rows(array, start, start + step)
