import tomllib

import pytest

from emotion.cli import main
from emotion.doctor import tuning
from emotion.doctor.tuning import Trial, Tuning
from emotion.errors import EmotionError, ModelError
from emotion.hardware import Cores
from emotion.settings import load_settings
from tests.checkpoints import TINY, write_checkpoint
from tests.fakes import FakeModel


def trial(threads, seconds_per_s, runtime="torch"):
    return Trial("cpu", runtime, "fp32", threads, seconds_per_s)


def test_the_fastest_way_wins_and_among_equals_the_one_with_fewest_threads():
    assert tuning.winner([trial(4, 0.2), trial(2, 0.1), trial(1, 0.3)]).threads == 2
    assert tuning.winner([trial(4, 0.100), trial(2, 0.102), trial(1, 0.3)]).threads == 2
    assert tuning.winner([trial(4, None), trial(1, 0.3)]).threads == 1


def test_nothing_measured_is_an_error_that_says_what_to_do():
    with pytest.raises(EmotionError, match="doctor"):
        tuning.winner([trial(2, None)])


def test_decode_threads_are_the_fewest_that_are_as_fast_as_the_fastest():
    assert tuning.best_decode_threads({1: 50.0, 2: 99.0, 4: 100.0}) == 2
    assert tuning.best_decode_threads({1: 100.0, 2: 90.0}) == 1


def test_decoding_is_really_measured():
    assert tuning.decode_pace(1) > 1


def test_every_count_of_threads_is_tried_once():
    assert tuning.thread_counts(Cores(logical=8, physical=4)) == [4, 2, 8]
    assert tuning.thread_counts(Cores(logical=1, physical=1)) == [1]


def test_ways_that_cannot_be_opened_or_do_not_fit_the_time_are_shown_with_the_reason(monkeypatch):
    def open_model(checkpoint, wish):
        del checkpoint
        if wish.runtime == "openvino":
            raise ModelError("it is not here")
        return FakeModel()

    monkeypatch.setattr(tuning, "open_model", open_model)
    monkeypatch.setattr(tuning, "has_openvino", lambda: True)
    monkeypatch.setattr(tuning, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(tuning, "cpu_computes_bf16", lambda: False)
    cores = Cores(logical=2, physical=1)

    measured = list(tuning.trials(object(), cores, budget_s=60))

    assert [(found.runtime, found.threads) for found in measured] == [
        ("openvino", 1), ("torch", 1), ("openvino", 2), ("torch", 2),
    ]  # fmt: skip
    assert measured[0].note == "it is not here"
    assert measured[1].seconds_per_s > 0
    assert {found.note for found in tuning.trials(object(), cores, budget_s=-1)} == {"left out, the time is over"}


def test_half_precision_is_tried_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(tuning, "has_openvino", lambda: True)
    monkeypatch.setattr(tuning, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(tuning, "cpu_computes_bf16", lambda: True)
    ways = list(tuning._ways(built_in=False, cores=Cores(2, 2)))
    assert [way.precision for way in ways if way.device == "cuda"] == ["fp16", "bf16", "fp32"]
    assert ("openvino", "bf16") in {(way.runtime, way.precision) for way in ways}
    assert "int8" not in {way.precision for way in ways}, "it changes the scores, so nobody chooses it but the person"


def test_what_is_written_is_what_later_starts_use(tmp_path, monkeypatch):
    local = tmp_path / "config" / "local.toml"
    monkeypatch.setattr("emotion.settings.local_config_path", lambda: local)
    tuning.write_local(Tuning("torch", "fp32", 3, 2, 196).as_toml('a "fast" machine'), local)

    settings = load_settings()

    assert (settings.runtime, settings.inference_threads, settings.batch_frames) == ("torch", 3, 196)
    assert load_settings(inference_threads=5).inference_threads == 5
    assert load_settings(model="compact").runtime == "auto", "measured with another model"
    assert load_settings(device="cpu").precision == "auto", "measured for another device"
    assert list(local.parent.iterdir()) == [local]


def test_a_settings_file_stands_over_what_was_measured(tmp_path, monkeypatch):
    local, own = tmp_path / "local.toml", tmp_path / "own.toml"
    monkeypatch.setattr("emotion.settings.local_config_path", lambda: local)
    local.write_text("inference_threads = 3\ndecode_threads = 4\n", encoding="utf-8")
    own.write_text("inference_threads = 1\n", encoding="utf-8")
    settings = load_settings(own)
    assert (settings.inference_threads, settings.decode_threads) == (1, 4)


def test_the_command_measures_shows_a_table_and_writes_the_winner(tmp_path, monkeypatch, capsys):
    local = tmp_path / "local.toml"
    monkeypatch.setattr("emotion.settings.local_config_path", lambda: local)
    folder = write_checkpoint(tmp_path / "tiny", TINY)

    with pytest.raises(SystemExit) as ended:
        main(["tune", "--model", str(folder), "--seconds", "30"])

    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    assert "ms per second of sound" in shown
    assert "recordings of 30 s per second" in shown
    assert set(tomllib.loads(local.read_text(encoding="utf-8"))) == {
        "runtime", "precision", "inference_threads", "decode_threads", "batch_frames",
    }  # fmt: skip


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    local = tmp_path / "local.toml"
    monkeypatch.setattr("emotion.settings.local_config_path", lambda: local)
    with pytest.raises(SystemExit):
        main(["tune", "--model", "compact", "--dry-run"])
    assert "runtime =" in capsys.readouterr().out
    assert not local.exists()
