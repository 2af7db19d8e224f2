import errno
import json
import tempfile
import threading
from datetime import datetime

import numpy as np
import pytest
import soxr

from emotion.analysis import AnalysisRequest
from emotion.analysis import speech as speech_rule
from emotion.audio import SAMPLE_RATE_HZ, Clip, SoundQueue, StreamRecorder, decode, wav_bytes
from emotion.engine import EnginePlan
from emotion.errors import ClipTooShort, DiskFull, EngineBusy, RateOutOfRange
from emotion.live import LiveMoment, LiveSession
from emotion.settings import Settings
from tests.fakes import loud_clip, tone, turning_clip, wait_for
from tests.page_server import FakeRecognizer

PIECE_S = 0.1
PATIENCE_S = 30


def pcm(samples) -> bytes:
    return np.rint(np.asarray(samples) * 32767).astype("<i2").tobytes()


def pieces(sound: bytes, rate_hz: int = SAMPLE_RATE_HZ):
    size = round(rate_hz * PIECE_S) * 2
    return [sound[start : start + size] for start in range(0, len(sound), size)]


class Listener:
    """A session together with the moments that it told, on a recogniser that can be held still."""

    def __init__(
        self, recognizer: FakeRecognizer, request: AnalysisRequest | None = None, rate_hz: int = SAMPLE_RATE_HZ
    ) -> None:
        self.recognizer = recognizer
        self.moments: list[LiveMoment] = []
        self.session = LiveSession(recognizer, rate_hz, self.moments.append, request)  # type: ignore[arg-type]

    def hear(self, samples, rate_hz: int = SAMPLE_RATE_HZ) -> None:
        """Feed a piece at a time, each when the model has answered the ones before."""
        for piece in pieces(pcm(samples), rate_hz):
            self.session.feed(piece)
            wait_for(lambda: self.recognizer.engine.queue_length == 0 and self.session._in_flight is None)

    def rush(self, samples) -> None:
        """Feed without waiting for any answer."""
        for piece in pieces(pcm(samples)):
            self.session.feed(piece)


@pytest.fixture
def recognizer(tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path / "outputs"), EnginePlan(queue_size=2))
    yield recognizer
    recognizer.close()


@pytest.fixture
def listen(recognizer):
    """Begins sessions, which end with the test."""
    begun = []

    def begin(
        request: AnalysisRequest | None = None, rate_hz: int = SAMPLE_RATE_HZ, on: FakeRecognizer = recognizer
    ) -> Listener:
        begun.append(Listener(on, request, rate_hz))
        return begun[-1]

    yield begin
    recognizer.model.gate.set()
    for listener in begun:
        ending = listener.session.leave()
        if ending is not None:
            ending.exception(PATIENCE_S)


@pytest.fixture
def listener(listen):
    return listen()


# A beat


def test_the_emotion_of_the_last_seconds_comes_twice_a_second(listener):
    listener.hear(tone(3.0))
    assert [moment.time_s for moment in listener.moments] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    last = listener.moments[-1]
    assert last.emotion.key == "angry"
    assert last.scores["angry"] == pytest.approx(last.confidence)
    assert sum(last.scores.values()) == pytest.approx(1)
    assert last.interval_s == pytest.approx(0.5)
    assert last.level_db == pytest.approx(-13.5, abs=0.1)
    assert not last.is_silent


def test_the_window_rolls_and_is_at_most_three_seconds(listener):
    listener.hear(tone(5.0))
    lengths_s = [length / SAMPLE_RATE_HZ for length in listener.recognizer.model.lengths]
    assert lengths_s == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0, 3.0, 3.0]


def test_nothing_is_said_of_less_than_half_a_second(listener):
    listener.hear(tone(0.45))
    assert listener.moments == []
    assert listener.recognizer.model.lengths == []


def test_silence_is_shown_as_silence_and_costs_no_inference(listener):
    listener.hear(np.concatenate([tone(1.0, 0.0005), np.zeros(16_000)]))
    assert [moment.is_silent for moment in listener.moments] == [True] * 4
    assert {(moment.scores, moment.emotion, moment.confidence) for moment in listener.moments} == {(None, None, 0.0)}
    assert listener.recognizer.model.lengths == []


def test_a_pause_becomes_silence_after_a_second_and_speech_ends_it(listener):
    listener.hear(np.concatenate([tone(1.0), np.zeros(32_000), tone(1.0)]))
    assert [moment.is_silent for moment in listener.moments] == [False] * 3 + [True] * 3 + [False] * 2
    # What was silent before the voice came back is not part of the window, but for its last fifth of a second.
    assert listener.recognizer.model.lengths[-1] == round(1.2 * SAMPLE_RATE_HZ)


def test_pieces_that_end_on_no_beat_keep_the_pace(listener):
    sound = pcm(tone(6.0))
    for start in range(0, len(sound), 2 * 1_493):
        listener.session.feed(sound[start : start + 2 * 1_493])
        wait_for(lambda: listener.session._in_flight is None)
    assert len(listener.moments) == 12
    assert listener.moments[-1].interval_s == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000, 192_000])
def test_microphones_of_every_rate_are_heard(listen, rate_hz):
    listener = listen(rate_hz=rate_hz)
    times_s = np.arange(rate_hz * 2) / rate_hz
    listener.hear(0.3 * np.sin(2 * np.pi * 200 * times_s), rate_hz)
    assert len(listener.moments) >= 3
    assert {moment.emotion.key for moment in listener.moments} == {"angry"}
    files = listener.session.stop().result(PATIENCE_S)
    assert files.analysis.clip.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("rate_hz", [0, 7_999, 192_001])
def test_a_rate_that_no_microphone_has_is_refused(listen, rate_hz):
    with pytest.raises(RateOutOfRange):
        listen(rate_hz=rate_hz)


def test_live_and_upload_ask_one_rule_whether_somebody_is_heard(listener, recognizer, monkeypatch):
    monkeypatch.setattr(speech_rule, "gate", lambda levels_db: np.zeros(len(levels_db), np.bool_))
    listener.hear(tone(1.0))
    assert [moment.is_silent for moment in listener.moments] == [True] * 2
    assert recognizer.engine.submit(Clip("tone.wav", tone(1.0))).result(PATIENCE_S).silent


# Pace


def answer_slowly(listener: Listener) -> None:
    """Let the model take as long as 1.4 s of sound for each answer."""
    for _ in range(5):
        listener.recognizer.model.gate.clear()
        listener.rush(tone(1.4))
        assert listener.recognizer.engine.queue_length == 1
        listener.recognizer.model.gate.set()
        wait_for(lambda: listener.session._in_flight is None)


def test_a_slow_model_is_asked_again_when_it_has_answered_and_the_interval_says_so(listener):
    model = listener.recognizer.model
    answer_slowly(listener)
    assert 4 <= len(listener.moments) <= 5
    assert 1.2 <= listener.moments[-1].interval_s <= 1.5
    assert model.batches
    assert all(len(batch) == 1 for batch in model.batches)


def test_silence_says_nothing_of_the_pace(listener):
    answer_slowly(listener)
    listener.hear(np.zeros(32_000))
    assert listener.moments[-1].is_silent
    assert 1.2 <= listener.moments[-1].interval_s <= 1.5


def test_a_full_queue_skips_the_beat_and_the_session_goes_on(listener):
    recognizer = listener.recognizer
    recognizer.model.gate.clear()
    others = [recognizer.engine.submit(loud_clip()) for _ in range(2)]
    listener.rush(tone(2.0))
    assert listener.moments == []
    recognizer.model.gate.set()
    for other in others:
        other.result(PATIENCE_S)
    listener.hear(tone(1.0))
    assert {moment.emotion.key for moment in listener.moments} == {"angry"}
    assert listener.session.heard_s == 3.0


def test_a_model_that_fails_is_a_moment_without_scores_and_is_logged_once(listener, caplog):
    listener.recognizer.model.fault = ValueError("broken")
    listener.hear(tone(2.0))
    assert [(moment.scores, moment.is_silent) for moment in listener.moments] == [(None, False)] * 4
    assert [record.levelname for record in caplog.records if record.levelname != "INFO"] == ["WARNING"]
    listener.recognizer.model.fault = None
    listener.hear(tone(0.5))
    assert listener.moments[-1].emotion.key == "angry"


# The end


def test_stop_makes_a_run_that_equals_uploading_the_recording(listen, recognizer):
    listener = listen(AnalysisRequest("frame", embedding=True, exports=("srt",)), rate_hz=48_000)
    listener.hear(soxr.resample(turning_clip().samples, SAMPLE_RATE_HZ, 48_000), 48_000)
    files = listener.session.stop().result(PATIENCE_S)
    upload = recognizer.engine.submit(files.audio, AnalysisRequest("frame", embedding=True)).result(PATIENCE_S)
    live = files.analysis
    np.testing.assert_array_equal(live.clip.samples, upload.clip.samples)
    np.testing.assert_array_equal(live.scores, upload.scores)
    np.testing.assert_array_equal(live.frame_scores, upload.frame_scores)
    np.testing.assert_array_equal(live.embedding, upload.embedding)
    assert live.segments == upload.segments
    assert files.embedding.is_file()
    assert [path.name for path in files.exports["srt"]] == ["emotion.srt"]
    assert json.loads(files.result.read_text())["duration_s"] == 4.0


def test_what_came_at_16_khz_is_kept_bit_for_bit(listener):
    sound = pcm(turning_clip().samples)
    odd = [sound[:333], sound[333:1000], b"", sound[1000:]]
    for piece in odd:
        listener.session.feed(piece)
    clip = listener.session.stop().result(PATIENCE_S).analysis.clip
    assert np.rint(clip.samples * 32768).astype("<i2").tobytes() == sound


def test_the_recording_is_called_by_its_start(listener):
    listener.hear(tone(0.5))
    name = listener.session.stop().result(PATIENCE_S).analysis.clip.name
    assert abs(datetime.now() - datetime.strptime(name, "live_%Y%m%d_%H%M%S.wav")).total_seconds() < 60


def test_the_options_may_change_until_the_end_and_the_sound_need_not_be_kept(listener):
    listener.hear(tone(1.0))
    listener.session.request = AnalysisRequest("frame", keep_audio=False)
    files = listener.session.stop().result(PATIENCE_S)
    assert files.audio is None
    assert files.analysis.request.granularity == "frame"


def test_stopping_twice_is_stopping_once_and_nothing_is_heard_afterwards(listener):
    listener.hear(tone(1.0))
    first = listener.session.stop()
    listener.session.feed(pcm(tone(1.0)))
    assert listener.session.stop() is first
    assert listener.session.leave() is first
    assert first.result(PATIENCE_S).analysis.clip.duration_s == 1.0


def test_stopping_before_anything_was_heard_says_so(listener):
    with pytest.raises(ClipTooShort):
        listener.session.stop().result(PATIENCE_S)


def test_the_window_in_work_is_given_up_at_the_end(listener):
    listener.recognizer.model.gate.clear()
    listener.rush(tone(1.0))
    wait_for(listener.recognizer.model.waiting.is_set)
    ending = listener.session.stop()
    assert listener.session.progress().windows_done == 0
    listener.recognizer.model.gate.set()
    ending.result(PATIENCE_S)
    assert listener.moments == []
    assert listener.session.progress().stage == "done"


def test_a_recording_waits_for_its_place_in_a_full_queue(listener, monkeypatch):
    refused = threading.Event()
    listener.hear(tone(0.4))
    listener.recognizer.model.gate.clear()
    for _ in range(2):
        listener.recognizer.engine.submit(loud_clip())
    inherited = listener.recognizer.engine.submit

    def watched(*arguments, **named):
        try:
            return inherited(*arguments, **named)
        except EngineBusy:
            refused.set()
            raise

    monkeypatch.setattr(listener.recognizer.engine, "submit", watched)
    ending = listener.session.stop()
    assert refused.wait(PATIENCE_S)
    listener.recognizer.model.gate.set()
    assert ending.result(PATIENCE_S).analysis.clip.duration_s == pytest.approx(0.4)


def test_a_queue_that_stays_full_is_said_in_the_end(listener, monkeypatch):
    monkeypatch.setattr("emotion.live.session.PATIENCE_S", -1.0)
    listener.recognizer.model.gate.clear()
    for _ in range(2):
        listener.recognizer.engine.submit(loud_clip())
    with pytest.raises(EngineBusy):
        listener.session.stop().result(PATIENCE_S)


def test_at_the_limit_nothing_more_is_taken_and_what_is_there_is_kept(listen, tmp_path):
    recognizer = FakeRecognizer(Settings(outputs=tmp_path, max_clip_s=2.0))
    listener = listen(on=recognizer)
    listener.hear(tone(1.9))
    assert not listener.session.is_full
    listener.hear(tone(1.0))
    assert listener.session.is_full
    assert listener.session.stop().result(PATIENCE_S).analysis.clip.duration_s == 2.0
    recognizer.close()


# Somebody leaves


def test_who_leaves_without_stopping_keeps_the_recording(listener):
    listener.hear(tone(1.5))
    files = listener.session.leave().result(PATIENCE_S)
    assert files.audio.is_file()


def test_who_leaves_at_once_or_wants_no_recording_leaves_nothing(listen, tmp_path):
    short = listen()
    short.hear(tone(1.0))
    assert short.session.leave() is None
    private = listen(AnalysisRequest(keep_audio=False))
    private.rush(tone(3.0))
    assert private.session.leave() is None
    assert not (tmp_path / "outputs").exists()


# The recorder


def test_the_recorder_gives_what_decoding_a_file_of_its_samples_gives():
    recorder = StreamRecorder(44_100, max_clip_s=60, tail_s=60)
    newest = StreamRecorder(44_100, max_clip_s=60, tail_s=1)
    noise = np.random.default_rng(1).standard_normal(100_000) * 0.2
    for piece in pieces(pcm(noise.clip(-1, 1)), 44_100):
        recorder.feed(piece)
        newest.feed(piece)
    clip = recorder.clip("call.wav")
    newest.clip("call.wav")
    again = decode(wav_bytes(clip))
    np.testing.assert_array_equal(clip.samples, again.samples)
    np.testing.assert_array_equal(newest.tail(), clip.samples[-SAMPLE_RATE_HZ:])
    np.testing.assert_array_equal(recorder.tail(), clip.samples)
    recorder.close()
    newest.close()
    assert len(clip.samples) == len(again.samples) == -(-100_000 * 160 // 441)


def test_a_long_recording_becomes_a_clip_in_a_file(monkeypatch):
    monkeypatch.setattr("emotion.audio.writer.HELD_SAMPLES", 20_000)
    monkeypatch.setattr("emotion.audio.streaming._BLOCK_SAMPLES", 7_000)
    recorder = StreamRecorder(SAMPLE_RATE_HZ, max_clip_s=60, tail_s=1)
    recorder.feed(pcm(tone(3.0)))
    clip = recorder.clip("call.wav")
    recorder.close()
    assert isinstance(clip, Clip)
    assert isinstance(clip.samples, np.memmap)
    np.testing.assert_array_equal(clip.samples, recorder_samples(tone(3.0)))


@pytest.mark.parametrize("name", [None, "stream"])
def test_a_full_disk_is_said_and_leaves_no_file(tmp_path, monkeypatch, name):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("emotion.audio.streaming.write_all", full)
    recorder = StreamRecorder(SAMPLE_RATE_HZ, 60, 1, name and tmp_path / name, 10**9)
    with pytest.raises(DiskFull):
        recorder.feed(pcm(tone(0.1)))
    recorder.close()
    assert not list(tmp_path.iterdir())


# Sound that waits


def test_sound_that_waits_comes_out_as_it_went_in_from_memory_and_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("emotion.audio.streaming._HELD_BYTES", 1_000)
    sound = np.random.default_rng(1).bytes(20_000)
    queue, heard = SoundQueue(1 << 30), b""
    for start in range(0, 20_000, 400):
        queue.push(sound[start : start + 400])
        heard += queue.pull(100 if start < 10_000 else 700)
        queue.push(b"")
    while not queue.is_empty:
        heard += queue.pull(333)
    assert heard == sound
    assert queue.pull(333) == b""
    queue.clear()


def test_no_more_waits_than_there_is_room_for():
    queue = SoundQueue(1_000)
    for _ in range(3):
        queue.push(bytes(600))
    assert len(queue.pull(5_000)) == 1_000
    queue.push(bytes(600))
    assert queue.is_empty


def test_a_full_disk_is_said_when_sound_has_to_wait(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("emotion.audio.streaming.write_all", full)
    monkeypatch.setattr("emotion.audio.streaming._HELD_BYTES", 1_000)
    queue = SoundQueue(1 << 30)
    queue.push(bytes(1_000))
    with pytest.raises(DiskFull):
        queue.push(bytes(1_000))
    queue.clear()
    assert queue.is_empty


def recorder_samples(samples):
    return np.frombuffer(pcm(samples), "<i2").astype(np.float32) / 32768
