"""Features of every clip, clean and distorted, computed once and shared by all runs."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion.model.compact import CompactConfig, Features, running_statistics
from training.augment import change_speed, distort, normalize
from training.corpus import Speech, load_speech

NUM_VERSIONS = 9  # The first is clean.
SPEED_SPREAD = 0.1
PLACE_STEP = 12  # Statistics change slowly: one place in a quarter of a second is enough.


@dataclass(frozen=True)
class Version:
    """Features of all clips end to end: levels [2 N, bands], pitches [N, pitches] and statistics [M, S].

    `starts` and `counts` tell the frames of each clip, `first_places` and `place_counts` its places.
    """

    levels: NDArray[np.float16]
    pitches: NDArray[np.float16]
    statistics: NDArray[np.float16]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    first_places: NDArray[np.int64]
    place_counts: NDArray[np.int64]

    def cut(self, row: int, size: int, rng: np.random.Generator) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """A random stretch of one clip: levels [size, 2, bands], pitches [size, pitches]; a short clip is repeated."""
        start, count = self.starts[row], self.counts[row]
        first = rng.integers(count - size + 1 if count > size else count)
        frames = start + (first + np.arange(size)) % count
        return self.levels.reshape(-1, 2, self.levels.shape[1])[frames], self.pitches[frames]


@dataclass(frozen=True)
class Store:
    """All versions of the features."""

    versions: tuple[Version, ...]

    def cut(self, rows: NDArray[np.int64], size: int, clean: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Levels [B, bands, 2 size] and pitches [B, pitches, size], a share `clean` of them undistorted."""
        cuts = [self.pick(clean, rng).cut(row, size, rng) for row in rows]
        levels = torch.from_numpy(np.stack([levels for levels, _ in cuts])).float()
        pitches = torch.from_numpy(np.stack([pitches for _, pitches in cuts])).float()
        return levels.flatten(1, 2).transpose(1, 2), pitches.transpose(1, 2)

    def statistics(self, rows: NDArray[np.int64], places: int, clean: float, rng: np.random.Generator) -> Tensor:
        """Statistics [B, places, S] at random places of the clips."""
        seen = []
        for row in rows:
            version = self.pick(clean, rng)
            chosen = version.first_places[row] + rng.integers(0, version.place_counts[row], places)
            seen.append(version.statistics[chosen])
        return torch.from_numpy(np.stack(seen)).float()

    def moments(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Mean and deviation [S] of the statistics of these clips, over all versions."""
        seen = [
            version.statistics[version.first_places[rows] + version.place_counts[rows] // 2]
            for version in self.versions
        ]
        statistics = torch.from_numpy(np.concatenate(seen)).float()
        return statistics.mean(0), statistics.std(0) + 1e-3

    def pick(self, clean: float, rng: np.random.Generator) -> Version:
        return self.versions[0 if rng.random() < clean else rng.integers(1, len(self.versions))]


def load_store(cache_folder: Path) -> Store:
    """The store that `python -m training.store` wrote; features stay on disk and are mapped."""
    return Store(tuple(load_version(cache_folder, number) for number in range(NUM_VERSIONS)))


def load_version(cache_folder: Path, number: int) -> Version:
    counts = np.load(cache_folder / f"counts{number}.npy")
    place_counts = np.array([len(places(count)) for count in counts])
    return Version(
        levels=np.load(cache_folder / f"levels{number}.npy", mmap_mode="r"),
        pitches=np.load(cache_folder / f"pitches{number}.npy", mmap_mode="r"),
        statistics=np.load(cache_folder / f"statistics{number}.npy", mmap_mode="r"),
        starts=starts_of(counts),
        counts=counts,
        first_places=starts_of(place_counts),
        place_counts=place_counts,
    )


def starts_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)[:-1]])


def places(count: int) -> NDArray[np.int64]:
    """The frames of a clip at which its statistics are kept."""
    return np.arange(min(PLACE_STEP // 2, int(count) // 2), count, PLACE_STEP)


@torch.no_grad()
def write_version(speech: Speech, number: int, cache_folder: Path) -> None:
    config = CompactConfig()
    features = Features(config.num_bands, config.num_pitches)
    generator = torch.Generator().manual_seed(1000 + number)
    levels, pitches, statistics = [], [], []
    for row in range(len(speech)):
        waveform = torch.from_numpy(speech.clip(row))[None]
        heard = normalize(waveform) if number == 0 else distorted(waveform, generator)
        level, pitch = features(heard)
        around = running_statistics(level, pitch)[0]
        levels.append(level[0].T.half().numpy())
        pitches.append(pitch[0].T.half().numpy())
        statistics.append(around[places(len(around))].half().numpy())
    np.save(cache_folder / f"levels{number}.npy", np.concatenate(levels))
    np.save(cache_folder / f"pitches{number}.npy", np.concatenate(pitches))
    np.save(cache_folder / f"statistics{number}.npy", np.concatenate(statistics))
    np.save(cache_folder / f"counts{number}.npy", np.array([len(pitch) for pitch in pitches]))


def distorted(waveform: Tensor, generator: torch.Generator) -> Tensor:
    rate = torch.exp(SPEED_SPREAD * torch.randn((), generator=generator)).clamp(0.75, 1.33)
    return distort(change_speed(waveform, float(rate)), generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path, help="folder with manifest.csv")
    parser.add_argument("--cache", type=Path, default=Path("training/cache"))
    parser.add_argument("--versions", type=int, nargs="*", default=list(range(NUM_VERSIONS)))
    arguments = parser.parse_args()
    speech = load_speech(arguments.speech, arguments.cache)
    for number in arguments.versions:
        write_version(speech, number, arguments.cache)
        print(f"version {number} of the features is written", flush=True)


if __name__ == "__main__":
    main()
