"""The second reader, ffmpeg's libraries through PyAV, for what libsndfile does not know or reads slowly.

What a hostile file could reach here is kept small: containers, codecs and protocols are those of a list, one piece of
memory has a limit, and the two places where PyAV itself would touch memory that is not its own are gone round.
"""

import ctypes
import functools
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Never, cast

import numpy as np

from emotion.audio.clip import DecodeLimits
from emotion.audio.readers import BLOCK_SAMPLES, BrokenOff, Unreadable, as_float, open_soundfile
from emotion.audio.writer import Block, Samples

if TYPE_CHECKING:
    from av import AudioFifo, AudioFrame, AudioLayout, AudioResampler, AudioStream, Packet
    from av.audio.codeccontext import AudioCodecContext
    from av.container import InputContainer

# Containers of sound that bring everything with them. Playlists and scripts (HLS, DASH, concat, SDP, image sequences)
# and raw streams that random bytes resemble stay out.
CONTAINERS = (
    "mov,matroska,webm,wav,w64,aiff,caf,au,flac,mp3,aac,loas,amr,ogg,asf,ac3,eac3,dts,mpegts,mpeg,avi,flv,wv,tta,"
    "ape,voc"
)
# Decoders of sound that those containers carry; no video decoder ever runs, not even to look at its first picture.
CODECS = (
    "aac,aac_latm,ac3,eac3,dca,truehd,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,libvorbis,speex,flac,alac,"
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
# The last packet of Apple Lossless says its own length; the container's would be taken off a second time.
ALAC_OPTIONS = {**DECODER_OPTIONS, "flags2": "+skip_manual"}
# A CAF of IMA ADPCM has a packet for every 64 samples, 700 a second; the decoder takes as many from a longer one, in
# two thirds of the time. Damage then costs up to 50 ms of sound.
PACKETS_AT_ONCE = 32
# The largest single piece of memory that ffmpeg's libraries may take: an index of 2.6 million packets, three hours at
# 240 pictures a second. Without it an M4A of 17 kB whose header promises 90 million packets takes 3 GB. It holds for
# all of the process, so other code in it that uses PyAV has frames of up to 64 MB, enough for a picture of 8K.
MAX_ALLOCATION_BYTES = 64_000_000
# Packets in a row that may bring no sound: damage is skipped, an endless list of nothing is not followed.
MAX_BARREN_PACKETS = 5_000
# How ffmpeg's libraries mark a layout whose channels a file has put in an order of its own (AV_CHANNEL_ORDER_CUSTOM).
CUSTOM_ORDER = 2
# A frame of so many samples over all channels makes a block by itself; smaller ones are joined first.
LARGE_FRAME_SAMPLES = BLOCK_SAMPLES // 4
# PyAV looks for the end of a frame's list of planes, which is not marked from 8 channels on, and reads wild memory.
FIRST_UNSAFE_CHANNELS = 8


def pyav_blocks(file: BinaryIO, options: Mapping[str, str] = DECODER_OPTIONS) -> Iterator[Block]:
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
        try:
            yield from _joined(_frames(container, options))
        except (av.FFmpegError, OSError, LookupError, ValueError, RuntimeError) as error:
            raise BrokenOff from error


def alac_blocks(file: BinaryIO, limits: DecodeLimits) -> Iterator[Block]:
    """Apple Lossless in a CAF, the same samples as libsndfile's in a third of its time; `Unreadable` for all else.

    Breaks off unless the sound has the very rate and length that libsndfile finds. Only 16 bit, since the two differ
    in packets of 24 and 32 bit that were not compressed, and up to stereo, since further channels come in another
    order, on which a mean of floats depends.
    """
    if file.read(4) != b"caff":
        raise Unreadable
    file.seek(0)
    with open_soundfile(file, limits) as sound:
        rate_hz, left, swift = sound.samplerate, sound.frames, sound.subtype == "ALAC_16" and sound.channels <= 2
    if not swift:
        raise Unreadable
    file.seek(0)
    for block in pyav_blocks(file, ALAC_OPTIONS):
        left -= len(block.samples)
        if block.rate_hz != rate_hz or left < 0:
            raise BrokenOff
        yield block
    if left:
        raise BrokenOff


@functools.cache
def _limit_allocations() -> None:
    """Set libavutil's `av_max_alloc` once; PyAV has no call for it, so the library inside its wheel is asked."""
    import av

    for library in Path(av.__file__).parent.parent.joinpath("av.libs").glob("*avutil*"):
        ctypes.CDLL(str(library)).av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION_BYTES))


def _refuse_reference(*_: object) -> Never:
    raise PermissionError("a recording may not open other files")


def _frames(container: "InputContainer", options: Mapping[str, str]) -> Iterator["AudioFrame"]:
    """The frames of the sound track, until it ends, breaks or stays without sound."""
    import av

    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise Unreadable
    decoder: AudioCodecContext | None = stream.codec_context  # none for a codec that ffmpeg does not know
    if decoder is None or decoder.name not in CODECS.split(","):
        raise Unreadable
    decoder.options = {**options, **_plain_order(decoder.layout)}
    packets = _packets(container, stream)
    if (container.format.name, decoder.name) == ("caf", "adpcm_ima_qt"):
        packets = _longer(packets)
    # On one thread: two make ALAC a quarter faster while the second core is idle, and a quarter dearer while it is not.
    barren = 0
    for packet in packets:
        frames = _decoded(decoder, packet)
        yield from frames
        barren = 0 if frames else barren + 1
        if barren > MAX_BARREN_PACKETS:
            raise BrokenOff


def _packets(container: "InputContainer", stream: "AudioStream") -> Iterator["Packet[AudioStream]"]:
    """The packets of the sound track; PyAV stumbles at the end of a broadcast that grew a track, and then goes on."""
    try:
        yield from container.demux(stream)
    except LookupError:
        yield from container.demux(stream)


def _longer(packets: Iterator["Packet[AudioStream]"]) -> Iterator["Packet[AudioStream]"]:
    """The same bytes in fewer packets, then the empty one that ends the sound."""
    from av import Packet

    held: list[bytes] = []
    for packet in packets:
        if packet.size:
            held.append(bytes(packet))
        if held and (len(held) == PACKETS_AT_ONCE or not packet.size):
            yield cast("Packet[AudioStream]", Packet(b"".join(held)))
            held.clear()
        if not packet.size:
            yield packet


def _decoded(decoder: "AudioCodecContext", packet: "Packet[AudioStream]") -> list["AudioFrame"]:
    """The frames of a packet; a damaged one costs its own sound only."""
    import av

    try:
        frames = decoder.decode(packet)
    except (av.FFmpegError, LookupError, ValueError):
        return []
    if [frame for frame in frames if _has_custom_order(frame.layout)]:  # every one is looked at before the first goes
        raise BrokenOff
    return frames


def _plain_order(layout: "AudioLayout") -> dict[str, str]:
    """The option that takes a file's own order of channels away; the mean over channels does not need it."""
    return {"ch_layout": f"{layout.nb_channels}C"} if _has_custom_order(layout) else {}


def _has_custom_order(layout: "AudioLayout") -> bool:
    """Whether the layout has an order that PyAV copies without its list and then frees twice, which ends the process.

    Such a layout is never freed here: 80 bytes for each, and no file gets to more than some of them.
    """
    order = ctypes.c_int.from_address(id(layout) + _order_offset()).value
    if order == CUSTOM_ORDER:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return order == CUSTOM_ORDER


@functools.cache
def _order_offset() -> int:
    """Where a layout of PyAV keeps its order, found in one that is known: native order, two channels, their mask."""
    import av

    stereo = av.AudioLayout("stereo")
    return ctypes.string_at(id(stereo), av.AudioLayout.__basicsize__).index(struct.pack("iiQ", 1, 2, 3))


def _joined(frames: Iterator["AudioFrame"]) -> Iterator[Block]:
    """Blocks of many frames; what came before a break is given too."""
    joiner = _Joiner()
    try:
        for frame in frames:
            yield from joiner.push(frame)
    except Exception:
        yield from joiner.rest()
        raise
    yield from joiner.rest()


class _Joiner:
    """Frames in, blocks out. A frame has 20 ms or less, and its way to an array costs 30 µs, so ffmpeg joins them."""

    def __init__(self) -> None:
        self._kind: tuple[str, int, int] | None = None
        self._fifo: AudioFifo
        self._packer: AudioResampler | None = None

    def push(self, frame: "AudioFrame") -> list[Block]:
        channels = frame.layout.nb_channels
        kind = (frame.format.name, channels, frame.sample_rate)
        blocks = self._begin(kind) if kind != self._kind else []
        if frame.samples * channels >= LARGE_FRAME_SAMPLES:
            return [*blocks, *self.rest(), self._block(frame)]
        frame.pts = None  # a gap in time is no reason for the queue to refuse
        self._fifo.write(frame)
        if self._fifo.samples * channels >= BLOCK_SAMPLES:
            blocks += self.rest()
        return blocks

    def rest(self) -> list[Block]:
        """What is in the queue."""
        frame = self._fifo.read() if self._kind is not None else None
        return [] if frame is None else [self._block(frame)]

    def _begin(self, kind: tuple[str, int, int]) -> list[Block]:
        """The rest of the last kind, and a new queue: an old one would read planes that are no longer there."""
        from av import AudioFifo

        blocks = self.rest()
        self._kind, self._fifo, self._packer = kind, AudioFifo(), None
        return blocks

    def _block(self, frame: "AudioFrame") -> Block:
        return Block(self._samples(frame), frame.sample_rate)

    def _samples(self, frame: "AudioFrame") -> Samples:
        channels = frame.layout.nb_channels
        if frame.format.is_planar and channels < FIRST_UNSAFE_CHANNELS:
            return as_float(frame.to_ndarray().T)
        packed = self._packed(frame) if frame.format.is_planar else [frame]
        return as_float(np.concatenate([one.to_ndarray().reshape(-1, channels) for one in packed]))

    def _packed(self, frame: "AudioFrame") -> list["AudioFrame"]:
        """The same samples as floats in one plane."""
        from av import AudioResampler

        if self._packer is None:
            self._packer = AudioResampler("flt", frame.layout, frame.sample_rate)
        return self._packer.resample(frame)
