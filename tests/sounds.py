"""Sound files in every format, made in memory: with libsndfile's encoders, ffmpeg's encoders, or byte by byte."""

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import soundfile
from av.container import OutputContainer
from numpy.typing import NDArray

Samples = NDArray[np.float32]

# What libsndfile writes and reads: format, subtype.
SOUNDFILE_KINDS = [
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ALAW"),
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAVEX", "PCM_16"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AIFF", "PCM_S8"),
    ("AU", "PCM_16"),
    ("AU", "ULAW"),
    ("CAF", "PCM_24"),
    ("CAF", "ALAC_16"),
    ("NIST", "PCM_16"),
    ("VOC", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@dataclass(frozen=True)
class Coded:
    """A container and codec of ffmpeg's libraries, with a rate and a number of channels that they take."""

    container: str
    codec: str
    rate_hz: int = 44_100
    channels: int = 2
    video: str = ""
    bit_rate: int = 128_000


# What libsndfile cannot read.
PYAV_KINDS = {
    "m4a": Coded("ipod", "aac"),
    "m4a-alac": Coded("ipod", "alac"),
    "aac": Coded("adts", "aac"),
    "mp4-video": Coded("mp4", "aac", video="mpeg4"),
    "mov-pcm": Coded("mov", "pcm_s16be"),
    "3gp": Coded("3gp", "libopencore_amrnb", 8_000, 1, bit_rate=12_200),
    "webm": Coded("webm", "libopus", 48_000),
    "webm-video": Coded("webm", "libopus", 48_000, video="libvpx"),
    "mka": Coded("matroska", "flac"),
    "mkv-video": Coded("matroska", "libmp3lame", video="mpeg4"),
    "amr": Coded("amr", "libopencore_amrnb", 8_000, 1, bit_rate=12_200),
    "wma": Coded("asf", "wmav2"),
    "ac3": Coded("ac3", "ac3", 48_000, 6),
    "eac3": Coded("eac3", "eac3", 48_000, 6),
    "caf-adpcm": Coded("caf", "adpcm_ima_qt"),
    "caf-amr": Coded("caf", "libopencore_amrnb", 8_000, 1, bit_rate=12_200),
    "mov-alaw": Coded("mov", "pcm_alaw", 8_000, 1),
    "mp2": Coded("mp2", "mp2"),
    "mkv-mp2": Coded("matroska", "mp2"),
    "avi-mp2": Coded("avi", "mp2"),
    "mov-mp2": Coded("mov", "mp2"),
    "mpeg-mp2": Coded("mpeg", "mp2"),
    "wav-g722": Coded("wav", "g722", 16_000, 1),
    "wav-yamaha": Coded("wav", "adpcm_yamaha"),
    "ogg-flac": Coded("ogg", "flac"),
    "mpegts-video": Coded("mpegts", "aac", 48_000, video="mpeg4"),
    "avi-video": Coded("avi", "libmp3lame", video="mpeg4"),
    "flv": Coded("flv", "aac"),
    "wav-mp3": Coded("wav", "libmp3lame"),
    "wavpack": Coded("wv", "wavpack"),
    "m4a-7.1": Coded("ipod", "aac", 48_000, 8, bit_rate=512_000),
    "webm-7.1": Coded("webm", "libopus", 48_000, 8, bit_rate=512_000),
    "wavpack-16": Coded("wv", "wavpack", 16_000, 16),
    "tta": Coded("tta", "tta"),
}


def voice(duration_s: float = 1.0, rate_hz: int = 16_000, channels: int = 1) -> Samples:
    """Something like a voice, [n, channels]: a gliding tone with overtones and a little noise, per channel another."""
    times_s = np.arange(int(duration_s * rate_hz)) / rate_hz
    noise = np.random.default_rng(7)
    columns = []
    for channel in range(channels):
        phase = 2 * np.pi * ((150 + 10 * channel) * times_s + 20 * np.sin(2 * np.pi * 1.5 * times_s))
        tone = sum(np.sin(k * phase) / k for k in range(1, 6))
        columns.append(0.15 * tone + 0.01 * noise.standard_normal(len(times_s)))
    return np.stack(columns, axis=1).astype(np.float32)


def soundfile_bytes(samples: Samples, rate_hz: int, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    """A file written by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def pyav_bytes(samples: Samples, coded: Coded) -> bytes:
    """A file written by ffmpeg's libraries; with a codec for `video`, ten black pictures beside the sound."""
    buffer = io.BytesIO()
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "hexadecagonal"}[coded.channels]
    with av.open(buffer, "w", format=coded.container) as container:
        sound = container.add_stream(coded.codec, rate=coded.rate_hz, layout=layout)
        sound.bit_rate = coded.bit_rate
        video = _video_stream(container, coded.video) if coded.video else None
        for frame in _sound_frames(samples, coded.rate_hz, layout, sound):
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        if video is not None:
            _add_pictures(container, video)
    return buffer.getvalue()


def video_bytes(container_format: str = "mp4") -> bytes:
    """A film without a sound track."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        _add_pictures(container, _video_stream(container, "mpeg4"))
    return buffer.getvalue()


def _sound_frames(samples: Samples, rate_hz: int, layout: str, sound: av.AudioStream) -> list[av.AudioFrame]:
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
    resampler = av.AudioResampler(sound.codec_context.format.name, layout, rate_hz, sound.frame_size or 1024)
    return [*resampler.resample(frame), *resampler.resample(None)]


def _video_stream(container: OutputContainer, codec: str) -> av.VideoStream:
    video = container.add_stream(codec, rate=25)
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    return video


def _add_pictures(container: OutputContainer, video: av.VideoStream) -> None:
    for index in range(10):
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        picture.pts, picture.time_base = index, Fraction(1, 25)
        container.mux(video.encode(picture))
    container.mux(video.encode(None))


def wide_amr_bytes(frames: int = 50) -> bytes:
    """An AMR-WB file: 20 ms frames of 23.85 kbit/s, 61 bytes each; PyAV has no encoder, so the bits are noise."""
    bits = np.random.default_rng(3)
    return b"#!AMR-WB\n" + b"".join(bytes([8 << 3 | 4]) + bits.bytes(60) for _ in range(frames))


def caf_with_channel_order(labels: list[int]) -> bytes:
    """A CAF of IMA ADPCM whose header puts its channels in an order of its own: 1 is left, 2 is right."""
    coded = PYAV_KINDS["caf-adpcm"]
    file = pyav_bytes(voice(1.0, coded.rate_hz, len(labels)), coded)
    start = file.index(b"chan")
    end = start + 12 + int.from_bytes(file[start + 4 : start + 12], "big")
    body = (
        bytes(8) + len(labels).to_bytes(4, "big") + b"".join(label.to_bytes(4, "big") + bytes(16) for label in labels)
    )
    return file[:start] + b"chan" + len(body).to_bytes(8, "big") + body + file[end:]


def wav_header_bytes(rate_hz: int, channels: int, sound_bytes: int, bits: int = 16) -> bytes:
    """The 44 bytes before PCM samples, true or not."""
    block = channels * bits // 8
    rate = rate_hz * block & 0xFFFFFFFF
    form = b"".join(
        number.to_bytes(size, "little")
        for number, size in ((1, 2), (channels, 2), (rate_hz, 4), (rate, 4), (block & 0xFFFF, 2), (bits, 2))
    )
    length = (36 + sound_bytes & 0xFFFFFFFF).to_bytes(4, "little")
    tail = b"data" + (sound_bytes & 0xFFFFFFFF).to_bytes(4, "little")
    return b"RIFF" + length + b"WAVEfmt " + (16).to_bytes(4, "little") + form + tail


def flac_with_frame_count(flac: bytes, frames: int) -> bytes:
    """The same FLAC with another number of frames in its header (36 bits, 0 is unknown)."""
    start = 8 + 13
    field = int.from_bytes(flac[start : start + 5], "big") >> 36 << 36 | frames
    return flac[:start] + field.to_bytes(5, "big") + flac[start + 5 :]


def silent_flac(duration_s: float, rate_hz: int = 8_000, channels: int = 1) -> bytes:
    """Silence that is tiny as FLAC: an audio bomb when it is long."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate_hz, channels, format="FLAC", subtype="PCM_16") as file:
        second = np.zeros((rate_hz * 100, channels), np.int16)
        for _ in range(round(duration_s / 100)):
            file.write(second)
    return buffer.getvalue()
