"""Sound that arrives piece by piece: 16-bit samples of any rate in, a growing recording on the disk."""

import struct
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np

from emotion.audio.clip import SAMPLE_RATE_HZ, Clip, DecodeLimits, pcm16
from emotion.audio.readers import as_float
from emotion.audio.writer import Block, ClipWriter, Resampler, Samples, disk_full_as_error, write_all
from emotion.errors import RateOutOfRange

# Telephones to studio converters.
STREAM_RATES_HZ = (8_000, 192_000)
_SAMPLE_BYTES = 2
_HEADER_BYTES = 44
# The header counts in 32 bits.
_MAX_WAV_BYTES = (1 << 32) - 1
_BLOCK_SAMPLES = 1 << 20
# Half a minute of 16 kHz: what a page sends at once after it was held up.
_HELD_BYTES = 1 << 20


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
        self._resampler, self._odd = Resampler(rate_hz), b""
        self._tail, self._tail_bytes = b"", round(tail_s * SAMPLE_RATE_HZ) * _SAMPLE_BYTES
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

    @property
    def room_bytes(self) -> int:
        """How much more is taken."""
        return self._room_bytes

    def feed(self, pcm: bytes) -> None:
        """Take 16-bit little-endian mono samples; a sample may be split between two pieces."""
        pcm = (self._odd + pcm)[: self._room_bytes]
        whole = len(pcm) // _SAMPLE_BYTES * _SAMPLE_BYTES
        self._odd = pcm[whole:]
        self._room_bytes -= whole
        if whole:
            self._keep(self._resampler.push(_samples(pcm[:whole])), pcm[:whole])

    def tail(self) -> Samples:
        """The newest samples at 16 kHz, [n]."""
        return _samples(self._tail)

    def clip(self, name: str) -> Clip:
        """All that was kept in a file without a name; nothing can be fed afterwards."""
        self._keep(self._resampler.finish())
        with ClipWriter(name, DecodeLimits(max_clip_s=self.duration_s + 1)) as writer:
            self._file.seek(0)
            for start in range(0, self._length, _BLOCK_SAMPLES):
                pcm = self._file.read(min(_BLOCK_SAMPLES, self._length - start) * _SAMPLE_BYTES)
                writer.write(Block(_samples(pcm)[:, np.newaxis], SAMPLE_RATE_HZ))
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
        pcm = pcm16(samples)
        self._write(pcm if self._path is None else original)
        self._length += len(samples)
        self._tail = (self._tail + pcm)[-self._tail_bytes :]

    def _write(self, data: bytes) -> None:
        with disk_full_as_error(self._needed_bytes):
            self._file.seek(self._end_bytes)
            write_all(self._file, data)
        self._end_bytes += len(data)


class SoundQueue:
    """Sound that came faster than it is heard, first in, first out; from any thread.

    A megabyte of it lies in memory, more in a temporary file without a name. After `room_bytes` nothing is taken.
    """

    def __init__(self, room_bytes: int) -> None:
        self._room_bytes = room_bytes
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._written_bytes = self._read_bytes = 0
        self._lock = threading.Lock()

    @property
    def is_empty(self) -> bool:
        return not self._held and self._read_bytes == self._written_bytes

    def push(self, sound: bytes) -> None:
        """Take a piece; raises DiskFull."""
        with self._lock:
            sound = sound[: self._room_bytes]
            self._room_bytes -= len(sound)
            if self._written_bytes == self._read_bytes and len(self._held) < _HELD_BYTES:
                self._held += sound
            else:
                self._write(sound)

    def pull(self, size_bytes: int) -> bytes:
        """The oldest `size_bytes`, or what there is."""
        with self._lock:
            if not self._held and self._file is not None and self._read_bytes < self._written_bytes:
                self._file.seek(self._read_bytes)
                self._held += self._file.read(_HELD_BYTES)
                self._read_bytes += len(self._held)
            sound = bytes(self._held[:size_bytes])
            del self._held[:size_bytes]
            return sound

    def clear(self) -> None:
        """Forget all of it, and take nothing more."""
        with self._lock:
            self._room_bytes = self._read_bytes = self._written_bytes = 0
            self._held.clear()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _write(self, sound: bytes) -> None:
        with disk_full_as_error(self._room_bytes):
            if self._file is None:
                # Without a buffer a failed write cannot fail again when the file is closed.
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            if self._read_bytes == self._written_bytes:
                self._file.truncate(0)
                self._read_bytes = self._written_bytes = 0
            self._file.seek(self._written_bytes)
            write_all(self._file, sound)
        self._written_bytes += len(sound)


def _samples(pcm: bytes) -> Samples:
    return as_float(np.frombuffer(pcm, "<i2"))
