"""Sound that arrives piece by piece: 16-bit samples of any rate in, a growing recording on the disk."""

import errno
import struct
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from emotion.audio.clip import SAMPLE_RATE_HZ, Clip, DecodeLimits
from emotion.audio.writer import Block, ClipWriter, Samples, _Resampler
from emotion.errors import DiskFull, RateOutOfRange

# Telephones to studio converters.
STREAM_RATES_HZ = (8_000, 192_000)
_SAMPLE_BYTES = 2
_HEADER_BYTES = 44
# The header counts in 32 bits.
_MAX_WAV_BYTES = (1 << 32) - 1
_FULL_SCALE = np.float32(32768)
_BLOCK_SAMPLES = 1 << 20


class StreamRecorder:
    """Keeps what it is fed in a file, and the last `tail_s` of it at 16 kHz in memory; takes `max_clip_s` and no more.

    Without a `path` the file is temporary, has no name, and holds 16-bit samples at 16 kHz: 115 MB an hour; `clip` is
    bit for bit what decoding a WAV file of them gives. With one it becomes a WAV file of the samples as they came, of
    `max_file_bytes` at most. Use it from one thread at a time. Raises RateOutOfRange, and DiskFull when fed.
    """

    def __init__(
        self, rate_hz: int, max_clip_s: float, tail_s: float, path: Path | None = None, max_file_bytes: int = 0
    ) -> None:
        low_hz, high_hz = STREAM_RATES_HZ
        if not low_hz <= rate_hz <= high_hz:
            raise RateOutOfRange(rate_hz, low_hz, high_hz)
        room_samples = int(max_clip_s * rate_hz)
        if path is not None:
            room_samples = min(room_samples, (min(max_file_bytes, _MAX_WAV_BYTES) - _HEADER_BYTES) // _SAMPLE_BYTES)
        self._rate_hz, self._room_bytes = rate_hz, max(room_samples, 0) * _SAMPLE_BYTES
        self._needed_bytes = int(max_clip_s * SAMPLE_RATE_HZ) * _SAMPLE_BYTES if path is None else self._room_bytes
        self._resampler, self._odd = _Resampler(rate_hz), b""
        self._tail, self._tail_samples = np.zeros(0, np.int16), round(tail_s * SAMPLE_RATE_HZ)
        self._length = 0
        self._path, self._end_bytes = path, 0 if path is None else _HEADER_BYTES
        # Without a buffer a failed write cannot fail again when the file is closed.
        self._file: BinaryIO = path.open("xb", buffering=0) if path else tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    @property
    def duration_s(self) -> float:
        """How much was taken."""
        return self._length / SAMPLE_RATE_HZ

    @property
    def is_full(self) -> bool:
        return self._room_bytes == 0

    def feed(self, pcm: bytes) -> None:
        """Take 16-bit little-endian mono samples; a sample may be split between two pieces."""
        pcm = (self._odd + pcm)[: self._room_bytes]
        whole = len(pcm) // _SAMPLE_BYTES * _SAMPLE_BYTES
        self._odd = pcm[whole:]
        self._room_bytes -= whole
        if whole:
            self._keep(self._resampler.push(_as_float(pcm[:whole])), pcm[:whole])

    def tail(self) -> Samples:
        """The newest samples at 16 kHz, [n]."""
        return self._tail.astype(np.float32) / _FULL_SCALE

    def clip(self, name: str) -> Clip:
        """All that was kept in a file without a name; nothing can be fed afterwards."""
        self._keep(self._resampler.finish())
        with ClipWriter(name, DecodeLimits(max_clip_s=self.duration_s + 1)) as writer:
            self._file.seek(0)
            for start in range(0, self._length, _BLOCK_SAMPLES):
                pcm = self._file.read(min(_BLOCK_SAMPLES, self._length - start) * _SAMPLE_BYTES)
                writer.write(Block(_as_float(pcm)[:, np.newaxis], SAMPLE_RATE_HZ))
            return writer.clip()

    def wav(self) -> Path:
        """Complete the WAV file, which is the caller's from now on; nothing can be fed afterwards."""
        path = self._path
        if path is None:
            raise RuntimeError("a recording without a path was asked for its file, or one that was closed")
        size_bytes, self._end_bytes = self._end_bytes - _HEADER_BYTES, 0
        form = 1, 1, self._rate_hz, self._rate_hz * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES
        riff = b"RIFF", size_bytes + _HEADER_BYTES - 8, b"WAVE"
        self._write(struct.pack("<4sI4s4sIHHIIHH4sI", *riff, b"fmt ", 16, *form, b"data", size_bytes))
        self._path = None
        self._file.close()
        return path

    def close(self) -> None:
        """Delete what is kept, except for a WAV file that was completed; clips that were made of it remain."""
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _keep(self, samples: Samples, original: bytes = b"") -> None:
        steps: NDArray[np.int16] = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767).astype("<i2")
        self._write(steps.tobytes() if self._path is None else original)
        self._length += len(steps)
        self._tail = np.concatenate((self._tail, steps))[-self._tail_samples :]

    def _write(self, pcm: bytes) -> None:
        try:
            self._file.seek(self._end_bytes)
            rest = memoryview(pcm)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise DiskFull(self._needed_bytes) from error
            raise
        self._end_bytes += len(pcm)


def _as_float(pcm: bytes) -> Samples:
    """16-bit little-endian samples as float32 in [-1, 1), as libsndfile scales them."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / _FULL_SCALE
