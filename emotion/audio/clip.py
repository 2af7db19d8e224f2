"""The clip, the limits of decoding, and the way back from a clip to a WAV file."""

import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from emotion.audio.mapping import forget_rows
from emotion.errors import NothingInside

SAMPLE_RATE_HZ = 16_000

Source = Path | str | bytes
"""A path or the bytes of a file. A string is always a path, never a URL: nothing is fetched."""
Readable = Source | bytearray | memoryview | BinaryIO
"""A source, or what becomes one when it is read: a buffer, or a file that is open in binary mode."""

# fmt: off
SOUND_SUFFIXES = frozenset({
    ".wav", ".wave", ".w64", ".rf64", ".bwf", ".mp3", ".mp2", ".m4a", ".m4b", ".aac",
    ".flac", ".ogg", ".oga", ".opus", ".webm", ".weba", ".mp4", ".m4v", ".mov", ".mkv",
    ".mka", ".3gp", ".3g2", ".amr", ".awb", ".aif", ".aiff", ".aifc", ".caf", ".wma",
    ".asf", ".au", ".snd", ".ac3", ".eac3", ".voc", ".sph", ".nist", ".wv", ".tta",
    ".ape", ".dts", ".ts", ".avi", ".flv",
})
# fmt: on
"""What to look at when a folder is searched; which files are sound is decided by their content."""

WAV_BLOCK_SAMPLES = 1 << 20


@dataclass(frozen=True)
class Clip:
    """One decoded recording: float32 mono at 16 kHz, shape [n], usually in [-1, 1], every sample finite.

    `samples` cannot be written to: a clip is shared by threads. Beyond ten minutes it is a `numpy.memmap` over an
    unlinked temporary file, which goes with the array; what was read of it counts as memory of the process until
    `forget` lets it go: 690 MB for three hours.

    A clip of an earlier run whose sound was not kept has no samples; `samples_not_kept` says how many there were.
    Of a file with several `channels`, `mixed_from` are those that were averaged, counted from 1; `channels_differ` says
    that they held different sound.
    """

    name: str
    samples: NDArray[np.float32]
    samples_not_kept: int = 0
    channels: int = 1
    mixed_from: tuple[int, ...] = ()
    channels_differ: bool = False

    @property
    def num_samples(self) -> int:
        """How long the recording is, whether its sound is here or was not kept."""
        return len(self.samples) + self.samples_not_kept

    @property
    def duration_s(self) -> float:
        return self.num_samples / SAMPLE_RATE_HZ

    def forget(self, start: int = 0, stop: int | None = None) -> None:
        """Let the system take back the memory of samples [start, stop); they are read again from the file when needed.

        Does nothing for a clip that is held in memory; see `forget_rows`.
        """
        forget_rows(self.samples, start, stop)


@dataclass(frozen=True)
class DecodeLimits:
    """What a recording may cost; all are counted while decoding, whatever the header says.

    `max_clip_s` holds in full up to 768,000 samples a second over all channels (16 channels of 48 kHz) and shrinks in
    proportion above, since a megabyte of FLAC silence can ask for an hour of processor time at 8 x 655 kHz.
    """

    max_file_bytes: int = 200_000_000
    max_clip_s: float = 3 * 3600.0
    max_channels: int = 32
    min_rate_hz: int = 1_000
    max_rate_hz: int = 768_000

    def longest_s(self, rate_hz: int, channels: int) -> float:
        """Seconds that may be decoded at this rate and number of channels."""
        return self.max_clip_s * min(1.0, 768_000 / (rate_hz * channels))


DEFAULT_LIMITS = DecodeLimits()


def write_wav(clip: Clip, target: Path | str | BinaryIO) -> None:
    """Write the clip as 16 kHz mono PCM 16 bit; samples beyond [-1, 1] are clipped.

    The scale is 32768 both ways, so sound that came from 16 bit at 16 kHz returns bit for bit; libsndfile writes
    with 32767 and would be off by one. An `OSError` of a full disk passes through.
    """
    with wave.open(str(target) if isinstance(target, Path) else target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        for start in range(0, len(clip.samples), WAV_BLOCK_SAMPLES):
            file.writeframesraw(pcm16(clip.samples[start : start + WAV_BLOCK_SAMPLES]))
            clip.forget(start, start + WAV_BLOCK_SAMPLES)


def wav_bytes(clip: Clip) -> bytes:
    """The same WAV file as bytes."""
    buffer = io.BytesIO()
    write_wav(clip, buffer)
    return buffer.getvalue()


def pcm16(samples: NDArray[np.float32]) -> bytes:
    """Samples as 16-bit little-endian integers; those beyond [-1, 1] are clipped."""
    scaled: NDArray[np.int16] = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
    return scaled.tobytes()


def sound_files(folder: Path) -> list[Path]:
    """The files below a folder that are sound by their names, in order; raises NothingInside if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
    if not found:
        raise NothingInside(folder.resolve().name)
    return found
