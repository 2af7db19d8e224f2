"""A path, the bytes of a file, or samples in; one clip out: mono float32 at 16 kHz.

    clip = decode("call.m4a")
    clip = decode(uploaded_bytes, name="call.m4a")
    clip = clip_from_samples(samples, rate_hz=48_000)

`decoding` opens and judges, `readers` and `pyav_reader` turn files into blocks, `writer` mixes, resamples and holds the
limits, `streaming` takes sound piece by piece, `archive` reads zips, `clip` is the value that leaves the room.
Whatever is wrong with a recording is one error of `emotion.errors`.
"""

from emotion.audio.archive import Archive, ArchiveLimits, Member, is_archive, read_archive
from emotion.audio.clip import (
    DEFAULT_LIMITS,
    SAMPLE_RATE_HZ,
    SOUND_SUFFIXES,
    Clip,
    DecodeLimits,
    Readable,
    Source,
    sound_files,
    wav_bytes,
    write_wav,
)
from emotion.audio.decoding import clip_from_samples, decode, open_source, read_source, shown_name
from emotion.audio.mapping import empty_array, forget_rows
from emotion.audio.streaming import SoundQueue, StreamRecorder
from emotion.audio.support import decoder_versions, missing_decoders

__all__ = [
    "DEFAULT_LIMITS",
    "SAMPLE_RATE_HZ",
    "SOUND_SUFFIXES",
    "Archive",
    "ArchiveLimits",
    "Clip",
    "DecodeLimits",
    "Member",
    "Readable",
    "SoundQueue",
    "Source",
    "StreamRecorder",
    "clip_from_samples",
    "decode",
    "decoder_versions",
    "empty_array",
    "forget_rows",
    "is_archive",
    "missing_decoders",
    "open_source",
    "read_archive",
    "read_source",
    "shown_name",
    "sound_files",
    "wav_bytes",
    "write_wav",
]
