"""Decode and resample a 30 s stereo recording of every format: ours, librosa and FunASR's own loader.

Each side makes 16 kHz mono float32 of the same file, which lies in the page cache; the sides take turns in one process.
Without ffmpeg on the path, librosa and FunASR read only what libsndfile reads; where a side fails, its cell says so.
"""

import argparse
import contextlib
import functools
import io
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bench
import numpy as np

from emotion.audio import SAMPLE_RATE_HZ, decode
from tests import sounds

RATE_HZ, CHANNELS = 44_100, 2
GOAL_S = 0.1
Load = Callable[[str], object]

# What libsndfile writes: format, subtype, rate.
SOUNDFILE_FORMATS = {
    "WAV 16 bit": ("WAV", "PCM_16", RATE_HZ),
    "WAV 24 bit": ("WAV", "PCM_24", RATE_HZ),
    "WAV 32 bit": ("WAV", "PCM_32", RATE_HZ),
    "WAV float": ("WAV", "FLOAT", RATE_HZ),
    "WAV double": ("WAV", "DOUBLE", RATE_HZ),
    "WAV A-law": ("WAV", "ALAW", RATE_HZ),
    "WAV IMA ADPCM": ("WAV", "IMA_ADPCM", RATE_HZ),
    "WAV MS ADPCM": ("WAV", "MS_ADPCM", RATE_HZ),
    "W64": ("W64", "PCM_16", RATE_HZ),
    "RF64": ("RF64", "PCM_16", RATE_HZ),
    "AIFF": ("AIFF", "PCM_16", RATE_HZ),
    "AU": ("AU", "PCM_16", RATE_HZ),
    "NIST": ("NIST", "PCM_16", RATE_HZ),
    "VOC": ("VOC", "PCM_16", RATE_HZ),
    "CAF": ("CAF", "PCM_16", RATE_HZ),
    "CAF ALAC": ("CAF", "ALAC_16", RATE_HZ),
    "FLAC 16 bit": ("FLAC", "PCM_16", RATE_HZ),
    "FLAC 24 bit": ("FLAC", "PCM_24", RATE_HZ),
    "OGG Vorbis": ("OGG", "VORBIS", RATE_HZ),
    "OGG Opus": ("OGG", "OPUS", 48_000),
    "MP3": ("MP3", "MPEG_LAYER_III", RATE_HZ),
}

# What ffmpeg's libraries write; beyond stereo 44.1 kHz only where the codec takes nothing else.
PYAV_FORMATS = {
    "M4A AAC": sounds.Coded("ipod", "aac"),
    "M4A ALAC": sounds.Coded("ipod", "alac"),
    "MP4 AAC": sounds.Coded("mp4", "aac"),
    "MP4 film": sounds.Coded("mp4", "aac", video="mpeg4"),
    "MOV PCM": sounds.Coded("mov", "pcm_s16be"),
    "AAC ADTS": sounds.Coded("adts", "aac"),
    "WEBM Opus": sounds.Coded("webm", "libopus", 48_000),
    "MKA FLAC": sounds.Coded("matroska", "flac"),
    "MKA MP3": sounds.Coded("matroska", "libmp3lame"),
    "OGG FLAC": sounds.Coded("ogg", "flac"),
    "AMR-NB 8 kHz mono": sounds.Coded("amr", "libopencore_amrnb", 8_000, 1, bit_rate=12_200),
    "3GP AMR 8 kHz mono": sounds.Coded("3gp", "libopencore_amrnb", 8_000, 1, bit_rate=12_200),
    "AC3": sounds.Coded("ac3", "ac3"),
    "AC3 5.1": sounds.Coded("ac3", "ac3", 48_000, 6),
    "EAC3": sounds.Coded("eac3", "eac3"),
    "MP2": sounds.Coded("mp2", "mp2"),
    "WMA": sounds.Coded("asf", "wmav2"),
    "WavPack": sounds.Coded("wv", "wavpack"),
    "TTA": sounds.Coded("tta", "tta"),
    "FLV AAC": sounds.Coded("flv", "aac"),
    "MPEG-TS AAC": sounds.Coded("mpegts", "aac"),
    "CAF IMA-QT": sounds.Coded("caf", "adpcm_ima_qt"),
    "WAV Yamaha ADPCM": sounds.Coded("wav", "adpcm_yamaha"),
    "WAV G.722 16 kHz mono": sounds.Coded("wav", "g722", 16_000, 1),
}
WIDE_AMR = "AMR-WB 16 kHz mono"
FORMATS = (*SOUNDFILE_FORMATS, *PYAV_FORMATS, WIDE_AMR)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=30, help="seconds of the recording")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each side after one warm-up")
    parser.add_argument("--formats", nargs="+", default=[""], help="only formats whose name has one of these words")
    parser.add_argument("--ours-only", action="store_true", help="leave librosa and FunASR out, and their imports")
    wanted = parser.parse_args()
    names = [name for name in FORMATS if any(word.lower() in name.lower() for word in wanted.formats)]
    sides = {"ours": decode} if wanted.ours_only else {"ours": decode, **their_loaders()}
    with tempfile.TemporaryDirectory(prefix="emotion-benchmark-") as folder:
        for name in names:
            Path(folder, name).write_bytes(recording(name, wanted.duration))
        compare(sides, [Path(folder, name) for name in names], wanted)


def their_loaders() -> dict[str, Load]:
    """librosa, and FunASR without a torchaudio that cannot load; both loaded, so that no timing has an import."""
    import librosa

    from emotion.model.funasr_runtime import import_funasr

    import_funasr()
    from funasr.utils.load_utils import load_audio_text_image_video

    return {
        "librosa": lambda path: librosa.load(path, sr=SAMPLE_RATE_HZ, mono=True),
        "funasr": lambda path: load_audio_text_image_video(path, fs=SAMPLE_RATE_HZ),
    }


def compare(sides: dict[str, Load], paths: list[Path], wanted: argparse.Namespace) -> None:
    rows: list[tuple[object, ...]] = []
    record: list[dict[str, Any]] = []
    for path in paths:
        with silent():
            able = {name: load for name, load in sides.items() if can(load, path)}
            timings = bench.alternate(
                {name: functools.partial(load, str(path)) for name, load in able.items()}, wanted.repeats
            )
        cells = [cell for name in sides for cell in cells_of(timings.get(name))]
        rows.append((path.name, f"{path.stat().st_size / 1e6:.2f}", *cells, verdict(timings)))
        seconds = {f"{name}_s": timings[name].seconds if name in timings else None for name in sides}
        record.append({"format": path.name, "bytes": path.stat().st_size, **seconds})
    header = ("format", "MB", *(f"{name}, {what} ms" for name in sides for what in ("median", "best")), "goal")
    bench.report(f"decode of {wanted.duration:g} s", header, rows, {"goal_s": GOAL_S, "rows": record})


def can(load: Load, path: Path) -> bool:
    try:
        load(str(path))
    except Exception:  # whatever a loader raises, it gave no sound
        return False
    return True


def cells_of(timing: bench.Timing | None) -> tuple[str, str]:
    return ("cannot", "") if timing is None else (f"{timing.median_s * 1e3:.0f}", f"{timing.minimum_s * 1e3:.0f}")


def verdict(timings: dict[str, bench.Timing]) -> str:
    """What the best run of ours misses: the goal for the recording, or the best run of librosa."""
    if "ours" not in timings:
        return "cannot"
    best_s = timings["ours"].minimum_s
    missed = [f"over {GOAL_S * 1e3:.0f} ms"] if best_s > GOAL_S else []
    if "librosa" in timings and best_s > timings["librosa"].minimum_s:
        missed.append("behind librosa")
    return ", ".join(missed) or "met"


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Without the warnings and messages of loaders that try one way after another."""
    messages = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(messages, 2)
        os.close(messages)
        os.close(nowhere)


def recording(name: str, duration_s: float) -> bytes:
    """The file of one format; AMR-WB has no free encoder here, so its frames are noise."""
    if name == WIDE_AMR:
        return sounds.wide_amr_bytes(frames=round(duration_s * 50))
    if name in SOUNDFILE_FORMATS:
        kind, subtype, rate_hz = SOUNDFILE_FORMATS[name]
        return sounds.soundfile_bytes(speech(duration_s, rate_hz, CHANNELS), rate_hz, kind, subtype)
    coded = PYAV_FORMATS[name]
    return sounds.pyav_bytes(speech(duration_s, coded.rate_hz, coded.channels), coded)


@functools.cache
def speech(duration_s: float, rate_hz: int, channels: int) -> sounds.Samples:
    """A voice of four syllables a second, [n, channels]."""
    voice = sounds.voice(duration_s, rate_hz, channels)
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * np.arange(len(voice)) / rate_hz)
    return (voice * swell[:, np.newaxis]).astype(np.float32)


if __name__ == "__main__":
    main()
