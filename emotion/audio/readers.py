"""Two readers that turn an open file into blocks: libsndfile for what it knows, ffmpeg's libraries for the rest.

Both get a file object without a name, never a path: the content decides what a file is, and nothing outside the file
is ever opened on its behalf.
"""

import ctypes
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Never

import numpy as np
import soundfile
from numpy.typing import NDArray

from emotion.audio.clip import DecodeLimits
from emotion.audio.writer import Block, Samples
from emotion.errors import ClipTooLong

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, Packet
    from av.container import InputContainer

# Samples over all channels: half a megabyte, so that 1,000 channels cost no more than one.
BLOCK_SAMPLES = 1 << 17
# Bytes behind the sound that are taken for tags: a second of MP3. More costs a second look, and no sound.
TAG_BYTES = 1 << 14

# Containers of sound that bring everything with them. Playlists and scripts (HLS, DASH, concat, SDP, image sequences)
# and raw streams that random bytes resemble stay out.
CONTAINERS = (
    "mov,matroska,webm,wav,w64,aiff,caf,au,flac,mp3,aac,loas,amr,ogg,asf,ac3,eac3,dts,mpegts,mpeg,avi,flv,wv,tta,"
    "ape,voc"
)
# Decoders of sound that those containers carry; no video decoder ever runs, not even to look at its first picture.
CODECS = (
    "aac,aac_latm,ac3,eac3,dca,truehd,mp1float,mp2float,mp3float,opus,libopus,vorbis,libvorbis,speex,flac,alac,"
    "amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,wmav1,wmav2,wmapro,wmalossless,wmavoice,wavpack,tta,ape,"
    "g722,g723_1,g726,gsm,gsm_ms,qcelp,evrc,nellymoser,atrac3,qdm2,"
    "pcm_s8,pcm_u8,pcm_alaw,pcm_mulaw,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,"
    "pcm_f32be,pcm_f64le,pcm_f64be,pcm_s16be_planar,pcm_s16le_planar,pcm_bluray,pcm_dvd,"
    "adpcm_ima_wav,adpcm_ima_qt,adpcm_ms,adpcm_g722,adpcm_g726,adpcm_swf,adpcm_yamaha"
)
OPEN_OPTIONS = {
    "format_whitelist": CONTAINERS,
    "codec_whitelist": CODECS,
    "protocol_whitelist": "none",
    "max_streams": "32",
}
# A frame of real sound has some thousand samples; some formats let the header ask for 16 million.
DECODER_OPTIONS = {"max_samples": str(1 << 20)}
# The largest single piece of memory that ffmpeg's libraries may take: an index of 1.3 million packets, three hours at
# 120 pictures a second. Without it an M4A of 17 kB whose header promises 90 million packets takes 3 GB.
MAX_ALLOCATION_BYTES = 32_000_000
# Packets in a row that may bring no sound: damage is skipped, an endless list of nothing is not followed.
MAX_BARREN_PACKETS = 5_000


class Unreadable(Exception):
    """The reader knows no sound in this file."""


class BrokenOff(Exception):
    """The reader gave what it could, and there may be more."""


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
    with _open_soundfile(file, limits) as sound:
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


def _open_soundfile(file: BinaryIO, limits: DecodeLimits) -> _Sequential:
    try:
        sound = _Sequential(file)
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
    return _Sequential(file)  # afresh, since a decoder that looked ahead may not come back exactly


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


def pyav_blocks(file: BinaryIO) -> Iterator[Block]:
    """What ffmpeg's libraries hear in the first or default sound track of the file."""
    # Costs 50 ms and 60 MB of libraries, and most recordings never need it.
    import av

    _limit_allocations()
    try:
        container = av.open(
            file, "r", metadata_errors="replace", container_options=OPEN_OPTIONS, io_open=_refuse_reference
        )
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise Unreadable from error
    with container:
        yield from _joined(_heard(container))


@functools.cache
def _limit_allocations() -> None:
    """Set libavutil's `av_max_alloc` once; PyAV has no call for it, so the library inside its wheel is asked."""
    import av

    for library in Path(av.__file__).parent.parent.joinpath("av.libs").glob("*avutil*"):
        ctypes.CDLL(str(library)).av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION_BYTES))


def _refuse_reference(*_: object) -> Never:
    raise PermissionError("a recording may not open other files")


def _heard(container: "InputContainer") -> Iterator[Block]:
    """A block for every frame of the sound track, until it ends, breaks or stays without sound."""
    import av

    stream = container.streams.best("audio")
    decoder = stream.codec_context if isinstance(stream, av.AudioStream) else None
    if decoder is None or decoder.name not in CODECS.split(","):
        raise Unreadable
    decoder.options = DECODER_OPTIONS
    barren = 0
    try:
        for packet in container.demux(stream):
            blocks = _decoded(packet)
            yield from blocks
            barren = 0 if blocks else barren + 1
            if barren > MAX_BARREN_PACKETS:
                raise BrokenOff
    except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
        raise BrokenOff from error


def _decoded(packet: "Packet[AudioStream]") -> list[Block]:
    """The sound of one packet; a damaged one costs its own sound only."""
    import av

    try:
        return [Block(_frame_samples(frame), frame.sample_rate) for frame in packet.decode()]
    except (av.FFmpegError, LookupError, ValueError):
        return []


def _frame_samples(frame: "AudioFrame") -> Samples:
    raw = frame.to_ndarray()
    planar = frame.format.is_planar
    return as_float(raw.T if planar else raw.reshape(-1, frame.layout.nb_channels))


def _joined(blocks: Iterator[Block]) -> Iterator[Block]:
    """Blocks of many frames, since a frame has 20 ms and every block costs some calls."""
    parts: list[Samples] = []
    kind, size = (0, 0), 0
    broken: BrokenOff | None = None
    try:
        for block in blocks:
            if parts and (kind != _kind(block) or size >= BLOCK_SAMPLES):
                yield Block(np.concatenate(parts), kind[0])
                parts, size = [], 0
            kind = _kind(block)
            parts.append(block.samples)
            size += block.samples.size
    except BrokenOff as error:
        broken = error
    if parts:
        yield Block(np.concatenate(parts), kind[0])
    if broken is not None:
        raise broken


def _kind(block: Block) -> tuple[int, int]:
    """Rate and number of channels."""
    return block.rate_hz, block.samples.shape[1]


def as_float(samples: NDArray[np.generic]) -> Samples:
    """Floats as float32; integers divided by their full scale, so that they lie in [-1, 1)."""
    kind = samples.dtype
    if kind.kind == "f":
        return samples.astype(np.float32, copy=False)
    if kind == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    return samples.astype(np.float32) / np.float32(2.0 ** (8 * kind.itemsize - 1))
