"""The first reader, libsndfile, and what it shares with the second in `pyav_reader`: an open file becomes blocks.

Both get a file object without a name, never a path: the content decides what a file is, and nothing outside the file
is ever opened on its behalf.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from emotion.audio.clip import DecodeLimits
from emotion.audio.writer import Block, Samples
from emotion.errors import ClipTooLong

# Samples over all channels: half a megabyte, so that 1,000 channels cost no more than one.
BLOCK_SAMPLES = 1 << 17
# Bytes behind the sound that are taken for tags: a second of MP3. More costs a second look, and no sound.
TAG_BYTES = 1 << 14


class Unreadable(Exception):
    """The reader knows no sound in this file."""


class BrokenOff(Exception):
    """The reader gave what it could, and there may be more."""


class _Calm:
    """A file whose seek never fails: damaged headers point before the start, and cffi prints what a callback raises."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.readinto = file.readinto  # type: ignore[attr-defined]  # every open source is a buffered file
        self.read = file.read
        self.tell = file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._file.tell()


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """libsndfile from front to back: soundfile would seek after every block, and trust the header's count."""

    def seekable(self) -> bool:
        return False

    def rewind(self) -> None:
        """Go to the start before the first block, as `soundfile.read` does: an MP3 then has other last bits."""
        if super().seekable():
            self.seek(0)


def soundfile_blocks(file: BinaryIO, limits: DecodeLimits) -> Iterator[Block]:
    """What libsndfile hears in the file, the same samples as `soundfile.read(dtype="float32")`."""
    with open_soundfile(file, limits) as sound:
        frames_per_block = max(1, BLOCK_SAMPLES // sound.channels)
        left = sound.frames
        try:
            sound.rewind()
            # Asked for more than the header promises, libsndfile decodes it and throws it away.
            while len(samples := sound.read(min(left, frames_per_block), dtype="float32", always_2d=True)):
                left -= len(samples)
                yield Block(samples, sound.samplerate)
        except soundfile.LibsndfileError as error:
            raise BrokenOff from error
        if _stopped_early(sound, file):
            raise BrokenOff


def open_soundfile(file: BinaryIO, limits: DecodeLimits) -> "_Sequential":
    """The file in libsndfile, or `Unreadable`; a FLAC that is too long is refused here."""
    try:
        sound = _Sequential(_Calm(file))
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise Unreadable from error
    longest_s = limits.longest_s(sound.samplerate, sound.channels)
    last_frame = int(longest_s * sound.samplerate) + 1
    if sound.format != "FLAC" or sound.frames <= last_frame:
        return sound
    with sound:
        if _has_frame(sound, last_frame):
            raise ClipTooLong(longest_s)
    file.seek(0)
    return _Sequential(_Calm(file))  # afresh, since a decoder that looked ahead may not come back exactly


def _has_frame(sound: soundfile.SoundFile, frame: int) -> bool:
    """Whether a FLAC really goes on to this frame: known in a millisecond, where decoding up to it takes a minute.

    The header's count only says when to look.
    """
    try:
        sound.seek(frame)
        return len(sound.read(1)) > 0
    except soundfile.LibsndfileError:
        return False


def _stopped_early(sound: soundfile.SoundFile, file: BinaryIO) -> bool:
    """Whether much of the file was left unread because its header promised too few frames.

    Only for formats that hold nothing but frames; behind the sound of a WAV other chunks may follow.
    """
    if sound.format not in ("FLAC", "MP3"):
        return False
    read_bytes = file.tell()
    return file.seek(0, os.SEEK_END) - read_bytes > TAG_BYTES


def as_float(samples: NDArray[np.generic]) -> Samples:
    """Floats as float32; integers divided by their full scale, so that they lie in [-1, 1)."""
    kind = samples.dtype
    if kind.kind == "f":
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and silent later
            return samples.astype(np.float32, copy=False)
    floats = samples.astype(np.float32)
    if kind == np.uint8:
        floats -= np.float32(128)
    # A power of two, so that the product is the quotient to the last bit.
    floats *= np.float32(2.0 ** (1 - 8 * kind.itemsize))
    return floats
