import csv
import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from emotion.audio import Clip, write_wav
from emotion.cli import main
from emotion.hardware import Gpu
from tests.checkpoints import TINY, write_checkpoint
from tests.fakes import loud_clip, turning_clip

HOUSE = Path(__file__).parent.parent


@pytest.fixture
def call(capfd):
    """Runs the command line and gives exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ending:
            main([str(word) for word in words])
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


def test_a_file_gives_one_json_line(call, recordings):
    code, out, err = call("recognize", recordings / "one.wav", "--json")
    assert code == 0
    record = json.loads(out)
    assert record["file"] == "one.wav"
    assert record["model"]["name"] == "compact"
    assert "models download emotion2vec_plus_large" in err


def test_a_result_lands_in_a_run_folder_and_is_shown(call, recordings, tmp_path):
    code, out, _ = call(
        "recognize", recordings / "two.wav", "--granularity", "frame", "--embedding", "--output", tmp_path / "out",
        "--format", "srt", "--format", "json", "--model", "compact",
    )  # fmt: skip
    (run,) = (tmp_path / "out").iterdir()
    assert code == 0
    assert out.startswith("two.wav: ")
    assert "0:00.0 - " in out
    assert str(run) in out
    assert {"result.json", "processed_audio.wav", "embedding.npy"} < {path.name for path in run.iterdir()}
    assert any(path.suffix == ".srt" for path in run.iterdir())
    assert np.load(run / "embedding.npy").shape[0] == 199


def test_a_silent_recording_is_called_silent(call, tmp_path):
    write_wav(Clip("x", np.zeros(16_000, np.float32)), tmp_path / "silence.wav")
    _, out, _ = call("recognize", tmp_path / "silence.wav", "--output", tmp_path / "out", "--model", "compact")
    assert "silence.wav: 🔇 No speech  (1.0 s)" in out


def test_a_folder_gives_a_run_with_a_folder_per_clip_and_a_summary(call, recordings, tmp_path):
    (recordings / "broken.wav").write_bytes(b"no sound at all" * 50)
    code, out, err = call("recognize", recordings, "--output", tmp_path / "out", "--model", "compact")
    assert code == 1
    assert "broken.wav" in err
    assert out.count(".wav: ") == 2
    (run,) = (tmp_path / "out").iterdir()
    with (run / "summary.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["broken.wav", "one.wav", "two.wav"]
    assert rows[0]["error"]
    assert rows[1]["emotion"]


def test_a_zip_gives_what_its_folder_would(call, recordings, tmp_path):
    with zipfile.ZipFile(tmp_path / "calls.zip", "w") as packed:
        for path in recordings.iterdir():
            packed.write(path, f"calls/{path.name}")
        packed.writestr("calls/broken.wav", b"no sound at all" * 50)
        packed.writestr("calls/notes.txt", "notes")
    code, out, err = call("recognize", tmp_path / "calls.zip", "--output", tmp_path / "out", "--model", "compact")
    assert code == 1
    assert "broken.wav: " in err
    assert "1 file in the zips is" in err
    assert [line.split(": ")[0] for line in out.splitlines() if ".wav: " in line] == ["one.wav", "two.wav"]
    (run,) = (tmp_path / "out").iterdir()
    assert {path.name for path in run.iterdir()} >= {"one", "two", "summary.csv"}


def test_a_zip_that_is_none_fails_and_the_others_are_still_done(call, recordings, tmp_path):
    (tmp_path / "calls.zip").write_bytes(b"no zip")
    code, out, _ = call("recognize", tmp_path / "calls.zip", recordings / "one.wav", "--json", "--model", "compact")
    first, second = map(json.loads, out.splitlines())
    assert code == 1
    assert (first["file"], first["error"]["code"]) == ("calls.zip", "archive_broken")
    assert second["emotion"]


def test_a_recording_that_is_not_to_be_kept_is_not_kept(call, recordings, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_KEEP_AUDIO", "false")
    call("recognize", recordings / "one.wav", "--output", tmp_path / "out", "--model", "compact")
    (run,) = (tmp_path / "out").iterdir()
    assert [path.name for path in run.iterdir()] == ["result.json"]


def test_a_failing_file_is_a_json_line_too_and_the_others_are_still_done(call, recordings):
    code, out, _ = call("recognize", recordings / "nowhere.wav", recordings / "one.wav", "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 1
    assert first["error"]["code"] == "clip_not_found"
    assert second["emotion"]


def test_standard_input_is_a_file(recordings):
    done = subprocess.run(
        [sys.executable, "-m", "emotion", "recognize", "-", "--json", "--model", "compact"],
        input=(recordings / "one.wav").read_bytes(), capture_output=True, check=True, cwd=HOUSE,
    )  # fmt: skip
    assert json.loads(done.stdout)["num_frames"] == 49
    assert json.loads(done.stdout)["file"] == "standard input"


def test_results_in_parquet_are_gone_on_with(call, recordings, tmp_path):
    words = ("recognize", recordings, "--results", tmp_path / "out", "--model", "compact", "--embedding")
    code, out, err = call(*words)
    assert (code, out) == (0, "2 recordings in out\n")
    assert "a second" in err
    (recordings / "broken.wav").write_bytes(b"no sound at all" * 50)
    code, out, err = call(*words, "--json")
    record = json.loads(out)
    assert code == 1
    assert (record["recordings"], record["done_now"], record["failed"]) == (3, 1, 1)
    assert "2 recordings already" in err
    assert "1 recordings" not in err
    code, _, err = call(*words, "--granularity", "frame")
    assert code == 1
    assert "granularity was utterance, and is now frame" in err
    assert call(*words, "--granularity", "frame", "--overwrite")[0] == 1


def test_words_that_do_not_go_together_are_refused(call, recordings, tmp_path):
    for words in (("--cluster",), ("--overwrite",), ("--results", tmp_path / "out", "--format", "csv")):
        code, _, err = call("recognize", recordings, *words)
        assert code == 2
        assert "--results" in err


def test_an_empty_folder_is_said(call, tmp_path):
    code, _, err = call("recognize", tmp_path)
    assert code == 1
    assert "no sound file" in err


def test_help_names_zips(call):
    assert ".zip" in call("recognize", "--help")[1]


@pytest.mark.parametrize("words", [("--granularity", "word"), ("--format", "docx")])
def test_words_that_are_not_known_are_refused_with_the_ones_that_are(call, recordings, words):
    code, _, err = call("recognize", recordings / "one.wav", *words)
    assert code == 2
    assert "utterance" in err or "textgrid" in err


def test_a_named_model_never_falls_back(call, recordings):
    code, out, err = call("recognize", recordings / "one.wav", "--model", "emotion2vec_plus_large", "--offline")
    assert code == 1
    assert out == ""
    assert "models download emotion2vec_plus_large" in err


def test_a_model_folder_is_used(call, recordings, tiny_model):
    code, out, _ = call("recognize", recordings / "one.wav", "--json", "--model", tiny_model)
    record = json.loads(out)
    assert code == 0
    assert record["model"]["runtime"] == "openvino"
    assert record["model"]["fingerprint"].startswith("sha256:")


def test_chinese_terminals_are_spoken_to_in_chinese(call, recordings, monkeypatch, tmp_path):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    _, out, _ = call("recognize", recordings / "one.wav", "--output", tmp_path, "--model", "compact")
    assert " (" in out.splitlines()[0]
    assert any("\u4e00" <= character <= "\u9fff" for character in out)


def test_models_are_listed_with_their_licence(call):
    code, out, _ = call("models")
    assert code == 0
    assert "compact" in out
    assert "emotion2vec_plus_large" in out
    assert "FunASR" in out


def test_a_download_without_a_hub_says_what_to_do(call):
    code, _, err = call("models", "download", "emotion2vec_plus_base", "--hub", "hf")
    assert code == 1
    assert "--hub modelscope" in err


def test_verify_compares_with_the_published_scores_and_fails_for_other_weights(call, shared, tiny_model):
    clip = shared / "model" / "emotion2vec_plus_large" / "example" / "test.wav"
    code, out, err = call("models", "verify", tiny_model, "--clip", clip)
    assert code == 1
    assert "largest difference of log-scores" in out
    assert "not the published scores" in err


def test_verify_refuses_another_clip(call, recordings, tiny_model):
    code, _, err = call("models", "verify", tiny_model, "--clip", recordings / "one.wav")
    assert code == 1
    assert "not the official example clip" in err


def test_verify_without_a_clip_says_so(call, tiny_model):
    code, _, err = call("models", "verify", tiny_model)
    assert code == 1
    assert "--clip" in err


def test_evaluate_prints_a_table_and_the_numbers(call, tmp_path):
    for label in ("angry", "sad"):
        (tmp_path / label).mkdir()
        write_wav(loud_clip(), tmp_path / label / "a.wav")
    code, out, _ = call("evaluate", tmp_path, "--model", "compact")
    assert code == 0
    assert "unweighted accuracy" in out
    (tmp_path / "sad" / "b.wav").write_bytes(b"broken" * 100)
    code, out, err = call("evaluate", tmp_path, "--model", "compact", "--json")
    record = json.loads(out)
    assert code == 1
    assert record["failed"] == 1
    assert 0 <= record["unweighted_accuracy"] <= 1
    assert "b.wav" in err


def test_doctor_shows_threads_folders_and_hubs(call):
    code, out, _ = call("doctor")
    assert code == 0
    assert "torch says" in out
    assert "OMP_NUM_THREADS" in out
    assert "does not answer" in out


def test_doctor_says_when_a_graphics_card_lies_idle(call, monkeypatch):
    monkeypatch.setattr("emotion.model.probe.gpu_names", lambda: [])
    monkeypatch.setattr("emotion.doctor.installed_gpus", lambda: [Gpu("Card", 16_000, 100)])
    _, out, _ = call("doctor", "--offline")
    assert "Card (16 GB) is here, but PyTorch cannot use it" in out


def test_doctor_fails_when_results_cannot_be_written(call, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, out, _ = call("doctor", "--offline")
    assert code == 1
    assert "FAIL" in out


def test_a_settings_file_with_an_unknown_key_stops_the_program(call, recordings, tmp_path):
    (tmp_path / "mine.toml").write_text("modle = 'compact'")
    code, _, err = call("recognize", recordings / "one.wav", "--config", tmp_path / "mine.toml")
    assert code == 1
    assert "modle" in err


def processor_seconds(*words):
    """What the command takes of the processor: how long it takes by the clock depends on who else works here."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "emotion", *words], check=True, capture_output=True, cwd=HOUSE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# A busy machine makes processor time slower too: the first that is quick enough shows it.
def test_help_takes_under_half_a_second_of_process_time():
    assert any(processor_seconds("--help") < 0.5 for _ in range(6))


def test_a_result_takes_under_three_seconds_of_process_time(recordings):
    words = ["recognize", str(recordings / "two.wav"), "--json", "--model", "compact"]
    assert any(processor_seconds(*words) < 3 for _ in range(6))


def test_serve_refuses_an_address_that_others_can_reach(call):
    code, _, err = call("serve", "--host", "0.0.0.0")  # noqa: S104 - to be refused
    assert code == 1
    assert "without a key" in err


def test_serve_says_when_the_port_is_in_use(call):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = call("serve", "--port", taken.getsockname()[1])
    assert code == 1
    assert "in use" in err


def test_segments_are_shown_where_frames_are_wanted(call, recordings, tmp_path):
    shown = {}
    for granularity in ("utterance", "frame"):
        words = ("--granularity", granularity, "--output", tmp_path / "out", "--model", "compact")
        shown[granularity] = call("recognize", recordings / "one.wav", *words)[1].count(" - ")
    assert shown["utterance"] == 0 < shown["frame"]


def test_recordings_of_one_name_are_told_apart_by_their_folders(call, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / "corpus" / folder).mkdir(parents=True)
        write_wav(loud_clip(), tmp_path / "corpus" / folder / "segment.wav")
    names = []
    for words in (["corpus"], ["corpus/one/segment.wav", "corpus/two/segment.wav"]):
        _, out, _ = call("recognize", *(tmp_path / word for word in words), "--json", "--model", "compact")
        names += [json.loads(line)["file"] for line in out.splitlines()]
    assert names == ["one/segment.wav", "two/segment.wav"] * 2
