"""How far two ways to compute one model lie apart on the same recordings; pure numbers, no file and no model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from emotion.analysis import Analysis
from emotion.errors import EmotionError
from emotion.model import FloatArray


@dataclass(frozen=True)
class Answer:
    """What one way said of one recording: scores [C] in the order of `labels`, embedding [D] of the whole recording."""

    name: str
    labels: tuple[str, ...]
    scores: FloatArray
    embedding: FloatArray

    @property
    def label(self) -> str:
        return self.labels[int(self.scores.argmax())]

    @property
    def confidence(self) -> float:
        return float(self.scores.max())


@dataclass(frozen=True)
class LabelChange:
    """A recording that the two ways call by different labels."""

    name: str
    label: str
    confidence: float
    other_label: str
    other_confidence: float


@dataclass(frozen=True)
class Comparison:
    """Differences over `recordings`: of every score of every recording, and of embeddings (1 - cosine, 0 to 2).

    `agreement` is the share of recordings with the same label; `changes` are the others.
    """

    recordings: int
    agreement: float
    mean_score_difference: float
    largest_score_difference: float
    mean_embedding_distance: float
    largest_embedding_distance: float
    changes: tuple[LabelChange, ...]

    def record(self) -> dict[str, object]:
        """The numbers as JSON."""
        return {**asdict(self), "changes": [asdict(change) for change in self.changes]}


def answer_of(analysis: Analysis) -> Answer:
    """What is compared of an analysis for utterance granularity with its embedding; the recording is let go of."""
    if analysis.embedding is None or analysis.embedding.ndim != 1:
        raise ValueError("an analysis of the whole recording with its embedding is needed")
    return Answer(analysis.clip.name, analysis.model.labels, analysis.scores, analysis.embedding)


def compare(answers: Sequence[Answer], others: Sequence[Answer]) -> Comparison:
    """The comparison of two lists of answers about the same recordings in the same order.

    Raises EmotionError when there are none, or when the two sides know different labels.
    """
    if not answers:
        raise EmotionError("No recording could be recognised by both, so there is nothing to compare.")
    pairs = list(zip(answers, others, strict=True))
    if any(answer.labels != other.labels for answer, other in pairs):
        raise EmotionError("The two sides know different labels. Compare one model with itself.")
    differences = np.array([np.abs(answer.scores - other.scores) for answer, other in pairs])
    distances = [_cosine_distance(answer.embedding, other.embedding) for answer, other in pairs]
    changes = tuple(_change(answer, other) for answer, other in pairs if answer.label != other.label)
    return Comparison(
        recordings=len(pairs),
        agreement=1 - len(changes) / len(pairs),
        mean_score_difference=float(differences.mean()),
        largest_score_difference=float(differences.max()),
        mean_embedding_distance=float(np.mean(distances)),
        largest_embedding_distance=max(distances),
        changes=changes,
    )


def _change(answer: Answer, other: Answer) -> LabelChange:
    return LabelChange(answer.name, answer.label, answer.confidence, other.label, other.confidence)


def _cosine_distance(one: FloatArray, two: FloatArray) -> float:
    one64, two64 = one.astype(np.float64), two.astype(np.float64)
    norms = float(np.linalg.norm(one64) * np.linalg.norm(two64))
    # Two equal vectors must not differ by a rounding error below 0.
    return max(1 - float(one64 @ two64) / norms, 0.0) if norms else float(not np.array_equal(one, two))
