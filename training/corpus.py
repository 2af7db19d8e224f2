"""Clips of the speech folder: manifest, decoded samples kept in one cache file, folds by speaker."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from emotion.audio import SAMPLE_RATE_HZ
from emotion.model.compact import LABELS

NUM_FOLDS = 4
CORPORA = ("emodb", "ravdess", "nemo", "crema-d")


@dataclass(frozen=True)
class Speech:
    """All clips end to end: samples int16 [N] at 16 kHz, and one row per clip in the other arrays."""

    samples: NDArray[np.int16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    corpora: NDArray[np.str_]
    speakers: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def clip(self, row: int) -> NDArray[np.float32]:
        """Samples float32 [n] of one clip."""
        start = self.starts[row]
        samples = self.samples[start : start + self.lengths[row]]
        return samples.astype(np.float32) / np.float32(32_768)


def load_speech(speech_folder: Path, cache_folder: Path) -> Speech:
    """The clips of `manifest.csv`; they are decoded on first use."""
    with (speech_folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cache_file = cache_folder / "samples.npz"
    if not cache_file.exists():
        write_samples(speech_folder, [row["path"] for row in rows], cache_file)
    stored = np.load(cache_file)
    lengths = stored["lengths"]
    return Speech(
        samples=stored["samples"],
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        labels=np.array([LABELS.index(row["label"]) for row in rows]),
        corpora=np.array([row["corpus"] for row in rows]),
        speakers=np.array([row["speaker"] for row in rows]),
    )


def write_samples(speech_folder: Path, paths: list[str], cache_file: Path) -> None:
    # Four hours of speech are half a gigabyte of int16; decoding them at every start would cost half a minute.
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    clips = [read_clip(speech_folder / path) for path in paths]
    np.savez(cache_file, samples=np.concatenate(clips), lengths=np.array([len(clip) for clip in clips]))


def read_clip(path: Path) -> NDArray[np.int16]:
    samples, rate_hz = soundfile.read(path, dtype="int16")
    if rate_hz != SAMPLE_RATE_HZ or samples.ndim != 1:
        raise SystemExit(f"{path} has {rate_hz} Hz and shape {samples.shape}; the scripts expect 16 kHz mono.")
    return np.asarray(samples, np.int16)


def fold_of_clips(speech: Speech) -> NDArray[np.int64]:
    """The fold [clips] in which each clip is held out, with all other clips of its speaker.

    Each corpus deals its sorted speakers out in pairs, because RAVDESS alternates men and women.
    """
    fold_of_speaker = {}
    for corpus in CORPORA:
        for rank, speaker in enumerate(np.unique(speech.speakers[speech.corpora == corpus])):
            fold_of_speaker[speaker] = rank // 2 % NUM_FOLDS
    return np.array([fold_of_speaker[speaker] for speaker in speech.speakers])


def held_out_rows(speech: Speech, scheme: str) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Name and mask [clips] of each part that is held out in turn: `speakers` or `corpora`."""
    if scheme == "speakers":
        folds = fold_of_clips(speech)
        yield from ((f"fold{fold}", folds == fold) for fold in range(NUM_FOLDS))
    else:
        # CREMA-D's part has only two classes in earnest, so leaving it out alone would measure little.
        yield from ((corpus, speech.corpora == corpus) for corpus in CORPORA if corpus != "crema-d")
