"""Clips of the speech folder: manifest, decoded samples kept in one cache file, folds by speaker."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from emotion.compact import LABELS

NUM_FOLDS = 4


@dataclass(frozen=True)
class Speech:
    """All clips end to end: samples int16 [N] at 16 kHz, and one row per clip in the other arrays."""

    samples: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    corpora: np.ndarray
    speakers: np.ndarray
    paths: np.ndarray

    def clip(self, index: int) -> np.ndarray:
        """Samples float32 [n] of one clip."""
        start = self.starts[index]
        return self.samples[start : start + self.lengths[index]].astype(np.float32) / 32768


def load_speech(speech_folder: Path, cache_folder: Path) -> Speech:
    with (speech_folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cache_file = cache_folder / "samples.npz"
    if not cache_file.exists():
        decode(speech_folder, [row["path"] for row in rows], cache_file)
    stored = np.load(cache_file)
    lengths = stored["lengths"]
    return Speech(
        samples=stored["samples"],
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        lengths=lengths,
        labels=np.array([LABELS.index(row["label"]) for row in rows]),
        corpora=np.array([row["corpus"] for row in rows]),
        speakers=np.array([row["speaker"] for row in rows]),
        paths=np.array([row["path"] for row in rows]),
    )


def decode(speech_folder: Path, paths: list[str], cache_file: Path) -> None:
    """Decode every clip once; an hour of Opus takes some seconds, and 15 hours would still fit in memory as int16."""
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    clips = []
    for path in paths:
        samples, rate_hz = soundfile.read(speech_folder / path, dtype="int16")
        if rate_hz != 16_000 or samples.ndim != 1:
            raise SystemExit(f"{path}: {rate_hz} Hz, shape {samples.shape}; expected 16 kHz mono.")
        clips.append(samples)
    np.savez(cache_file, samples=np.concatenate(clips), lengths=np.array([len(clip) for clip in clips]))


def folds(speech: Speech) -> np.ndarray:
    """The fold [clips] in which each clip is held out: every corpus deals its sorted speakers round in pairs."""
    fold_of_speaker = {}
    for corpus in np.unique(speech.corpora):
        for rank, speaker in enumerate(np.unique(speech.speakers[speech.corpora == corpus])):
            fold_of_speaker[speaker] = rank // 2 % NUM_FOLDS
    return np.array([fold_of_speaker[speaker] for speaker in speech.speakers])
