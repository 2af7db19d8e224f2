"""From a source to a clip: open it safely, let the readers try, judge what they heard."""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emotion.audio.clip import DEFAULT_LIMITS, SAMPLE_RATE_HZ, Clip, DecodeLimits, Readable, Source
from emotion.audio.pyav_reader import alac_blocks, pyav_blocks
from emotion.audio.readers import BLOCK_SAMPLES, BrokenOff, Unreadable, as_float, soundfile_blocks
from emotion.audio.writer import Block, ClipWriter
from emotion.errors import ClipCutOff, ClipEmpty, ClipError, ClipNotFound, ClipTooLarge, ClipUnreadable, NotSound

AnyArray = NDArray[np.generic]
# Whole numbers of 64 bits have no full scale, so they are not taken for sound.
SAMPLE_KINDS = frozenset({"float16", "float32", "float64", "int8", "uint8", "int16", "int32"})
# Two decoders of one MP3 may differ by the silence that the encoder put around it: 0.15 s at most.
DECODERS_DIFFER_S = 0.25


def decode(source: Readable, limits: DecodeLimits = DEFAULT_LIMITS, name: str | None = None) -> Clip:
    """The clip of a sound file, given by path, as bytes or open; the content decides what it is, not the name.

    Channels are averaged and the rate becomes 16 kHz with soxr HQ: for everything libsndfile reads, bit for bit what
    FunASR's own loader makes of it without torchaudio. NaN, infinite and absurdly loud samples count as silence.
    Damaged or truncated files give the sound that is there. Raises a `ClipError`, or `DiskFull` for long clips.
    """
    source, name = read_source(source, limits, name)
    name = shown_name(source, name)
    with open_source(source, limits, name) as file:
        swift = _take(lambda: alac_blocks(_rewound(file), limits), name, limits)
        if swift.whole and len(swift.clip.samples):
            return swift.clip
        first = _take(lambda: soundfile_blocks(_rewound(file), limits), name, limits)
        if first.whole and len(first.clip.samples):
            return first.clip
        second = _take(lambda: pyav_blocks(_rewound(file)), name, limits)
        is_ogg = _rewound(file).read(4) == b"OggS"
    clip = _better(first, second)
    if not len(clip.samples):
        raise _error_of_nothing(first, is_ogg)
    return clip


def read_source(
    source: Readable, limits: DecodeLimits = DEFAULT_LIMITS, name: str | None = None
) -> tuple[Source, str | None]:
    """The source as a path or bytes, and its name: buffers and open files are read now, since they may change later.

    Of an open file what follows its position is read, and at most one byte more than `max_file_bytes`.
    """
    if isinstance(source, bytes | str | Path):
        return source, name
    if isinstance(source, bytearray | memoryview):
        return bytes(source), name
    content = source.read(limits.max_file_bytes + 1)
    if not isinstance(content, bytes):
        raise TypeError("A recording is read from a file that was opened in binary mode: open(path, 'rb').")
    path = getattr(source, "name", None)
    return content, shown_name(path, None) if name is None and isinstance(path, str) else name


def clip_from_samples(
    samples: ArrayLike, rate_hz: int, name: str = "samples", limits: DecodeLimits = DEFAULT_LIMITS
) -> Clip:
    """The clip of an array [n], [n, channels] or [channels, n]: the longer axis is time.

    Floats are taken as they are, integers of 8 to 32 bits by their full scale; the clip never shares memory with them.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.dtype.name not in SAMPLE_KINDS:
        raise NotSound(shown_name(b"", name))
    if array.ndim == 1:
        array = array[:, np.newaxis]
    elif array.shape[0] < array.shape[1]:
        array = array.T
    return _clip_of_array(array, int(rate_hz), shown_name(b"", name), limits)


@contextmanager
def open_source(source: Source, limits: DecodeLimits = DEFAULT_LIMITS, name: str | None = None) -> Iterator[BinaryIO]:
    """The source as a file object that can seek and knows no name of its own, within `max_file_bytes`.

    Good for a content hash too: `hashlib.file_digest(file, "sha256")`.
    """
    name = shown_name(source, name)
    file = io.BytesIO(source) if isinstance(source, bytes) else _open_path(source, limits, name)
    with file:
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes == 0:
            raise ClipEmpty(name)
        if size_bytes > limits.max_file_bytes:
            raise ClipTooLarge(limits.max_file_bytes)
        file.seek(0)
        yield file


def shown_name(source: Source, name: str | None) -> str:
    """The name of a recording, fit for messages and file lists: no control characters, and no folders of this machine.

    A relative `name`, as in a zip or below a folder that is searched, keeps its folders with `/` between them; of a
    whole path, of one that leads upwards, and of a source that was given without a name, the last part is left.
    """
    given = name if name is not None else "" if isinstance(source, bytes) else str(source)
    parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
    is_whole_path = name is None or given[:1] in ("/", "\\") or given[1:2] == ":" or ".." in parts
    shown = "/".join(parts[-1:] if is_whole_path else parts)
    return "".join(letter for letter in shown if letter.isprintable()) or "recording"


class _Nameless(io.BufferedReader):
    """A file whose name neither library sees: a suffix could mislead them, and messages would leak the path."""

    name = ""


def _open_path(path: Path | str, limits: DecodeLimits, name: str) -> BinaryIO:
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise ClipNotFound(name)
        file = _Nameless(io.FileIO(path))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte in the path
        raise ClipNotFound(name) from error
    except OSError as error:
        raise ClipUnreadable(name) from error
    if stat.S_ISREG(mode):
        return file
    with file:  # a pipe cannot seek, so it is read into memory, up to the limit
        return io.BytesIO(file.read(limits.max_file_bytes + 1))


@dataclass(frozen=True)
class _Take:
    """What one reader heard: whether it knew the format, whether it came to the end, and the clip."""

    clip: Clip
    known: bool
    whole: bool


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def _take(read: Callable[[], Iterator[Block]], name: str, limits: DecodeLimits, channel: int | None = None) -> _Take:
    """What a reader hears; read again, for one channel, where the mix of all cancels itself out."""
    known = whole = True
    with ClipWriter(name, limits, channel) as writer:
        try:
            for block in read():
                writer.write(block)
        except Unreadable:
            known = whole = False
        except BrokenOff:
            whole = False
        taken = _Take(writer.clip(), known, whole)
        instead = writer.channel_instead
    return taken if instead is None else _take(read, name, limits, instead)


def _better(first: _Take, second: _Take) -> Clip:
    """The reader that heard clearly more; in doubt the first, which equals FunASR's loader."""
    ahead = len(second.clip.samples) - len(first.clip.samples)
    is_first = len(first.clip.samples) and ahead <= DECODERS_DIFFER_S * SAMPLE_RATE_HZ
    return first.clip if is_first else second.clip


def _error_of_nothing(take: _Take, is_ogg: bool) -> ClipError:
    """Why there is no sound at all; every Ogg begins with pages that hold none, so one that ends there was cut off."""
    if not (take.known and take.whole):
        return NotSound(take.clip.name)
    return ClipCutOff(take.clip.name) if is_ogg else ClipEmpty(take.clip.name)


def _clip_of_array(array: AnyArray, rate_hz: int, name: str, limits: DecodeLimits) -> Clip:
    step = max(1, BLOCK_SAMPLES // max(1, array.shape[1]))

    def blocks() -> Iterator[Block]:
        for start in range(0, len(array), step):
            # Copied, since the caller may write into the array later.
            yield Block(as_float(array[start : start + step]).copy(), rate_hz)

    clip = _take(blocks, name, limits).clip
    if len(clip.samples) == 0:
        raise ClipEmpty(name)
    return clip
