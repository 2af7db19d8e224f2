import threading

import numpy as np
import pytest

from emotion import Recognizer
from emotion.audio import write_wav
from emotion.errors import EmotionError, HubUnreachable, ModelNotFound, SettingsInvalid
from emotion.model.checkpoint import find_checkpoint
from tests.checkpoints import TINY, write_checkpoint
from tests.fakes import loud_clip, turning_clip, wait_for

pytestmark = pytest.mark.numeric

PATIENCE_S = 30


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", TINY)


def test_three_lines_recognise_a_file(tmp_path):
    write_wav(turning_clip(), tmp_path / "voice.wav")
    with Recognizer() as recognizer:
        analysis = recognizer.recognize(tmp_path / "voice.wav", granularity="frame", embedding=True)
    assert analysis.model.name == "compact"
    assert analysis.frame_scores.shape == (199, 9)
    assert analysis.embedding.shape == (199, analysis.model.embedding_size)


def test_the_built_in_model_says_why_it_answers():
    with Recognizer() as recognizer:
        assert recognizer.state.phase == "built_in"
        assert isinstance(recognizer.state.reason, ModelNotFound)
        assert recognizer.example() is None


def test_the_built_in_model_that_was_chosen_is_simply_ready():
    with Recognizer("compact") as recognizer:
        assert (recognizer.state.phase, recognizer.state.reason) == ("ready", None)


def test_samples_of_any_rate_and_channels_are_taken():
    clip = loud_clip(2.0)
    with Recognizer("compact") as recognizer:
        plain = recognizer.recognize(clip.samples)
        stereo = recognizer.recognize(np.stack([clip.samples, clip.samples], axis=1))
        fast = recognizer.recognize(np.repeat(clip.samples, 3), rate_hz=48_000)
    # The same samples, elsewhere in memory: where rows are aligned otherwise, a sum of floats may take another order.
    np.testing.assert_allclose(plain.scores, stereo.scores, rtol=0, atol=1e-6)
    assert fast.clip.duration_s == pytest.approx(2.0)


def test_many_sources_come_back_in_order_without_filling_the_queue():
    clips = [loud_clip(0.5 + n / 10, f"{n}.wav") for n in range(12)]
    with Recognizer("compact", queue_size=3) as recognizer:
        names = [future.result().clip.name for future in recognizer.submit_all(clips)]
    assert names == [f"{n}.wav" for n in range(12)]


@pytest.mark.parametrize(("shared", "hits"), [(False, False), (True, True)])
def test_owners_have_one_cache_only_where_the_settings_say_so(shared, hits):
    with Recognizer("compact", cache="memory", cache_shared=shared) as recognizer:
        first, second = (
            recognizer.submit(turning_clip(), owner=owner).result(20) for owner in ("clients/maria", "clients/jonas")
        )
    assert (first.cached, second.cached) == (False, hits)


def test_a_named_model_that_is_not_here_stops_and_never_falls_back():
    with pytest.raises(ModelNotFound, match="models download emotion2vec_plus_large"):
        Recognizer("emotion2vec_plus_large", offline=True)
    with pytest.raises(HubUnreachable):
        Recognizer("emotion2vec_plus_large")


def test_the_reference_runtime_does_not_run_the_built_in_model():
    with pytest.raises(EmotionError, match="does not run on funasr"):
        Recognizer("compact", runtime="funasr")


def test_an_unknown_setting_is_refused():
    with pytest.raises(SettingsInvalid, match="color"):
        Recognizer(color="blue")


def test_both_runtimes_say_the_same_of_the_same_clip(tiny_model):
    # FunASR computes in float32; `auto` would take bf16 where the processor has it.
    ours, theirs = Recognizer(str(tiny_model), precision="fp32"), Recognizer(str(tiny_model), runtime="funasr")
    with ours, theirs:
        first = ours.recognize(turning_clip(), "frame", embedding=True)
        second = theirs.recognize(turning_clip(), "frame", embedding=True)
    assert second.model.runtime == "funasr"
    np.testing.assert_allclose(first.frame_scores, second.frame_scores, atol=1e-5)
    np.testing.assert_allclose(first.embedding, second.embedding, atol=1e-4)
    assert first.segments[0].emotion == second.segments[0].emotion


class Hub:
    """Stands for a hub that brings the large model, step by step."""

    def __init__(self, monkeypatch, tiny_model, cache_dir):
        self.may_finish = threading.Event()
        self.here = False
        self._tiny = find_checkpoint(str(tiny_model), cache_dir)
        monkeypatch.setattr("emotion.model.checkpoint.hub_answers", lambda *_: True)
        monkeypatch.setattr("emotion.model.checkpoint.download", self.download)
        monkeypatch.setattr("emotion.engine.recognizer.find_checkpoint", self.find)

    def download(self, *words):
        report = words[-1]
        report(34, 100)
        assert self.may_finish.wait(PATIENCE_S)
        report(100, 100)
        self.here = True

    def find(self, name, _):
        if not self.here:
            raise ModelNotFound(f"{name} is not here")
        return self._tiny


def test_the_built_in_model_serves_while_the_large_one_comes_and_then_gives_way(monkeypatch, tiny_model, tmp_path):
    hub = Hub(monkeypatch, tiny_model, tmp_path)
    with Recognizer(take_over=True) as recognizer:
        wait_for(lambda: recognizer.state.done_bytes == 34)
        assert recognizer.state.phase == "downloading"
        assert recognizer.recognize(loud_clip()).model.name == "compact"
        hub.may_finish.set()
        wait_for(lambda: recognizer.state.phase == "ready")
        assert recognizer.recognize(loud_clip()).model.runtime == "openvino"
        assert recognizer.recognize(loud_clip()).model.name == recognizer.state.card.name == "tiny"


def test_a_hub_that_is_away_leaves_the_built_in_model_with_its_reason():
    with Recognizer(take_over=True, hub_timeout_s=1) as recognizer:
        wait_for(lambda: recognizer.state.phase == "built_in")
        assert isinstance(recognizer.state.reason, HubUnreachable)


def test_closing_ends_a_download_at_once(monkeypatch, tiny_model, tmp_path):
    hub = Hub(monkeypatch, tiny_model, tmp_path)
    with Recognizer(take_over=True) as recognizer:
        wait_for(lambda: recognizer.state.done_bytes == 34)
    hub.may_finish.set()
    assert recognizer.state.done_bytes == 34


def test_offline_asks_no_hub(monkeypatch):
    monkeypatch.setattr("emotion.model.checkpoint.hub_answers", lambda *_: pytest.fail("the hub was asked"))
    with Recognizer(take_over=True, offline=True) as recognizer:
        assert recognizer.state.phase == "built_in"
