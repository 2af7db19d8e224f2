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
    from av import AudioFrame, AudioResampler, AudioStream, Packet
    from av.audio.codeccontext import AudioCodecContext
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
# The largest single piece of memory that ffmpeg's libraries may take: an index of 2.6 million packets, three hours at
# 240 pictures a second. Without it an M4A of 17 kB whose header promises 90 million packets takes 3 GB. It holds for
# all of the process, so other code in it that uses PyAV has frames of up to 64 MB, enough for a picture of 8K.
MAX_ALLOCATION_BYTES = 64_000_000
# Packets in a row that may bring no sound: damage is skipped, an endless list of nothing is not followed.
MAX_BARREN_PACKETS = 5_000
# PyAV looks for the end of a frame's list of planes, which is not marked from 8 channels on, and reads wild memory.
FIRST_UNSAFE_CHANNELS = 8


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
    if not isinstance(stream, av.AudioStream):
        raise Unreadable
    decoder: AudioCodecContext | None = stream.codec_context  # none for a codec that ffmpeg does not know
    if decoder is None or decoder.name not in CODECS.split(","):
        raise Unreadable
    decoder.options = DECODER_OPTIONS
    reader, barren = _FrameReader(), 0
    try:
        for packet in _packets(container, stream):
            blocks = reader.blocks(packet)
            yield from blocks
            barren = 0 if blocks else barren + 1
            if barren > MAX_BARREN_PACKETS:
                raise BrokenOff
    except (av.FFmpegError, OSError, LookupError, ValueError, RuntimeError) as error:
        raise BrokenOff from error


def _packets(container: "InputContainer", stream: "AudioStream") -> Iterator["Packet[AudioStream]"]:
    """The packets of the sound track; PyAV stumbles at the end of a broadcast that grew a track, and then goes on."""
    try:
        yield from container.demux(stream)
    except LookupError:
        yield from container.demux(stream)


class _FrameReader:
    """Packets to blocks; a damaged packet costs its own sound only."""

    def __init__(self) -> None:
        self._kind: tuple[str, str, int] | None = None
        self._packer: AudioResampler | None = None

    def blocks(self, packet: "Packet[AudioStream]") -> list[Block]:
        import av

        try:
            frames = [frame for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
            return [Block(self._samples(frame), frame.sample_rate) for frame in frames]
        except (av.FFmpegError, LookupError, ValueError):
            return []

    def _samples(self, frame: "AudioFrame") -> Samples:
        channels = frame.layout.nb_channels
        if frame.format.is_planar and channels < FIRST_UNSAFE_CHANNELS:
            return as_float(frame.to_ndarray().T)
        packed = self._packed(frame) if frame.format.is_planar else [frame]
        return as_float(np.concatenate([one.to_ndarray().reshape(-1, channels) for one in packed]))

    def _packed(self, frame: "AudioFrame") -> list["AudioFrame"]:
        """The same samples as floats in one plane."""
        from av import AudioResampler

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._packer is None or kind != self._kind:
            self._kind, self._packer = kind, AudioResampler("flt", frame.layout, frame.sample_rate)
        return self._packer.resample(frame)


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
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, and silent later
            return samples.astype(np.float32, copy=False)
    if kind == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    return samples.astype(np.float32) / np.float32(2.0 ** (8 * kind.itemsize - 1))
