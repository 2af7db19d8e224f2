import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace

import fakeredis
import numpy as np
import pytest

from emotion.analysis import AnalysisRequest
from emotion.analysis.windows import ClipPrediction, Plan
from emotion.audio import Clip, wav_bytes, write_wav
from emotion.cache import PredictionCache, open_cache, prediction_key
from emotion.cache.disk import DiskStore
from emotion.cache.packing import Shape, packed, unpacked
from emotion.cache.redis_store import RedisStore
from emotion.cache.stores import StoreFailed
from emotion.engine import Engine, EnginePlan
from emotion.errors import OutOfMemory
from tests.fakes import FakeModel, HeldModel, changing_clip, loud_clip, tone, turning_clip, wait_for

PATIENCE_S = 20
HOUR_S = 3600.0
KEY, OTHER_KEY = "ab" * 32, "cd" * 32


def prediction_of(frames: int = 10, with_frames: bool = False, seed: int = 0) -> ClipPrediction:
    numbers = np.random.default_rng(seed)
    all_frames = numbers.random((frames, 8), np.float32) if with_frames else None
    return ClipPrediction(numbers.random((frames, 9), np.float32), numbers.random(8, np.float32), all_frames, 1)


SHAPE = Shape(10, 9, 8)


class DictStore:
    """A far store in a dictionary, which can be told to fail."""

    tier = "redis"
    most_bytes = 10_000

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.is_down = False
        self.times_asked = 0

    def get(self, key):
        self._ask()
        return self.kept.get(key)

    def put(self, key, content):
        self._ask()
        self.kept[key] = content

    def close(self):
        pass

    def _ask(self):
        self.times_asked += 1
        if self.is_down:
            raise StoreFailed("ConnectionError")


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def engine(model):
    with Engine(model, EnginePlan(), PredictionCache(1e6)) as engine:
        yield engine


@pytest.fixture
def held():
    model = HeldModel()
    with Engine(model, EnginePlan(decode_threads=2), PredictionCache(1e6)) as engine:
        yield engine, model
        model.let_go()


# Through the engine


def test_the_same_sound_is_computed_once(engine, model):
    first = engine.submit(turning_clip()).result(PATIENCE_S)
    again = engine.submit(turning_clip()).result(PATIENCE_S)
    assert len(model.lengths) == 1
    assert (first.cached, again.cached) == (False, True)
    assert (first.record()["cached"], again.record()["cached"]) == (False, True)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert again.timings_ms["inference"] == 0
    assert (engine.cache_stats.hits, engine.cache_stats.misses, engine.cache_stats.entries) == (1, 1, 1)


def test_the_same_sound_in_another_container_and_under_another_name_hits(engine, model, tmp_path):
    import soundfile

    wav = tmp_path / "one.wav"
    write_wav(turning_clip(), wav)
    samples, rate_hz = soundfile.read(wav, dtype="int16")
    soundfile.write(tmp_path / "two.flac", samples, rate_hz)
    engine.submit(wav).result(PATIENCE_S)
    again = engine.submit(tmp_path / "two.flac").result(PATIENCE_S)
    assert again.cached
    assert again.clip.name == "two.flac"
    assert len(model.lengths) == 1


def test_switching_granularity_costs_no_second_inference(engine, model):
    engine.submit(changing_clip()).result(PATIENCE_S)
    by_frame = engine.submit(changing_clip(), AnalysisRequest("frame")).result(PATIENCE_S)
    with_embedding = engine.submit(changing_clip(), AnalysisRequest("utterance", embedding=True)).result(PATIENCE_S)
    assert len(model.lengths) == 1
    assert by_frame.cached
    with Engine(FakeModel()) as fresh:
        whole = fresh.submit(changing_clip(), AnalysisRequest("frame", embedding=True)).result(PATIENCE_S)
        mean = fresh.submit(changing_clip(), AnalysisRequest("utterance", embedding=True)).result(PATIENCE_S)
    np.testing.assert_array_equal(by_frame.frame_scores, whole.frame_scores)
    assert by_frame.segments == whole.segments
    np.testing.assert_array_equal(with_embedding.embedding, mean.embedding)


def test_embeddings_of_all_frames_are_computed_when_first_asked_for_and_then_serve_every_wish(engine, model):
    engine.submit(changing_clip()).result(PATIENCE_S)
    all_frames = engine.submit(changing_clip(), AnalysisRequest("frame", embedding=True)).result(PATIENCE_S)
    assert not all_frames.cached
    again = engine.submit(changing_clip(), AnalysisRequest("frame", embedding=True)).result(PATIENCE_S)
    assert again.cached
    np.testing.assert_array_equal(again.embedding, all_frames.embedding)
    assert engine.submit(changing_clip()).result(PATIENCE_S).cached
    assert len(model.lengths) == 2


def test_whoever_wants_no_cache_is_computed_and_leaves_nothing(engine, model):
    for _ in range(2):
        assert not engine.submit(loud_clip(), AnalysisRequest(cache=False)).result(PATIENCE_S).cached
    assert not engine.submit(loud_clip()).result(PATIENCE_S).cached
    assert len(model.lengths) == 3


def test_what_is_kept_of_one_owner_answers_no_other(engine, model):
    mine = [engine.submit(turning_clip(), AnalysisRequest(owner="clients/maria")).result(PATIENCE_S) for _ in range(2)]
    theirs = engine.submit(turning_clip(), AnalysisRequest(owner="clients/jonas")).result(PATIENCE_S)
    assert [analysis.cached for analysis in (*mine, theirs)] == [False, True, False]
    assert len(model.lengths) == 2


def test_an_owner_does_not_wait_for_the_equal_recording_of_another(held):
    engine, model = held
    futures = [
        engine.submit(turning_clip(), AnalysisRequest(owner=owner)) for owner in ("clients/maria", "clients/jonas")
    ]
    model.let_go()
    assert not any(future.result(PATIENCE_S).cached for future in futures)
    assert len(model.lengths) == 2


def test_another_model_computes_anew(engine):
    engine.submit(loud_clip()).result(PATIENCE_S)
    second = FakeModel("second")
    engine.use(second)
    assert engine.submit(loud_clip()).result(PATIENCE_S).model.name == "second"
    assert len(second.lengths) == 1


def test_silence_and_length_belong_to_the_recording_and_not_to_the_prediction(engine):
    silence = Clip("a.wav", np.zeros(16_000, np.float32))
    first, again = (engine.submit(silence, AnalysisRequest("frame")).result(PATIENCE_S) for _ in range(2))
    assert again.cached
    assert first.silent
    assert again.silent
    assert again.segments[-1].end_s == first.segments[-1].end_s == 1.0


def test_two_equal_requests_at_once_compute_once(held):
    engine, model = held
    blocker = engine.submit(loud_clip(2.0))
    assert model.began.acquire(timeout=PATIENCE_S)
    futures = [engine.submit(turning_clip(f"{n}.wav")) for n in range(5)]
    wait_for(lambda: all(engine.progress(future).stage == "ready" for future in futures))
    model.let_go()
    analyses = [future.result(PATIENCE_S) for future in (blocker, *futures)]
    assert len(model.lengths) == 2
    assert sum(not analysis.cached for analysis in analyses[1:]) == 1
    assert [analysis.clip.name for analysis in analyses[1:]] == [f"{n}.wav" for n in range(5)]


def test_who_wants_all_frames_does_not_follow_one_who_does_not(held):
    engine, model = held
    blocker = engine.submit(loud_clip(2.0))
    assert model.began.acquire(timeout=PATIENCE_S)
    plain = engine.submit(turning_clip())
    wait_for(lambda: engine.progress(plain).stage == "ready")
    all_frames = engine.submit(turning_clip(), AnalysisRequest("frame", embedding=True))
    wait_for(lambda: engine.progress(all_frames).stage == "ready")
    model.let_go()
    assert all_frames.result(PATIENCE_S).embedding.shape == (199, 8)
    assert plain.result(PATIENCE_S).embedding is None
    blocker.result(PATIENCE_S)


def test_when_the_one_in_work_is_given_up_the_next_is_computed(held):
    engine, model = held
    leader = engine.submit(turning_clip("leader.wav"))
    assert model.began.acquire(timeout=PATIENCE_S)
    followers = [engine.submit(turning_clip(f"{n}.wav"), AnalysisRequest("frame")) for n in range(2)]
    wait_for(lambda: all(engine.progress(future).stage == "ready" for future in followers))
    assert leader.cancel()
    model.let_go()
    assert [future.result(PATIENCE_S).clip.name for future in followers] == ["0.wav", "1.wav"]
    assert sorted(future.result().cached for future in followers) == [False, True]
    with pytest.raises(CancelledError):
        leader.result(PATIENCE_S)
    assert engine.queue_length == 0


def test_a_follower_that_is_given_up_is_forgotten(held):
    engine, model = held
    leader = engine.submit(turning_clip())
    assert model.began.acquire(timeout=PATIENCE_S)
    follower = engine.submit(turning_clip())
    wait_for(lambda: engine.progress(follower).stage == "ready")
    assert follower.cancel()
    model.let_go()
    assert not leader.result(PATIENCE_S).cached
    assert engine.queue_length == 0


def test_what_fails_fails_for_all_of_equal_sound_and_is_not_kept():
    class Failing(HeldModel):
        def predict(self, waveforms):
            super().predict(waveforms)
            raise OutOfMemory("cpu")

    model = Failing()
    with Engine(model, EnginePlan(), PredictionCache(1e6)) as engine:
        leader = engine.submit(turning_clip())
        assert model.began.acquire(timeout=PATIENCE_S)
        follower = engine.submit(turning_clip())
        wait_for(lambda: engine.progress(follower).stage == "ready")
        model.let_go()
        assert all(isinstance(future.exception(PATIENCE_S), OutOfMemory) for future in (leader, follower))
        assert isinstance(engine.submit(turning_clip()).exception(PATIENCE_S), OutOfMemory)
        assert len(model.batches) == 2


def test_a_cache_that_breaks_fails_the_recording_and_leaves_nobody_waiting(engine, monkeypatch):
    def broken(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr("emotion.engine.settlement.prediction_key", broken)
    assert isinstance(engine.submit(loud_clip()).exception(PATIENCE_S), OSError)
    monkeypatch.undo()
    assert engine.submit(loud_clip()).result(PATIENCE_S).emotion.key == "angry"
    assert engine.queue_length == 0


def test_a_long_recording_hits_too_with_all_its_windows():
    plan, model = EnginePlan(analysis=Plan(exact_limit_s=1.0, window_s=3.0, context_s=0.5)), FakeModel()
    with Engine(model, plan, PredictionCache(1e6)) as engine:
        first = engine.submit(changing_clip(), AnalysisRequest("frame")).result(PATIENCE_S)
        batches = len(model.lengths)
        again = engine.submit(changing_clip(), AnalysisRequest("frame")).result(PATIENCE_S)
    assert len(model.lengths) == batches > 1
    assert (first.overall_from, again.overall_from) == ("windows", "windows")
    np.testing.assert_array_equal(first.frame_scores, again.frame_scores)


def test_nobody_can_write_into_what_is_shared(engine):
    analysis = engine.submit(turning_clip(), AnalysisRequest("frame", embedding=True)).result(PATIENCE_S)
    with pytest.raises(ValueError, match="read-only"):
        analysis.embedding[0] = 1


# The key


def test_the_key_is_of_sound_model_and_cutting_alone(model):
    clip, plan = turning_clip(), Plan()
    key = prediction_key(clip, model.card, plan)
    assert key == prediction_key(replace(clip, name="other.mp3"), model.card, replace(plan, smoothing_s=1))
    others = [
        prediction_key(Clip("x", clip.samples * np.float32(0.5)), model.card, plan),
        prediction_key(Clip("x", clip.samples[:-1]), model.card, plan),
        prediction_key(clip, replace(model.card, fingerprint="sha256:1"), plan),
        prediction_key(clip, replace(model.card, runtime="torch"), plan),
        prediction_key(clip, replace(model.card, precision="bf16"), plan),
        prediction_key(clip, model.card, replace(plan, exact_limit_s=1)),
        prediction_key(clip, model.card, replace(plan, context_s=1)),
        prediction_key(clip, model.card, plan, "clients/maria"),
    ]
    assert len({key, *others}) == len(others) + 1


def test_int8_of_another_start_may_be_calibrated_otherwise(model, monkeypatch):
    card = replace(model.card, precision="int8")
    before = prediction_key(turning_clip(), card, Plan()), prediction_key(turning_clip(), model.card, Plan())
    monkeypatch.setattr("emotion.cache.key._THIS_START", "another")
    after = prediction_key(turning_clip(), card, Plan()), prediction_key(turning_clip(), model.card, Plan())
    assert before[0] != after[0]
    assert before[1] == after[1]


# Memory


def test_memory_is_bounded_and_the_longest_unused_goes_first():
    one = prediction_of().size_bytes
    cache = PredictionCache(5.5 * one)
    for number in range(5):
        cache.put(str(number), prediction_of())
    assert cache.get("0", SHAPE)
    cache.put("5", prediction_of())
    assert cache.get("0", SHAPE)
    assert cache.get("1", SHAPE) is None
    assert cache.stats.size_bytes <= 5.5 * one


def test_what_would_drive_out_all_others_is_kept_without_its_frames():
    cache = PredictionCache(4 * prediction_of().size_bytes + 100)
    cache.put(KEY, prediction_of(with_frames=True))
    assert cache.get(KEY, SHAPE, needs_frames=True) is None
    assert cache.get(KEY, SHAPE) is not None
    cache.put(OTHER_KEY, prediction_of(1000))
    assert cache.stats.entries == 1


def test_a_prediction_with_its_frames_is_not_replaced_by_one_without():
    cache = PredictionCache(1e6)
    cache.put(KEY, prediction_of(with_frames=True))
    cache.put(KEY, prediction_of())
    assert cache.get(KEY, SHAPE, needs_frames=True) is not None


# Bytes


@pytest.mark.parametrize("with_frames", [True, False])
def test_a_prediction_comes_back_from_its_bytes(with_frames):
    prediction = prediction_of(with_frames=with_frames)
    back = unpacked(packed(prediction))
    np.testing.assert_array_equal(back.logits, prediction.logits)
    np.testing.assert_array_equal(back.embedding, prediction.embedding)
    assert (back.frame_embeddings is not None) == with_frames
    assert SHAPE.fits(back)


def test_bytes_that_are_none_are_refused():
    import io
    import pickle

    good = packed(prediction_of())
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"shape": (10**15,), "fortran_order": False, "descr": "<i8"})
    for content in (b"", b"abc", good[:50], good[:-9], pickle.dumps(1), objects.getvalue(), huge.getvalue()):
        with pytest.raises((ValueError, EOFError)):
            unpacked(content)


# Far stores


def far_cache(far) -> PredictionCache:
    return PredictionCache(1e6, far)


def test_another_process_finds_what_this_one_kept():
    far = DictStore()
    first = far_cache(far)
    first.put(KEY, prediction_of())
    first.close()
    found = far_cache(far).get(KEY, SHAPE)
    assert found is not None
    assert found.tier == "redis"
    np.testing.assert_array_equal(found.prediction.logits, prediction_of().logits)


def test_a_far_store_that_is_down_costs_a_line_and_is_asked_again_later(monkeypatch, caplog):
    far, now_s = DictStore(), [100.0]
    monkeypatch.setattr("emotion.cache.predictions.time.monotonic", lambda: now_s[0])
    far.is_down, cache = True, far_cache(far)
    assert all(cache.get(KEY, SHAPE) is None for _ in range(5))
    cache.put(KEY, prediction_of())
    assert cache.get(KEY, SHAPE).tier == "memory"
    assert far.times_asked == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    far.is_down, now_s[0] = False, 110.0
    cache.put(OTHER_KEY, prediction_of())
    wait_for(lambda: OTHER_KEY in far.kept)
    cache.close()


def test_what_is_damaged_or_of_another_shape_is_computed_anew(caplog):
    far = DictStore()
    far.kept = {KEY: packed(prediction_of())[:-5], OTHER_KEY: packed(prediction_of(11))}
    cache = far_cache(far)
    assert cache.get(KEY, SHAPE) is None
    assert "damaged" in caplog.text
    assert cache.get(OTHER_KEY, SHAPE) is None
    assert cache.stats.misses == 2


def test_what_is_too_large_for_the_store_goes_without_its_frames_or_not_at_all():
    far = DictStore()
    cache = far_cache(far)
    cache.put(KEY, prediction_of(200, with_frames=True))
    cache.put(OTHER_KEY, prediction_of(1000))
    cache.close()
    assert unpacked(far.kept[KEY]).frame_embeddings is None
    assert OTHER_KEY not in far.kept


def test_a_slow_store_does_not_hold_up_who_puts():
    class Slow(DictStore):
        def __init__(self):
            super().__init__()
            self.may_write = threading.Event()

        def put(self, key, content):
            assert self.may_write.wait(PATIENCE_S)
            super().put(key, content)

    far = Slow()
    cache = far_cache(far)
    for number in range(200):
        cache.put(str(number), prediction_of())
    far.may_write.set()
    cache.close()
    assert 64 <= len(far.kept) < 200


# Disk


def test_disk_keeps_for_the_next_start(tmp_path):
    for cached in (False, True):
        with Engine(FakeModel(), EnginePlan(), open_cache("disk", 1e6, tmp_path / "kept", 1e6, HOUR_S)) as engine:
            assert engine.submit(turning_clip()).result(PATIENCE_S).cached is cached
    (path,) = (tmp_path / "kept").rglob("*.prediction")
    assert not path.parent.stat().st_mode & 0o077
    path.write_bytes(b"damaged")
    with Engine(FakeModel(), EnginePlan(), open_cache("disk", 1e6, tmp_path / "kept", 1e6, HOUR_S)) as engine:
        assert not engine.submit(turning_clip()).result(PATIENCE_S).cached


def test_disk_is_bounded_and_forgets_what_is_old(tmp_path):
    store = DiskStore(tmp_path, 1000, HOUR_S)
    keys = [f"{number:02x}" * 32 for number in range(20)]
    for age_s, key in enumerate(reversed(keys)):
        store.put(key, b"x" * 100)
        os.utime(tmp_path / key[:2] / f"{key}.prediction", (time.time() - 100 + age_s, time.time() - 100 + age_s))
    store.put(keys[0], b"y" * 100)
    kept = [key for key in keys if store.get(key) is not None]
    assert len(kept) == 10
    assert store.get(keys[0]) == b"y" * 100
    assert store.get(keys[-1]) is None
    old = tmp_path / keys[0][:2] / f"{keys[0]}.prediction"
    os.utime(old, (time.time() - 2 * HOUR_S, time.time() - 2 * HOUR_S))
    assert store.get(keys[0]) is None


def test_a_disk_that_cannot_be_written_costs_a_line(tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    cache = open_cache("disk", 1e6, tmp_path / "file" / "below", 1e6, HOUR_S)
    with Engine(FakeModel(), EnginePlan(), cache) as engine:
        engine.submit(turning_clip()).result(PATIENCE_S)
        assert engine.submit(turning_clip()).result(PATIENCE_S).cached
    assert "does not work" in caplog.text
    assert str(tmp_path) not in caplog.text


# Redis


@pytest.fixture
def redis_store(monkeypatch):
    server = fakeredis.FakeServer()
    monkeypatch.setattr("redis.Redis.from_url", lambda *_, **__: fakeredis.FakeRedis(server=server))
    return RedisStore("redis://somewhere", HOUR_S), server


def test_redis_keeps_plain_bytes_for_a_lifetime(redis_store):
    store, server = redis_store
    cache = far_cache(store)
    cache.put(KEY, prediction_of())
    cache.close()
    redis = fakeredis.FakeRedis(server=server)
    (name,) = redis.keys()
    assert 0 < redis.ttl(name) <= HOUR_S
    np.testing.assert_array_equal(unpacked(redis.get(name)).logits, prediction_of().logits)
    assert far_cache(store).get(KEY, SHAPE).tier == "redis"


def test_a_redis_that_is_down_costs_a_line_and_no_request(redis_store, caplog):
    store, server = redis_store
    server.connected = False
    with Engine(FakeModel(), EnginePlan(), far_cache(store)) as engine:
        analyses = [engine.submit(loud_clip(1 + n / 10)).result(PATIENCE_S) for n in range(3)]
    assert not any(analysis.cached for analysis in analyses)
    assert len(caplog.records) == 1


def test_an_address_where_no_redis_is_costs_a_line(caplog):
    cache = open_cache("redis://127.0.0.1:1/0", 1e6, None, 1e6, HOUR_S)
    with Engine(FakeModel(), EnginePlan(), cache) as engine:
        engine.submit(loud_clip()).result(PATIENCE_S)
    assert "does not work (ConnectionError)" in caplog.text


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on this machine")
def test_two_engines_share_a_real_redis(tmp_path):
    socket_path = tmp_path / "redis.sock"
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", str(socket_path), "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(socket_path.exists)
        for cached in (False, True):
            store = RedisStore("redis://unused", HOUR_S)
            store._redis = _redis_at(socket_path)
            with Engine(FakeModel(), EnginePlan(), far_cache(store)) as engine:
                sound = wav_bytes(Clip("x", tone(1.0)))
                assert engine.submit(sound, name="call.wav").result(PATIENCE_S).cached is cached
    finally:
        server.terminate()
        server.wait(10)


def _redis_at(socket_path):
    import redis

    return redis.Redis(unix_socket_path=str(socket_path))


def test_off_keeps_nothing():
    assert open_cache("off", 1e6, None, 1e6, HOUR_S) is None
