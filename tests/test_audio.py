"""The audio room: every format to one clip, FunASR's own samples, and nothing that a hostile file can do."""

import io
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import sounds
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion.audio import (
    SAMPLE_RATE_HZ,
    SOUND_SUFFIXES,
    Clip,
    DecodeLimits,
    clip_from_samples,
    decode,
    open_source,
    pyav_reader,
    readers,
    shown_name,
    wav_bytes,
    write_wav,
    writer,
)
from emotion.audio.writer import Block, ClipWriter, mean_over_channels
from emotion.errors import (
    ClipCutOff,
    ClipEmpty,
    ClipError,
    ClipNotFound,
    ClipTooLarge,
    ClipTooLong,
    ClipUnreadable,
    DiskFull,
    NotSound,
    RateOutOfRange,
    TooManyChannels,
)

RATES_HZ = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
WAV = sounds.soundfile_bytes(sounds.voice(1.0), 16_000)


@pytest.fixture(scope="session")
def funasr_load():
    """FunASR's own loader, as it is where torchaudio is absent; gives the samples of a path or an open file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from funasr.utils import load_utils
    load_utils.torchaudio = None
    return lambda source: load_utils.load_audio_text_image_video(source, fs=16_000).numpy()


def test_a_wav_file_becomes_a_clip(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(WAV)

    clip = decode(path)

    assert clip.name == "call.wav"
    assert clip.duration_s == 1.0
    assert clip.samples.dtype == np.float32
    assert clip.samples.shape == (16_000,)


# Formats


@pytest.mark.parametrize(("kind", "subtype"), sounds.SOUNDFILE_KINDS)
def test_what_libsndfile_reads_equals_funasrs_loader_bit_for_bit(kind, subtype, funasr_load, tmp_path):
    path = tmp_path / "sound.bin"
    compared = 0
    for rate_hz in RATES_HZ:
        for channels in (1, 2, 6):
            try:
                file = sounds.soundfile_bytes(sounds.voice(0.3, rate_hz, channels), rate_hz, kind, subtype)
            except soundfile.LibsndfileError:
                continue  # this format does not take this rate or number of channels
            path.write_bytes(file)
            expected = funasr_load(str(path))
            np.testing.assert_array_equal(decode(path).samples, expected, strict=True)
            np.testing.assert_array_equal(decode(file).samples, expected, strict=True)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("kind", sounds.PYAV_KINDS)
def test_what_libsndfile_cannot_read_is_heard_all_the_same(kind, tmp_path):
    coded = sounds.PYAV_KINDS[kind]
    voice = sounds.voice(1.0, coded.rate_hz, coded.channels)
    path = tmp_path / "sound"
    path.write_bytes(sounds.pyav_bytes(voice, coded))

    clip = decode(path)

    assert clip.duration_s == pytest.approx(1.0, abs=0.05)
    assert likeness(clip, clip_from_samples(voice, coded.rate_hz)) > 0.7
    np.testing.assert_array_equal(decode(path.read_bytes()).samples, clip.samples)


def likeness(clip: Clip, other: Clip) -> float:
    """Correlation of the spectra of two clips, which does not mind a codec's delay."""
    length = min(len(clip.samples), len(other.samples))
    spectra = [np.abs(np.fft.rfft(one.samples[:length]))[:2000] for one in (clip, other)]
    smooth = [np.convolve(spectrum, np.ones(25), "same") for spectrum in spectra]
    return float(np.corrcoef(smooth)[0, 1])


def test_wide_band_amr_is_decoded():
    clip = decode(sounds.wide_amr_bytes(frames=50))
    assert clip.duration_s == 1.0
    assert clip.samples.any()


def test_lossless_sound_has_the_same_bits_through_both_readers():
    voice = sounds.voice(0.5, 44_100, 2)
    flac = sounds.soundfile_bytes(voice, 44_100, "FLAC", "PCM_16")
    blocks = list(pyav_reader.pyav_blocks(io.BytesIO(flac)))
    heard = np.concatenate([block.samples for block in blocks])
    np.testing.assert_array_equal(heard, soundfile.read(io.BytesIO(flac), dtype="float32")[0])


@pytest.mark.parametrize("kind", ["m4a", "webm", "caf-adpcm", "wavpack", "ac3", "mov-pcm", "mka", "amr"])
def test_frames_that_are_joined_keep_every_bit(kind):
    coded = sounds.PYAV_KINDS[kind]
    file = sounds.pyav_bytes(sounds.voice(4.0, coded.rate_hz, coded.channels), coded)
    with av.open(io.BytesIO(file)) as container:
        arrays = [frame.to_ndarray() for frame in container.decode(audio=0)]
    single = [one.T if len(one) > 1 else one.reshape(-1, coded.channels) for one in arrays]
    heard = np.concatenate([block.samples for block in pyav_reader.pyav_blocks(io.BytesIO(file))])
    np.testing.assert_array_equal(heard, readers.as_float(np.concatenate(single)))


@pytest.mark.parametrize("frames", [7, 4_095, 4_096, 4_097, 8_192, 30_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_apple_lossless_in_a_caf_has_libsndfiles_bits_by_the_faster_way(frames, channels):
    noise = np.random.default_rng(frames).uniform(-1, 1, (frames, channels)).astype(np.float32)
    for voice in (sounds.voice(1.0, 44_100, channels)[:frames], noise):
        file = sounds.soundfile_bytes(voice, 44_100, "CAF", "ALAC_16")
        expected = soundfile.read(io.BytesIO(file), dtype="float32", always_2d=True)[0]
        np.testing.assert_array_equal(decode(file).samples, clip_from_samples(expected, 44_100).samples)
        if frames % 4_096:  # else the two count its packets differently, and libsndfile is followed
            blocks = pyav_reader.alac_blocks(io.BytesIO(file), DecodeLimits())
            np.testing.assert_array_equal(np.concatenate([block.samples for block in blocks]), expected)


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 2), ("ALAC_24", 2), ("ALAC_16", 6)])
def test_only_lossless_sound_that_is_sure_to_be_the_same_takes_the_faster_way(subtype, channels):
    file = sounds.soundfile_bytes(sounds.voice(0.2, 44_100, channels), 44_100, "CAF", subtype)
    with pytest.raises(readers.Unreadable):
        list(pyav_reader.alac_blocks(io.BytesIO(file), DecodeLimits()))


def test_a_damaged_lossless_caf_is_left_to_the_other_ways():
    file = bytearray(sounds.soundfile_bytes(sounds.voice(3.0, 44_100, 2), 44_100, "CAF", "ALAC_16"))
    middle = len(file) // 2
    file[middle : middle + 9_000] = bytes(9_000)
    with pytest.raises(readers.BrokenOff):
        list(pyav_reader.alac_blocks(io.BytesIO(file), DecodeLimits()))
    assert decode(bytes(file)).duration_s > 2.5


def test_the_content_decides_and_not_the_suffix(tmp_path):
    for suffix in (".mp3", ".txt", ".raw", ".m3u8", ""):
        path = tmp_path / f"sound{suffix}"
        path.write_bytes(WAV)
        assert decode(str(path)).duration_s == 1.0


def test_the_suffixes_of_a_folder_search_are_lower_case_with_a_dot():
    assert {".wav", ".m4a", ".amr", ".webm", ".wma", ".caf"} <= SOUND_SUFFIXES
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SOUND_SUFFIXES)


def test_a_change_of_rate_and_channels_in_the_stream_is_followed():
    high = sounds.pyav_bytes(sounds.voice(1.0, 44_100, 2), sounds.Coded("adts", "aac"))
    low = sounds.pyav_bytes(sounds.voice(1.0, 16_000, 1), sounds.Coded("adts", "aac", 16_000, 1, bit_rate=32_000))
    assert decode(high + low).duration_s == pytest.approx(2.1, abs=0.1)


def test_all_of_sixteen_planes_are_heard():
    voice = sounds.voice(0.5, 16_000, 16)
    heard = decode(sounds.pyav_bytes(voice, sounds.PYAV_KINDS["wavpack-16"]))  # in 8 bits
    np.testing.assert_allclose(heard.samples, clip_from_samples(voice, 16_000).samples, atol=1 / 256)


def test_too_many_planes_are_too_many_channels():
    file = sounds.pyav_bytes(sounds.voice(0.5, 16_000, 16), sounds.PYAV_KINDS["wavpack-16"])
    with pytest.raises(TooManyChannels):
        decode(file, DecodeLimits(max_channels=8))


# Mixing and resampling


@pytest.mark.parametrize("channels", range(1, 33))
def test_the_mean_over_channels_has_torchs_bits(channels):
    import torch

    samples = np.random.default_rng(channels).standard_normal((5_000, channels)).astype(np.float32)
    expected = torch.from_numpy(samples).mean(-1).numpy()
    np.testing.assert_array_equal(mean_over_channels(samples), expected)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES_HZ), st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_how_the_sound_is_cut_into_blocks_changes_no_bit(rate_hz, lengths):
    import librosa

    whole = sounds.voice(sum(lengths) / rate_hz + 1, rate_hz)[: sum(lengths)]
    with ClipWriter("cut", DecodeLimits()) as clip_writer:
        for part in np.split(whole, np.cumsum(lengths)[:-1]):
            clip_writer.write(Block(part, rate_hz))
        clip = clip_writer.clip()
    np.testing.assert_array_equal(clip.samples, librosa.resample(whole[:, 0], orig_sr=rate_hz, target_sr=16_000))


def test_samples_of_a_notebook_give_the_clip_of_the_file():
    pcm = (sounds.voice(0.5, 44_100, 2) * 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, 44_100, format="WAV", subtype="PCM_16")
    expected = decode(buffer.getvalue()).samples

    np.testing.assert_array_equal(clip_from_samples(pcm, 44_100).samples, expected)
    np.testing.assert_array_equal(clip_from_samples(pcm.T, 44_100).samples, expected)
    np.testing.assert_array_equal(clip_from_samples(pcm / np.float64(32768), 44_100).samples, expected)
    np.testing.assert_array_equal(clip_from_samples(pcm.astype(np.int32) << 16, 44_100).samples, expected)


def test_bytes_without_sign_are_centred():
    assert clip_from_samples(np.array([0, 128, 255], np.uint8), 16_000).samples.tolist() == [-1.0, 0.0, 127 / 128]


def test_a_clip_does_not_share_memory_and_cannot_be_written_to():
    mine = np.ones(1_000, np.float32)
    clip = clip_from_samples(mine, 16_000)
    mine[:] = 0
    assert clip.samples.all()
    with pytest.raises(ValueError, match="read-only"):
        clip.samples[0] = 0


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 3, 4)), np.zeros(4, np.int64), np.zeros(4, complex), np.array(["a"]), np.float32(1)]
)
def test_arrays_that_are_no_sound_are_refused(samples):
    with pytest.raises(NotSound):
        clip_from_samples(samples, 16_000)


def test_an_array_without_samples_is_empty():
    for nothing in (np.zeros(0), np.zeros((0, 2)), np.zeros((5, 0))):
        with pytest.raises(ClipEmpty):
            clip_from_samples(nothing, 16_000)


def test_samples_keep_the_limits_too():
    with pytest.raises(RateOutOfRange):
        clip_from_samples(np.zeros(100), 1)
    with pytest.raises(TooManyChannels):
        clip_from_samples(np.zeros((100, 33)), 16_000)
    with pytest.raises(ClipTooLong):
        clip_from_samples(np.zeros(16_001), 16_000, limits=DecodeLimits(max_clip_s=1))


# Numbers that are no sound


def test_samples_that_are_no_number_count_as_silence():
    voice = sounds.voice(0.5, 16_000, 2)
    voice[10, 0], voice[11], voice[12, 1] = np.nan, np.inf, 1e30
    samples = decode(sounds.soundfile_bytes(voice, 16_000, "WAV", "FLOAT")).samples
    assert samples[10] == voice[10, 1] / 2
    assert samples[11] == 0
    assert samples[12] == voice[12, 0] / 2
    np.testing.assert_array_equal(samples[13:], mean_over_channels(voice)[13:])


def test_a_file_of_nothing_but_nan_is_not_sound():
    with pytest.raises(NotSound):
        decode(sounds.soundfile_bytes(np.full((1_000, 1), np.nan, np.float32), 16_000, "WAV", "FLOAT"))


def test_numbers_beyond_float32_count_as_silence_without_a_word():
    samples = np.array([[1e300, 0.5], [0.25, 0.25], [3e38, 3e38]])
    assert clip_from_samples(samples, 16_000).samples.tolist() == [0.25, 0.25, 0.0]


def test_a_header_that_points_before_its_file_is_passed_over_in_silence(capfd):
    with pytest.raises(ClipError):
        decode(bytes.fromhex("664c6143") + bytes(3) + b"\x22" + bytes(100))
    assert readers._Calm(io.BytesIO(b"abc")).seek(-5) == 0
    assert capfd.readouterr().err == ""


def test_silence_is_sound():
    assert not decode(sounds.silent_flac(100)).samples.any()


# Broken and lying files


@pytest.mark.parametrize("claimed_bytes", [0, 0xFFFFFFFF, 0x7FFFFFFF, 1_000_000])
def test_a_wav_with_a_wrong_size_gives_its_sound(claimed_bytes):
    pcm = (sounds.voice(1.0)[:, 0] * 32767).astype("<i2")
    file = sounds.wav_header_bytes(16_000, 1, claimed_bytes) + pcm.tobytes()
    np.testing.assert_array_equal(decode(file).samples, pcm / np.float32(32768))


@pytest.mark.parametrize("claimed_frames", [0, 1_000, 10**9, 2**36 - 1])
def test_a_flac_with_a_wrong_frame_count_gives_its_sound(claimed_frames):
    voice = np.random.default_rng(1).uniform(-0.5, 0.5, (200_000, 1)).astype(np.float32)
    flac = sounds.soundfile_bytes(voice, 16_000, "FLAC", "PCM_16")
    expected = decode(flac).samples
    np.testing.assert_array_equal(decode(sounds.flac_with_frame_count(flac, claimed_frames)).samples, expected)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")],
)
def test_a_truncated_file_gives_the_sound_that_is_there(kind, subtype):
    file = sounds.soundfile_bytes(sounds.voice(6.0, 16_000), 16_000, kind, subtype)
    whole, half = decode(file), decode(file[: len(file) // 2])
    assert 1.0 < half.duration_s < 4.0
    if subtype == "PCM_16":
        np.testing.assert_array_equal(half.samples, whole.samples[: len(half.samples)])


@pytest.mark.parametrize("kind", ["aac", "amr", "webm", "mka", "mpegts-video"])
def test_a_truncated_stream_gives_the_sound_that_is_there(kind):
    coded = sounds.PYAV_KINDS[kind]
    file = sounds.pyav_bytes(sounds.voice(6.0, coded.rate_hz, coded.channels), coded)
    assert 1.0 < decode(file[: len(file) // 2]).duration_s < 5.0


@pytest.mark.parametrize("kind", ["m4a", "aac", "webm", "wma", "flv"])
def test_damage_in_the_middle_costs_little_and_says_nothing(kind, capfd):
    coded = sounds.PYAV_KINDS[kind]
    file = bytearray(sounds.pyav_bytes(sounds.voice(6.0, coded.rate_hz, coded.channels), coded))
    middle = len(file) // 2
    file[middle : middle + 2_000] = np.random.default_rng(5).bytes(2_000)
    assert decode(bytes(file)).duration_s > 3.5
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_after_damage_the_second_reader_goes_on(kind, subtype):
    file = bytearray(sounds.soundfile_bytes(sounds.voice(10.0, 16_000), 16_000, kind, subtype))
    middle = len(file) // 2
    file[middle : middle + 2_000] = np.random.default_rng(5).bytes(2_000)
    assert decode(bytes(file)).duration_s > 8.0


@pytest.mark.parametrize(
    "kind", [*sounds.SOUNDFILE_KINDS[::4], *list(sounds.PYAV_KINDS.values())[::4]], ids=lambda kind: str(kind)[:40]
)
def test_random_damage_gives_finite_sound_or_an_error_of_the_family(kind):
    if isinstance(kind, sounds.Coded):
        file = sounds.pyav_bytes(sounds.voice(0.5, kind.rate_hz, kind.channels), kind)
    else:
        file = sounds.soundfile_bytes(sounds.voice(0.5), 16_000, *kind)
    for seed in range(25):
        chance = np.random.default_rng(seed)
        damaged = np.frombuffer(file, np.uint8).copy()
        places = chance.integers(0, len(file) if seed % 2 else min(400, len(file)), 1 + seed)
        damaged[places] = chance.integers(0, 256, len(places))
        try:
            clip = decode(damaged.tobytes())
        except ClipError:
            continue
        assert len(clip.samples)
        assert np.isfinite(clip.samples).all()


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    for source in (path, b"", sounds.wav_header_bytes(16_000, 1, 0)):
        with pytest.raises(ClipEmpty):
            decode(source)


@pytest.mark.parametrize(
    "junk",
    [b"hello world\n" * 5_000, bytes(100_000), b"\x89PNG\r\n\x1a\n" + bytes(1_000), b"PK\x03\x04" + bytes(500), b"R"],
    ids=["text", "zeros", "png", "zip", "letter"],
)
def test_what_is_not_sound_is_refused(junk):
    with pytest.raises(NotSound):
        decode(junk)


def test_random_bytes_are_not_sound():
    for seed in range(10):
        with pytest.raises(NotSound):
            decode(np.random.default_rng(seed).bytes(50_000))


def test_a_film_without_sound_is_not_sound():
    for container in ("mp4", "matroska"):
        with pytest.raises(NotSound):
            decode(sounds.video_bytes(container), name="film")


def test_an_mp4_cut_before_its_index_is_not_sound():
    file = sounds.pyav_bytes(sounds.voice(1.0, 44_100, 2), sounds.PYAV_KINDS["m4a"])
    with pytest.raises(NotSound):
        decode(file[: len(file) // 2])


# Names and paths


@pytest.mark.parametrize("path", ["/nowhere/secret/call.wav", "https://example.org/call.wav", "bad\0/call.wav"])
def test_a_missing_file_is_named_without_its_folder(path):
    with pytest.raises(ClipNotFound) as caught:
        decode(path)
    assert "'call.wav'" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ClipNotFound):
        decode(tmp_path)
    with pytest.raises(ClipNotFound):
        decode(tmp_path.joinpath("file.wav", "below.wav"))


def test_a_file_that_cannot_be_opened_is_said_so(tmp_path):
    loop = tmp_path / "loop.wav"
    loop.symlink_to(loop)
    with pytest.raises(ClipUnreadable, match=r"loop\.wav"):
        decode(loop)


def test_a_pipe_is_read():
    reading, writing = os.pipe()
    os.write(writing, WAV)
    os.close(writing)
    assert decode(f"/dev/fd/{reading}", name="piped").duration_s == 1.0
    os.close(reading)


def test_messages_and_clips_show_a_clean_base_name():
    assert decode(WAV, name="C:\\fakepath\\a\nb.wav").name == "ab.wav"
    assert decode(WAV, name="../../etc/x.wav").name == "x.wav"
    assert decode(WAV).name == "recording"
    assert decode(WAV, name="\n").name == "recording"


def test_an_open_source_knows_no_name(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(WAV)
    with open_source(path) as file:
        assert file.name == ""
        assert file.read() == WAV


# Limits


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.wav"
    path.write_bytes(WAV)
    for source in (path, WAV):
        with pytest.raises(ClipTooLarge):
            decode(source, DecodeLimits(max_file_bytes=1_000))


def test_decoded_seconds_are_counted_in_both_readers():
    limits = DecodeLimits(max_clip_s=0.9)
    coded = sounds.PYAV_KINDS["m4a"]
    for file in (WAV, sounds.pyav_bytes(sounds.voice(1.0, coded.rate_hz, 2), coded)):
        with pytest.raises(ClipTooLong):
            decode(file, limits)
        assert decode(file, DecodeLimits(max_clip_s=1.1)).duration_s == pytest.approx(1.0, abs=0.05)
    assert decode(WAV, DecodeLimits(max_clip_s=1.0)).duration_s == 1.0


def test_a_long_flac_is_refused_at_once_whatever_it_claims(monkeypatch):
    bomb = sounds.silent_flac(2_000)
    monkeypatch.setattr(writer.ClipWriter, "write", lambda *_: pytest.fail("decoded"))
    for claimed in (0, 16_000_000, 2**36 - 1):
        with pytest.raises(ClipTooLong):
            decode(sounds.flac_with_frame_count(bomb, claimed), DecodeLimits(max_clip_s=1_000))


def test_a_flac_that_hides_its_length_is_refused_too():
    bomb = sounds.flac_with_frame_count(sounds.silent_flac(12_000), 0)
    hidden = sounds.flac_with_frame_count(bomb, 1)
    for file in (bomb, hidden):
        with pytest.raises(ClipTooLong):
            decode(file, DecodeLimits(max_clip_s=5_000))


def test_many_channels_at_a_high_rate_shorten_what_may_be_decoded():
    limits = DecodeLimits(max_clip_s=100)
    assert limits.longest_s(48_000, 16) == 100
    assert limits.longest_s(768_000, 4) == 25
    assert limits.longest_s(8_000, 1) == 100


@pytest.mark.parametrize("rate_hz", [1, 999, 768_001, 2_000_000_000])
def test_a_rate_out_of_range_is_refused(rate_hz):
    with pytest.raises(RateOutOfRange):
        decode(sounds.wav_header_bytes(rate_hz, 1, 4_000) + bytes(4_000))


def test_a_thousand_channels_are_refused():
    with pytest.raises(TooManyChannels):
        decode(sounds.wav_header_bytes(16_000, 1_000, 4_000_000) + bytes(4_000_000))


def test_a_stream_that_keeps_changing_its_rate_is_no_recording():
    moment = np.zeros((10, 1), np.float32)
    with ClipWriter("wild", DecodeLimits()) as clip_writer:
        for turn in range(writer.MAX_RATE_CHANGES + 1):
            clip_writer.write(Block(moment, 8_000 + turn % 2))
        with pytest.raises(NotSound):
            clip_writer.write(Block(moment, 16_000))


def test_a_stream_of_packets_without_sound_is_not_followed(monkeypatch):
    coded = sounds.PYAV_KINDS["amr"]
    frame = sounds.pyav_bytes(sounds.voice(0.1, 8_000), coded)[6:38]  # after the magic word, one frame of 32 bytes
    file = b"#!AMR\n" + frame * 10 + b"\x5c" * 100 + frame * 10  # type 11 is reserved: nothing to decode
    assert decode(file).duration_s == pytest.approx(0.4)
    monkeypatch.setattr(pyav_reader, "MAX_BARREN_PACKETS", 50)
    assert decode(file).duration_s == pytest.approx(0.2)


def test_a_track_that_appears_late_does_not_end_the_sound():
    class Broadcast:
        """Stumbles once, as PyAV does at the end of a file with a track that was not there at the start."""

        def __init__(self):
            self.parts = iter([[1, 2, IndexError()], [3]])

        def demux(self, _):
            for packet in next(self.parts):
                if isinstance(packet, IndexError):
                    raise packet
                yield packet

    assert list(pyav_reader._packets(Broadcast(), None)) == [1, 2, 3]


# Memory and disk


def grown_mb(code: str, *arguments: str) -> float:
    """How much the peak memory of a fresh process grew over the code, which follows the imports."""
    script = """
        import re, sys
        from pathlib import Path
        from emotion.audio import decode
        from emotion.errors import ClipError
        import av
        def peak_mb():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000
        start = peak_mb()
    """
    program = textwrap.dedent(script) + textwrap.dedent(code) + "\nprint(peak_mb() - start)\n"
    answer = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert answer.stderr == ""
    return float(answer.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_three_hours_are_decoded_in_bounded_memory(tmp_path):
    path = tmp_path / "night.flac"
    path.write_bytes(sounds.silent_flac(10_800))
    assert grown_mb("clip = decode(sys.argv[1]); assert clip.duration_s == 10_800", str(path)) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_three_hours_are_read_and_written_in_bounded_memory(tmp_path):
    path = tmp_path / "night.flac"
    path.write_bytes(sounds.silent_flac(10_800))
    code = """
        from emotion.audio import write_wav
        clip = decode(sys.argv[1])
        for start in range(0, len(clip.samples), 960_000):
            assert not clip.samples[start : start + 960_000].any()
            clip.forget(start, start + 960_000)
        write_wav(clip, sys.argv[1] + ".wav")
    """
    assert grown_mb(code, str(path)) < 100  # of 690


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_index_of_millions_of_packets_is_not_built(tmp_path):
    path = tmp_path / "bomb.m4a"
    path.write_bytes(packet_bomb(80_000_000))
    code = """
        try:
            decode(sys.argv[1])
        except ClipError:
            pass
    """
    assert grown_mb(code, str(path)) < 100


def packet_bomb(packets: int) -> bytes:
    """A small M4A whose header promises millions of packets of one byte."""
    file = bytearray(sounds.pyav_bytes(sounds.voice(1.0, 44_100, 2), sounds.PYAV_KINDS["m4a"]))
    for tag, offset, number in (
        (b"stsz", 8, 1),
        (b"stsz", 12, packets),
        (b"stsc", 16, packets),
        (b"stts", 12, packets),
    ):
        start = file.index(tag) + offset
        file[start : start + 4] = number.to_bytes(4, "big")
    return bytes(file)


def test_a_long_clip_lives_in_a_file_without_a_name(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = sounds.soundfile_bytes(sounds.voice(4.0, 22_050, 2), 22_050)
    expected = decode(file).samples
    monkeypatch.setattr(writer, "HELD_SAMPLES", 16_000)

    clip = decode(file)

    assert isinstance(clip.samples, np.memmap)
    assert not isinstance(expected, np.memmap)
    np.testing.assert_array_equal(clip.samples, expected)
    assert not clip.samples.flags.writeable
    assert list(tmp_path.iterdir()) == []


def test_what_was_forgotten_is_read_again(monkeypatch):
    monkeypatch.setattr(writer, "HELD_SAMPLES", 16_000)
    file = sounds.soundfile_bytes(sounds.voice(4.0, 16_000), 16_000)
    long_clip = decode(file)
    expected = np.array(long_clip.samples)
    part = long_clip.samples[20_000:30_000]
    for start, stop in ((0, None), (0, 0), (5, 7), (20_001, 29_999), (60_000, 10**9), (10**9, None), (9, 3), (-5, 5)):
        long_clip.forget(start, stop)
    np.testing.assert_array_equal(long_clip.samples, expected)
    np.testing.assert_array_equal(part, expected[20_000:30_000])


def test_a_clip_in_memory_forgets_nothing():
    clip = decode(WAV)
    expected = clip.samples.copy()
    clip.forget()
    np.testing.assert_array_equal(clip.samples, expected)


def test_a_full_disk_is_said_to_be_full(monkeypatch):
    monkeypatch.setattr(writer, "HELD_SAMPLES", 1_000)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: io.FileIO("/dev/full", "w"))
    with pytest.raises(DiskFull):
        decode(WAV)


def test_another_trouble_of_the_disk_is_not_hidden(monkeypatch):
    monkeypatch.setattr(writer, "HELD_SAMPLES", 1_000)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: io.FileIO(os.devnull))
    with pytest.raises(OSError, match="not open for writing"):
        decode(WAV)


# Files that point elsewhere


@pytest.fixture
def listener():
    """A port on which nobody should ever knock."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        yield server


def test_playlists_and_scripts_open_nothing(listener, tmp_path):
    target = tmp_path / "secret.wav"
    target.write_bytes(WAV)
    (tmp_path / "secret.ts").write_bytes(
        sounds.pyav_bytes(sounds.voice(1.0, 48_000, 2), sounds.Coded("mpegts", "aac", 48_000))
    )
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/secret.ts"
    for place in (
        url,
        str(target),
        str(tmp_path / "secret.ts"),
        f"file:{target}",
        f"subfile,,start,0,end,9,,:{target}",
    ):
        for script in scripts_to(place):
            path = tmp_path / "upload.wav"
            path.write_text(script)
            for source in (path, script.encode()):
                with pytest.raises(NotSound):
                    decode(source)
    with pytest.raises(BlockingIOError):
        listener.accept()


def scripts_to(place: str) -> list[str]:
    """What could lead a demuxer to another file."""
    return [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{place}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{place}\n",
        f"ffconcat version 1.0\nfile '{place}'\n",
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=control:{place}\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
        f'<Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{place}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
        f"[playlist]\nFile1={place}\nNumberOfEntries=1\n",
        f"[Reference]\nRef1={place}\n",
        place,
    ]


def test_the_playlist_would_work_without_the_guard(tmp_path):
    inner = tmp_path / "secret.ts"
    inner.write_bytes(sounds.pyav_bytes(sounds.voice(1.0, 48_000, 2), sounds.Coded("mpegts", "aac", 48_000)))
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(scripts_to(str(inner))[0])
    with av.open(str(playlist)) as container:
        assert container.streams.audio


def test_a_reference_out_of_the_file_is_refused():
    with pytest.raises(PermissionError):
        pyav_reader._refuse_reference("http://example.org", 1, {})


@pytest.mark.parametrize("labels", [[2, 1], [1, 2], [6, 4], [1, 1]])
def test_channels_in_an_order_of_their_own_do_not_end_the_process(labels):
    # In a process of its own: PyAV would free the list of channels twice.
    code = "import sys; from emotion.audio import decode; print(decode(sys.stdin.buffer.read()).duration_s)"
    file = sounds.caf_with_channel_order(labels)
    answer = subprocess.run([sys.executable, "-c", code], input=file, capture_output=True, check=True)
    assert float(answer.stdout) == pytest.approx(1.0, abs=0.05)


def test_a_frame_with_an_order_of_its_own_is_not_used(monkeypatch):
    monkeypatch.setattr(pyav_reader, "CUSTOM_ORDER", 1)  # the native one, so that a harmless file has it
    monkeypatch.setattr(pyav_reader, "_plain_order", lambda _: {})
    coded = sounds.PYAV_KINDS["m4a"]
    with pytest.raises(NotSound):
        decode(sounds.pyav_bytes(sounds.voice(1.0, 44_100, 2), coded))


def test_no_video_decoder_runs():
    film = sounds.pyav_bytes(sounds.voice(1.0, 44_100, 2), sounds.PYAV_KINDS["mp4-video"])
    with av.open(io.BytesIO(film), "r", container_options=pyav_reader.OPEN_OPTIONS) as container:
        assert container.streams.video[0].codec_context.pix_fmt is None  # what only its decoder knows


# Back to a file


def test_sixteen_bits_return_bit_for_bit(tmp_path):
    pcm = np.random.default_rng(2).integers(-32768, 32768, 50_000).astype(np.int16)
    clip = clip_from_samples(pcm, SAMPLE_RATE_HZ)
    path = tmp_path / "processed_audio.wav"

    write_wav(clip, path)

    back, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(back, pcm)
    assert path.read_bytes() == wav_bytes(clip)
    np.testing.assert_array_equal(decode(path).samples, clip.samples)


def test_loud_samples_are_clipped_in_the_file():
    clip = clip_from_samples(np.array([2.0, -2.0, 0.5], np.float32), SAMPLE_RATE_HZ)
    assert decode(wav_bytes(clip)).samples.tolist() == [32767 / 32768, -1.0, 0.5]


# The import


def test_importing_the_room_loads_no_decoder_of_films_and_no_torch():
    code = "import sys, emotion.audio; print(sorted({'av', 'torch', 'librosa', 'gradio'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (answer.stdout.strip(), answer.stderr) == ("[]", "")


@pytest.mark.parametrize("other", [-0.99, -0.9])
def test_of_channels_that_cancel_each_other_out_the_louder_one_is_taken(other):
    voice = np.random.default_rng(3).normal(0, 0.1, 16_000).astype(np.float32)
    clip = clip_from_samples(np.stack([voice * np.float32(other), voice], axis=1), 16_000)
    np.testing.assert_array_equal(clip.samples, voice)
    assert (clip.channels, clip.mixed_from, clip.channels_differ) == (2, (2,), True)


def test_channels_in_antiphase_are_taken_apart_in_a_file_too():
    voice = np.random.default_rng(3).normal(0, 0.1, 16_000).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.stack([voice, -voice], axis=1), 16_000, format="WAV", subtype="FLOAT")
    clip = decode(file.getvalue())
    np.testing.assert_array_equal(clip.samples, voice)
    assert clip.mixed_from == (1,)


def test_a_mix_says_what_it_is_made_of():
    one, two = np.random.default_rng(3).normal(0, 0.1, (2, 16_000)).astype(np.float32)
    equal = clip_from_samples(np.stack([one, one], axis=1), 16_000)
    different = clip_from_samples(np.stack([one, two], axis=1), 16_000)
    silent = clip_from_samples(np.stack([one, np.zeros_like(one)], axis=1), 16_000)
    assert [clip.mixed_from for clip in (equal, different, silent)] == [(1, 2)] * 3
    assert [clip.channels_differ for clip in (equal, different, silent)] == [False, True, True]
    assert clip_from_samples(one, 16_000).mixed_from == ()


def test_a_name_keeps_the_folders_within_a_zip_and_none_of_this_machine():
    assert shown_name(b"", "spk1/segment.wav") == "spk1/segment.wav"
    assert shown_name(b"", "../etc/x.wav") == "x.wav"
    for whole in ("/home/me/x.wav", "C:\\Users\\me\\x.wav", "\\\\server\\share\\x.wav"):
        assert shown_name(b"", whole) == "x.wav"
    assert shown_name(Path("/home/me/x.wav"), None) == "x.wav"


def test_buffers_and_open_files_are_sources_too(tmp_path):
    path = tmp_path / "call.wav"
    path.write_bytes(WAV)
    expected = decode(path).samples
    for buffer in (bytearray(WAV), memoryview(WAV), io.BytesIO(WAV)):
        np.testing.assert_array_equal(decode(buffer).samples, expected)
    with path.open("rb") as file:
        assert decode(file).name == "call.wav"
    with pytest.raises(TypeError, match="binary mode"):
        decode(io.StringIO("no bytes"))


def test_an_ogg_that_ends_before_its_first_sound_is_not_called_empty():
    file = sounds.soundfile_bytes(sounds.voice(4.0), 16_000, "OGG", "VORBIS")
    with pytest.raises(ClipCutOff, match="breaks off"):
        decode(file[:4_000])
