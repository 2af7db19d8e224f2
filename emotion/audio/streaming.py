"""Sound that arrives piece by piece: 16-bit samples of any rate in, a growing recording at 16 kHz on the disk."""

import errno
import tempfile
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from emotion.audio.clip import SAMPLE_RATE_HZ, Clip, DecodeLimits
from emotion.audio.writer import Block, ClipWriter, Samples, _Resampler
from emotion.errors import DiskFull, RateOutOfRange

# Telephones to studio converters.
STREAM_RATES_HZ = (8_000, 192_000)
_SAMPLE_BYTES = 2
_FULL_SCALE = np.float32(32768)
_BLOCK_SAMPLES = 1 << 20


class StreamRecorder:
    """Keeps what it is fed as 16-bit samples at 16 kHz in a temporary file without a name: 115 MB an hour.

    The clip of it is bit for bit what decoding a WAV file of these samples gives. Takes `max_clip_s` and no more.
    Use it from one thread at a time. Raises RateOutOfRange, and DiskFull when fed.
    """

    def __init__(self, rate_hz: int, max_clip_s: float) -> None:
        low_hz, high_hz = STREAM_RATES_HZ
        if not low_hz <= rate_hz <= high_hz:
            raise RateOutOfRange(rate_hz, low_hz, high_hz)
        self._resampler = _Resampler(rate_hz)
        self._most_samples = int(max_clip_s * SAMPLE_RATE_HZ)
        self._length = 0
        self._odd = b""
        # Without a buffer a failed write cannot fail again when the file is closed.
        self._file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    @property
    def duration_s(self) -> float:
        """How much is kept."""
        return self._length / SAMPLE_RATE_HZ

    @property
    def is_full(self) -> bool:
        return self._length >= self._most_samples

    def feed(self, pcm: bytes) -> None:
        """Take 16-bit little-endian mono samples; a sample may be split between two pieces."""
        pcm = self._odd + pcm
        whole = len(pcm) // _SAMPLE_BYTES * _SAMPLE_BYTES
        self._odd = pcm[whole:]
        if whole:
            self._keep(self._resampler.push(_as_float(pcm[:whole])))

    def finish(self) -> None:
        """Keep what the resampler still holds; nothing can be fed afterwards."""
        self._keep(self._resampler.finish())

    def tail(self, duration_s: float) -> Samples:
        """The newest samples, [n], at most so many seconds."""
        count = min(round(duration_s * SAMPLE_RATE_HZ), self._length)
        return self._read(self._length - count, count)

    def clip(self, name: str) -> Clip:
        """All that is kept."""
        with ClipWriter(name, DecodeLimits(max_clip_s=self.duration_s + 1)) as writer:
            for start in range(0, self._length, _BLOCK_SAMPLES):
                part = self._read(start, min(_BLOCK_SAMPLES, self._length - start))
                writer.write(Block(part[:, np.newaxis], SAMPLE_RATE_HZ))
            return writer.clip()

    def close(self) -> None:
        """Let go of the recording; clips that were made of it remain."""
        self._file.close()

    def _keep(self, samples: Samples) -> None:
        samples = samples[: self._most_samples - self._length]
        steps: NDArray[np.int16] = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767).astype("<i2")
        try:
            self._write(steps.tobytes())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(self._most_samples * _SAMPLE_BYTES) from error
            raise
        self._length += len(samples)

    def _write(self, pcm: bytes) -> None:
        self._file.seek(self._length * _SAMPLE_BYTES)
        rest = memoryview(pcm)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _read(self, start: int, count: int) -> Samples:
        self._file.seek(start * _SAMPLE_BYTES)
        return _as_float(self._file.read(count * _SAMPLE_BYTES))


def _as_float(pcm: bytes) -> Samples:
    """16-bit little-endian samples as float32 in [-1, 1), as libsndfile scales them."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / _FULL_SCALE
