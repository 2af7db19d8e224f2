"""Two ways to compute one model, compared: the numbers by themselves, and `emotion models compare` and `quantize`."""

import importlib.util
import json

import numpy as np
import pytest

from emotion.analysis.comparison import Answer, answer_of, compare
from emotion.audio import write_wav
from emotion.cli import main
from emotion.errors import EmotionError
from tests.checkpoints import TINY, write_checkpoint
from tests.fakes import analyze, loud_clip, turning_clip

pytestmark = pytest.mark.numeric

needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="NNCF, an optional extra, is missing")


def answer(name, scores, embedding):
    return Answer(name, ("happy", "sad"), np.array(scores, np.float32), np.array(embedding, np.float32))


@pytest.fixture
def call(capfd):
    """Runs `emotion models` and gives exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ending:
            main(["models", *(str(word) for word in words)])
        captured = capfd.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    write_wav(loud_clip(), folder / "one.wav")
    write_wav(turning_clip(), folder / "two.wav")
    return folder


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("model") / "tiny", TINY)


def test_the_numbers_of_two_recordings():
    ours = [answer("a", (0.75, 0.25), (1, 0)), answer("b", (0.25, 0.75), (0, 2))]
    theirs = [answer("a", (0.5, 0.5), (1, 0)), answer("b", (0.75, 0.25), (3, 0))]
    comparison = compare(ours, theirs)

    assert comparison.recordings == 2
    assert comparison.agreement == 0.5
    assert comparison.mean_score_difference == pytest.approx(0.375)
    assert comparison.largest_score_difference == pytest.approx(0.5)
    assert comparison.mean_embedding_distance == pytest.approx(0.5)
    assert comparison.largest_embedding_distance == pytest.approx(1.0)
    (change,) = comparison.changes
    assert (change.name, change.label, change.other_label) == ("b", "sad", "happy")
    assert (change.confidence, change.other_confidence) == (0.75, 0.75)
    assert json.loads(json.dumps(comparison.record()))["changes"][0]["name"] == "b"


def test_answers_that_are_the_same_differ_in_nothing():
    same = [answer("a", (0.9, 0.1), (0.1, 0.7)), answer("b", (0.5, 0.5), (0, 0))]
    comparison = compare(same, same)
    assert comparison.agreement == 1
    assert comparison.largest_score_difference == 0
    assert comparison.largest_embedding_distance < 1e-12
    assert comparison.changes == ()


def test_an_embedding_of_nothing_is_far_from_one_of_something():
    assert compare([answer("a", (1, 0), (0, 0))], [answer("a", (1, 0), (1, 0))]).largest_embedding_distance == 1


def test_nothing_and_different_labels_cannot_be_compared():
    with pytest.raises(EmotionError, match="nothing to compare"):
        compare([], [])
    other = Answer("a", ("happy", "angry"), np.zeros(2, np.float32), np.zeros(2, np.float32))
    with pytest.raises(EmotionError, match="different labels"):
        compare([answer("a", (1, 0), (0, 0))], [other])


def test_an_answer_keeps_what_is_compared_of_an_analysis():
    analysis = analyze(loud_clip(), embedding=True)
    kept = answer_of(analysis)
    assert (kept.name, kept.label) == ("call.wav", "angry")
    assert kept.confidence == analysis.confidence
    assert kept.embedding.shape == (8,)
    with pytest.raises(ValueError, match="embedding"):
        answer_of(analyze(loud_clip()))


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_two_runtimes_are_compared_on_own_recordings(call, recordings, tiny_model):
    words = ("--model", tiny_model, "--precision", "fp32", "--runtime", "openvino", "--against-runtime", "torch")
    code, out, _ = call("compare", recordings, recordings / "one.wav", *words)
    assert code == 0
    assert "openvino fp32 on cpu against torch fp32 on cpu" in out
    assert "label agreement            100.0% (2 of 2)" in out
    assert "times as fast" in out
    code, out, _ = call("compare", recordings, *words, "--limit", 1, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["recordings"] == 1
    assert record["failed"] == 0
    assert record["largest_score_difference"] < 1e-4
    assert [side["model"]["runtime"] for side in record["sides"]] == ["openvino", "torch"]


def test_a_changed_label_is_named_with_both_confidences(call, recordings, tiny_model, monkeypatch):
    labels = iter([("happy", "sad"), ("happy", "sad")] * 2)
    scores = iter([(0.75, 0.25), (0.75, 0.25), (0.75, 0.25), (0.375, 0.625)])

    def told(analysis):
        return Answer(analysis.clip.name, next(labels), np.array(next(scores)), analysis.embedding)

    monkeypatch.setattr("emotion.analysis.comparison.answer_of", told)
    code, out, _ = call("compare", recordings, "--model", tiny_model, "--precision", "fp32")
    assert code == 0
    assert "label agreement            50.0% (1 of 2)" in out
    assert "  two.wav: 😊 Happy 75.0% against 😢 Sad 62.5%" in out


def test_a_file_that_fails_is_told_once_and_the_others_are_compared(call, recordings, tiny_model):
    (recordings / "broken.wav").write_bytes(b"no sound at all" * 50)
    code, out, err = call("compare", recordings, "--model", tiny_model, "--precision", "fp32", "--json")
    record = json.loads(out)
    assert code == 1
    assert (record["recordings"], record["failed"]) == (2, 1)
    assert err.count("broken.wav: ") == 1


def test_compare_never_lets_the_built_in_model_stand_in(call, recordings):
    code, out, err = call("compare", recordings, "--precision", "fp32")
    assert code == 1
    assert out == ""
    assert "models download emotion2vec_plus_large" in err


@pytest.mark.parametrize("words", [("quantise", "compact"), ("compare", "--model", "compact", "--precision", "int8")])
def test_the_built_in_model_has_no_int8(call, recordings, words):
    code, _, err = call(*words, recordings)
    assert code == 1
    assert "has no int8" in err


def test_an_empty_folder_is_said(call, tiny_model, tmp_path):
    code, _, err = call("quantise", tiny_model, tmp_path)
    assert code == 1
    assert "no sound file" in err


def test_recordings_that_all_fail_calibrate_nothing_and_are_told(call, tiny_model, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound at all" * 50)
    for words in (("quantise", tiny_model), ("compare", "--model", tiny_model, "--precision", "int8")):
        code, _, err = call(*words, tmp_path)
        assert code == 1
        assert "broken.wav: " in err
        assert "Name some seconds of speech" in err


@needs_nncf
def test_int8_is_made_once_on_the_recordings_that_are_compared(call, recordings, tiny_model):
    words = ("compare", recordings, "--model", tiny_model, "--precision", "int8", "--json")
    code, out, err = call(*words)
    record = json.loads(out)
    assert code == 0
    assert "made first, calibrated on these recordings" in err
    assert [side["model"]["precision"] for side in record["sides"]] == ["int8", "fp32"]
    assert 0 < record["largest_embedding_distance"] < 0.05
    code, _, err = call(*words)
    assert code == 0
    assert "made first" not in err


@needs_nncf
def test_quantise_takes_own_recordings_and_else_samples(call, recordings, tiny_model, capfd, monkeypatch):
    (recordings / "broken.wav").write_bytes(b"no sound at all" * 50)
    code, out, err = call("quantise", tiny_model, recordings)
    assert code == 1
    assert "int8 is made, use it with --precision int8" in out
    assert "broken.wav: " in err
    code, out, err = call("quantise", tiny_model)
    assert code == 0
    assert "Your own are better" in err
    monkeypatch.setenv("EMOTION_PRECISION", "int8")
    with pytest.raises(SystemExit):
        main(["recognize", str(recordings / "one.wav"), "--model", str(tiny_model), "--json"])
    assert json.loads(capfd.readouterr().out)["model"]["precision"] == "int8"
