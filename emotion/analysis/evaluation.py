"""How well a model does on labelled recordings: accuracies, F1 and the confusion matrix."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion.errors import EmotionError
from emotion.labels import EMOTIONS

# Words that corpora use for the nine labels.
_SYNONYMS = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "fearful",
    "fearfull": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "calm": "neutral",
    "boredom": "other",
    "sadness": "sad",
    "surprise": "surprised",
    "pleasant_surprise": "surprised",
    "<unk>": "unknown",
}


@dataclass(frozen=True)
class LabelledFile:
    """One recording and what a person says it is."""

    path: Path
    label: str


@dataclass(frozen=True)
class Evaluation:
    """Counts [R, C] of recordings by reference label (row) and recognised label (column), and what follows.

    Unweighted accuracy is the mean recall of the labels that occur; weighted accuracy the share of recordings that
    are right; F1 is the mean over the labels that occur (macro).
    """

    references: tuple[str, ...]
    recognized: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def recalls(self) -> dict[str, float]:
        return {label: self._hits(label) / int(self._row(label).sum()) for label in self.references}

    @property
    def unweighted_accuracy(self) -> float:
        return float(np.mean(list(self.recalls.values())))

    @property
    def weighted_accuracy(self) -> float:
        return sum(self._hits(label) for label in self.references) / int(self.confusion.sum())

    @property
    def f1(self) -> float:
        return float(np.mean([self._f1_of(label) for label in self.references]))

    def record(self) -> dict[str, object]:
        """The numbers as JSON."""
        return {
            "unweighted_accuracy": self.unweighted_accuracy,
            "weighted_accuracy": self.weighted_accuracy,
            "f1": self.f1,
            "recalls": self.recalls,
            "rows": list(self.references),
            "columns": list(self.recognized),
            "confusion": self.confusion.tolist(),
        }

    def _row(self, label: str) -> NDArray[np.int64]:
        row: NDArray[np.int64] = self.confusion[self.references.index(label)]
        return row

    def _hits(self, label: str) -> int:
        return int(self._row(label)[self.recognized.index(label)]) if label in self.recognized else 0

    def _f1_of(self, label: str) -> float:
        called = int(self.confusion[:, self.recognized.index(label)].sum()) if label in self.recognized else 0
        return 2 * self._hits(label) / (called + int(self._row(label).sum()))


def evaluate(pairs: Sequence[tuple[str, str]]) -> Evaluation:
    """The evaluation of (reference, recognised) labels; raises EmotionError when there are none."""
    if not pairs:
        raise EmotionError("No recording could be recognised, so there is nothing to evaluate.")
    order = [emotion.key for emotion in EMOTIONS]
    references = _in_order({reference for reference, _ in pairs}, order)
    recognized = _in_order({label for pair in pairs for label in pair}, order)
    confusion = np.zeros((len(references), len(recognized)), np.int64)
    for reference, label in pairs:
        confusion[references.index(reference), recognized.index(label)] += 1
    return Evaluation(references, recognized, confusion)


def read_labelled(source: Path, suffixes: frozenset[str]) -> list[LabelledFile]:
    """Labelled recordings of a folder with one sub-folder per label, or of a CSV with the columns path and label.

    Paths in a CSV are relative to it. Raises EmotionError for an unknown label or when nothing is found.
    """
    if source.is_dir():
        files = sorted(p for p in source.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        labelled = [LabelledFile(p, _label_of_folder(p, source)) for p in files]
    else:
        labelled = _read_csv(source)
    if not labelled:
        raise EmotionError(f"{source.name!r} holds no labelled recording. Make one sub-folder per label, or a CSV.")
    return labelled


def label_of_word(word: str) -> str:
    """The label that a person's word means: a key, a token, a Chinese name or a usual synonym."""
    plain = word.strip().lower().replace(" ", "_")
    for emotion in EMOTIONS:
        if plain in (emotion.key, emotion.token, emotion.chinese, *emotion.token.split("/")):
            return emotion.key
    if plain in _SYNONYMS:
        return _SYNONYMS[plain]
    raise EmotionError(f"{word!r} is no label. Use one of {', '.join(emotion.key for emotion in EMOTIONS)}.")


def _label_of_folder(path: Path, root: Path) -> str:
    parts = path.relative_to(root).parts
    if len(parts) == 1:
        raise EmotionError(
            f"{path.name!r} lies in no label's folder. Move it into one, for example {root.name}/happy/."
        )
    return label_of_word(parts[-2])


def _read_csv(source: Path) -> list[LabelledFile]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise EmotionError(f"{source.name!r} is neither a folder nor a readable CSV. Check the name.") from None
    rows = csv.DictReader(text.splitlines())
    if not {"path", "label"} <= set(rows.fieldnames or ()):
        raise EmotionError(f"{source.name!r} needs the columns path and label in its first line.")
    return [LabelledFile(source.parent / row["path"], label_of_word(row["label"])) for row in rows]


def _in_order(labels: set[str], order: list[str]) -> tuple[str, ...]:
    known = [label for label in order if label in labels]
    return (*known, *sorted(labels - set(known)))
