"""What embeddings are for: which recordings sound alike, and a map of all of them. Reads stored embeddings only."""

import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emotion.outputs.history import ClipEntry, History
from emotion.outputs.run import EMBEDDING_FILE

FloatArray = NDArray[np.float32]
View = Literal["none_open", "gone", "no_embedding", "unreadable", "few", "other_model", "compared"]

# 80 MB of embeddings of 1024 numbers, and as much again for comparing them.
MOST_CLIPS = 20_000
# Around the mean of two, each is the exact opposite of the other, whatever they are.
LEAST_CLIPS = 3
_ALWAYS_TOLD = 3
_MOST_NUMBERS = 16_384
_LARGEST = 1e6
# Ten minutes: of a longer recording some frames stand for all, since hours of them take gigabytes.
_MOST_FRAMES = 30_000
_BLOCK_FRAMES = 2_048
_MOST_ROUNDS = 60
_SETTLED = 1e-5


@dataclass(frozen=True)
class StoredClip:
    """A clip with an embedding on the disk, [D] or [T, D]; `key` tells it from all others.

    `fingerprint` is that of the model: embeddings of different models have nothing to do with each other.
    """

    key: str
    embedding: Path
    fingerprint: str
    emotion: str


@dataclass(frozen=True)
class Neighbor:
    """A clip like another: 1 is the same direction from the mean of all, 0 has nothing in common, -1 the opposite."""

    key: str
    emotion: str
    similarity: float


@dataclass(frozen=True)
class MapPoint:
    """Where a clip lies on the map, from -1 to 1 on both axes."""

    key: str
    emotion: str
    x: float
    y: float


@dataclass(frozen=True)
class ClipMap:
    """The map of the clips of one model; `shown` is the share of what tells them apart that two axes can show."""

    points: tuple[MapPoint, ...] = ()
    shown: float = 0.0


@dataclass(frozen=True)
class KnownClip:
    """A clip of the history, and when its run began."""

    entry: ClipEntry
    started: datetime


@dataclass(frozen=True)
class Neighborhood:
    """What there is to see around one clip of the history.

    `view` is `compared`, or says why the clip cannot be: `none_open`, `gone` from the history, kept with
    `no_embedding` or with one that is `unreadable`, too `few` clips to compare, or so because the others are of an
    `other_model`. `comparable` counts the clips that it can be compared with and itself, `embedded` all clips of the
    history with an embedding, `clips` has all clips by folder. The map is of the clip's own model, or of the model
    with the most clips where the clip cannot be compared.
    """

    view: View
    comparable: int
    embedded: int
    neighbors: tuple[Neighbor, ...]
    map: ClipMap
    clips: Mapping[str, KnownClip]


@dataclass(frozen=True, eq=False)
class _Held:
    """A clip, the state of its file, and its embedding [D]; None where the file holds none."""

    clip: StoredClip
    stamp: tuple[str, int, int]
    embedding: FloatArray | None


class EmbeddingIndex:
    """The embeddings of stored clips in memory, each read once; for any thread.

    Clips are compared by centred cosine: the mean of all embeddings of the model is subtracted first. Without that
    every pair of clips is alike, since the raw cosines of emotion2vec+ are all above 0.93. It also means that a
    similarity depends on what else is stored, and that over n clips the mean of all pairs is about -1 / (n - 1): among
    fewer than LEAST_CLIPS clips there is nothing to compare, and among a handful only the order says something.
    """

    def __init__(self, most_clips: int = MOST_CLIPS) -> None:
        self._most_clips = most_clips
        self._held: dict[str, _Held] = {}
        self._groups: dict[tuple[str, int], _Group] = {}
        self._lock = threading.Lock()

    def update(self, clips: Iterable[StoredClip]) -> None:
        """Hold exactly these clips, given newest first; beyond `most_clips` the older ones are left out.

        Reads only files that are new or have changed. One that is no embedding is skipped.
        """
        with self._lock:
            held: dict[str, _Held] = {}
            for clip in islice(clips, self._most_clips):
                if clip.key not in held and (one := _hold(clip, self._held.get(clip.key))) is not None:
                    held[clip.key] = one
            if list(held.values()) != list(self._held.values()):
                self._held, self._groups = held, _grouped(held)

    @property
    def embedded(self) -> int:
        """How many clips have an embedding, of whatever model."""
        with self._lock:
            return sum(len(group.clips) for group in self._groups.values())

    def comparable(self, key: str) -> int:
        """How many clips can be compared with this one, itself among them; 0 if it has no embedding here."""
        with self._lock:
            group = self._group_of(key)
            return 0 if group is None else len(group.clips)

    def nearest(self, key: str, count: int) -> list[Neighbor]:
        """The clips most like this one, the nearest first, without itself.

        Empty where it has no embedding here, or fewer than LEAST_CLIPS clips can be compared.
        """
        with self._lock:
            group = self._group_of(key)
            return [] if group is None or len(group.clips) < LEAST_CLIPS else group.nearest(key, count)

    def map(self, fingerprint: str | None = None) -> ClipMap:
        """All clips of a model in two dimensions, by default of the model with the most clips.

        Two axes of a principal component analysis of the centred embeddings, each of length 1. The same clips give
        the same map. Empty with fewer than LEAST_CLIPS clips. Computed once until the clips change.
        """
        with self._lock:
            groups = [group for (model, _), group in self._groups.items() if fingerprint in (None, model)]
            largest = max(groups, key=lambda group: len(group.clips), default=None)
            return ClipMap() if largest is None or len(largest.clips) < LEAST_CLIPS else largest.map()

    def query_neighborhood(self, history: History, folder: str, count: int) -> Neighborhood:
        """What lies around a clip of the history: at most `count` clips like it, and the map.

        `folder` is that of the clip as in the history, empty for none. Beyond the three nearest, only clips that have
        something in common with it are told. Reads the embeddings that are new.
        """
        clips = _known_clips(history)
        self.update(_stored(history, clips))
        known, comparable, embedded = clips.get(folder), self.comparable(folder), self.embedded
        view: View = "compared"
        if known is None:
            view = "gone" if folder else "none_open"
        elif comparable == 0:
            view = "unreadable" if known.entry.has_embedding else "no_embedding"
        elif comparable < LEAST_CLIPS:
            view = "other_model" if embedded >= LEAST_CLIPS else "few"
        own_model = known.entry.fingerprint if known is not None and view == "compared" else None
        found = enumerate(self.nearest(folder, count))
        neighbors = tuple(one for place, one in found if place < _ALWAYS_TOLD or one.similarity > 0)
        return Neighborhood(view, comparable, embedded, neighbors, self.map(own_model), clips)

    def _group_of(self, key: str) -> "_Group | None":
        held = self._held.get(key)
        if held is None or held.embedding is None:
            return None
        return self._groups[held.clip.fingerprint, len(held.embedding)]


class _Group:
    """Clips that can be compared; what is computed of them is kept."""

    def __init__(self) -> None:
        self.clips: list[StoredClip] = []
        self.embeddings: list[FloatArray] = []
        self._unit: FloatArray | None = None
        self._map: ClipMap | None = None

    def nearest(self, key: str, count: int) -> list[Neighbor]:
        unit = self._directions()
        own = next(row for row, clip in enumerate(self.clips) if clip.key == key)
        similarities = np.clip(unit @ unit[own], -1.0, 1.0)
        order = np.argsort(-similarities, kind="stable")
        chosen = [int(row) for row in order if row != own][: max(count, 0)]
        return [Neighbor(self.clips[row].key, self.clips[row].emotion, float(similarities[row])) for row in chosen]

    def map(self) -> ClipMap:
        if self._map is None:
            places, shown = flat_map(self._directions())
            points = zip(self.clips, places.tolist(), strict=True)
            self._map = ClipMap(tuple(MapPoint(clip.key, clip.emotion, x, y) for clip, (x, y) in points), shown)
        return self._map

    def _directions(self) -> FloatArray:
        if self._unit is None:
            self._unit = directions(np.stack(self.embeddings))
        return self._unit


def _known_clips(history: History) -> dict[str, KnownClip]:
    """All clips of the history by folder, newest first."""
    runs = history.runs().runs
    return {clip.folder: KnownClip(clip, run.started) for run in runs for clip in run.clips if clip.folder}


def _stored(history: History, clips: Mapping[str, KnownClip]) -> Iterator[StoredClip]:
    for folder, known in clips.items():
        if known.entry.has_embedding:
            path = history.outputs / folder / EMBEDDING_FILE
            yield StoredClip(folder, path, known.entry.fingerprint, known.entry.emotion)


def directions(embeddings: FloatArray) -> FloatArray:
    """Embeddings [N, D] seen from their mean, each of length 1, or 0 where one is the mean itself."""
    centered: FloatArray = embeddings - embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    # What float32 leaves of equal embeddings is noise, and has no direction.
    noise = 1e-6 * np.linalg.norm(embeddings, axis=1, keepdims=True)
    centered /= np.where(lengths > noise, lengths, np.inf)
    return centered


def flat_map(unit: FloatArray) -> tuple[FloatArray, float]:
    """Directions [N, D] as points [N, 2] in [-1, 1] with one scale for both axes, and the share of variance shown.

    The first axis shows most. Of the two ways round, the furthest point of each axis is on its positive side.
    """
    centered = unit - unit.mean(axis=0)
    total = float(np.vdot(centered, centered))
    if total <= _SETTLED:
        return np.zeros((len(unit), 2), np.float32), 0.0
    # Either matrix has the same eigenvalues; the smaller one costs less.
    few = len(centered) <= centered.shape[1]
    values, vectors = _top_two(centered @ centered.T if few else centered.T @ centered)
    places = vectors * np.sqrt(values) if few else centered @ vectors
    furthest = places[np.abs(places).argmax(axis=0), [0, 1]]
    places *= np.where(furthest < 0, -1, 1)
    return (places / np.abs(places).max()).astype(np.float32), min(float(values.sum()) / total, 1.0)


def _top_two(gram: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The two largest eigenvalues [2] of a symmetric matrix [n, n], and their vectors [n, 2].

    Subspace iteration (Golub and Van Loan, 'Matrix Computations', 8.2.4): all eigenvectors, as numpy finds them, take
    a second for 1024 of which two are wanted.
    """
    width = min(len(gram), 12)
    basis = np.random.default_rng(0).standard_normal((len(gram), width)).astype(np.float32)
    basis, before = np.linalg.qr(basis)[0], 0.0
    for _ in range(_MOST_ROUNDS):
        basis = np.linalg.qr(gram @ basis)[0]
        values, turn = np.linalg.eigh(basis.T @ gram @ basis)
        now = float(values[-2:].sum())
        if abs(now - before) <= _SETTLED * now:
            break
        before = now
    return np.maximum(values[:-3:-1], 0.0), (basis @ turn)[:, :-3:-1]


def _grouped(held: dict[str, _Held]) -> dict[tuple[str, int], _Group]:
    """By model and size of the embedding, since a file may claim the fingerprint of a model that it is not of."""
    groups: dict[tuple[str, int], _Group] = {}
    for one in held.values():
        if one.embedding is not None:
            group = groups.setdefault((one.clip.fingerprint, len(one.embedding)), _Group())
            group.clips.append(one.clip)
            group.embeddings.append(one.embedding)
    return groups


def _hold(clip: StoredClip, before: _Held | None) -> _Held | None:
    """The clip with its embedding, as it was read before if the file is the same; None where there is no file."""
    try:
        found = clip.embedding.stat()
    except (OSError, ValueError):
        return None
    stamp = (str(clip.embedding), found.st_mtime_ns, found.st_size)
    if before is not None and before.stamp == stamp:
        return before if before.clip == clip else _Held(clip, stamp, before.embedding)
    # Only of a plain file: to open a pipe would wait for somebody who writes into it.
    return _Held(clip, stamp, _read(clip.embedding) if stat.S_ISREG(found.st_mode) else None)


def _read(path: Path) -> FloatArray | None:
    """The embedding [D] of a clip, the mean of its frames if it has them; None where the file holds no embedding."""
    try:
        stored = np.lib.format.open_memmap(path, mode="r")
        return _mean(stored) if _is_embedding(stored) else None
    except Exception:  # whatever a file that is no embedding makes numpy raise belongs to it alone
        return None


def _is_embedding(stored: NDArray[np.generic]) -> bool:
    return (
        stored.dtype.kind == "f" and stored.ndim in (1, 2) and stored.size > 0 and 1 < stored.shape[-1] <= _MOST_NUMBERS
    )


def _mean(stored: NDArray[np.floating]) -> FloatArray | None:
    frames = np.atleast_2d(stored)
    frames = frames[:: -(-len(frames) // _MOST_FRAMES)]
    total = np.zeros(frames.shape[1])
    for start in range(0, len(frames), _BLOCK_FRAMES):  # a few megabytes at a time of what may be gigabytes
        total += frames[start : start + _BLOCK_FRAMES].sum(axis=0, dtype=np.float64)
    mean = total / len(frames)
    # Also refuses what is no number. One absurd embedding would move the mean of all.
    return mean.astype(np.float32) if np.abs(mean).max() <= _LARGEST else None
