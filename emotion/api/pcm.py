"""The sound of a stream as it came: 16-bit samples that become a WAV file."""

import contextlib
import errno
import wave
from pathlib import Path

from emotion.errors import DiskFull

SAMPLE_BYTES = 2
_HEADER_BYTES = 44


class PcmFile:
    """Writes 16-bit little-endian mono samples into a WAV file, up to `limit_bytes` of it; what comes after is left.

    Raises DiskFull.
    """

    def __init__(self, path: Path, rate_hz: int, limit_bytes: int) -> None:
        self._path: Path | None = path
        self._room_bytes = (limit_bytes - _HEADER_BYTES) // SAMPLE_BYTES * SAMPLE_BYTES
        self._odd = b""
        self._file = path.open("xb")
        self._wave = wave.open(self._file, "wb")  # noqa: SIM115
        self._wave.setnchannels(1)
        self._wave.setsampwidth(SAMPLE_BYTES)
        self._wave.setframerate(rate_hz)

    @property
    def is_full(self) -> bool:
        return self._room_bytes <= 0

    def write(self, pcm: bytes) -> None:
        """Take samples; one may be split between two pieces."""
        pcm = self._odd + pcm
        whole = min(len(pcm) // SAMPLE_BYTES * SAMPLE_BYTES, self._room_bytes)
        self._odd = pcm[whole:][:1] if whole < self._room_bytes else b""
        self._room_bytes -= whole
        try:
            self._wave.writeframesraw(pcm[:whole])
        except OSError as error:
            raise _as_disk_full(error, whole) from error

    def finish(self) -> Path:
        """Write the lengths into the header, and close; the file is the caller's from now on."""
        path = self._path
        if path is None:
            raise RuntimeError("sound was finished that is finished or discarded")
        try:
            self._wave.writeframes(b"")
            self._wave.close()
            self._file.close()
        except OSError as error:
            raise _as_disk_full(error, _HEADER_BYTES) from error
        self._path = None
        return path

    def discard(self) -> None:
        """Close and delete, unless it is finished."""
        if self._path is None:
            return
        with contextlib.suppress(OSError, ValueError):  # of what could not be written
            self._wave.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)
        self._path = None


def _as_disk_full(error: OSError, needed_bytes: int) -> Exception:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return DiskFull(needed_bytes) if error.errno in full else error
