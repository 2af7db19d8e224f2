from pathlib import Path

import pytest

from emotion.errors import SettingsInvalid
from emotion.settings import Settings, load_settings

DEFAULT_FILE = Path(__file__).parent.parent / "config" / "default.toml"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("EMOTION_")]:
        monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_word_everything_has_its_default():
    settings = load_settings()
    assert (settings.model, settings.host, settings.port) == ("auto", "127.0.0.1", 7860)


def test_flags_stand_over_environment_over_file_over_default(tmp_path, monkeypatch):
    config = written(tmp_path, "port = 1\nqueue_size = 1\nhub = 'hf'")
    monkeypatch.setenv("EMOTION_PORT", "2")
    monkeypatch.setenv("EMOTION_QUEUE_SIZE", "2")
    settings = load_settings(config, port=3, queue_size=None)
    assert (settings.port, settings.queue_size, settings.hub, settings.window_s) == (3, 2, "hf", 30.0)


def test_the_file_can_be_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CONFIG", str(written(tmp_path, "port = 4")))
    assert load_settings().port == 4


def test_an_unknown_key_stops_the_program_wherever_it_stands(tmp_path, monkeypatch):
    with pytest.raises(SettingsInvalid, match="prot"):
        load_settings(written(tmp_path, "prot = 1"))
    monkeypatch.setenv("EMOTION_PROT", "1")
    with pytest.raises(SettingsInvalid, match="prot"):
        load_settings()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 70_000),
        ("hub", "elsewhere"),
        ("queue_size", 0),
        ("window_s", 0.1),
        ("keep_days", -1),
        ("keep_gb", "inf"),
        ("keep_audio", "perhaps"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(key, value):
    with pytest.raises(SettingsInvalid, match=key):
        load_settings(**{key: value})


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(SettingsInvalid, match=r"nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml")
    with pytest.raises(SettingsInvalid, match=r"mine\.toml"):
        load_settings(written(tmp_path, "port = = 1"))


def test_context_must_leave_something_of_a_window():
    with pytest.raises(SettingsInvalid, match="context_s"):
        load_settings(window_s=10, context_s=5)


def test_most_replicas_below_the_least_are_named():
    with pytest.raises(SettingsInvalid, match="'cluster_max_replicas' cannot be used") as refused:
        load_settings(cluster_min_replicas=3, cluster_max_replicas=2)
    assert refused.value.details == {"key": "cluster_max_replicas"}


def test_runs_stay_for_ever_and_with_their_sound_unless_told_otherwise(monkeypatch):
    settings = load_settings()
    assert (settings.keep_audio, settings.keep_days, settings.keep_gb) == (True, 0, 0)
    monkeypatch.setenv("EMOTION_KEEP_AUDIO", "false")
    monkeypatch.setenv("EMOTION_KEEP_DAYS", "0.5")
    settings = load_settings(keep_gb=20)
    assert (settings.keep_audio, settings.keep_days, settings.keep_gb) == (False, 0.5, 20)


def test_the_cache_folder_can_be_moved(tmp_path, monkeypatch):
    assert "emotion2vec-studio" in str(load_settings().cache_dir)
    monkeypatch.setenv("EMOTION_MODEL_CACHE", str(tmp_path))
    assert load_settings().cache_dir == tmp_path


def test_the_default_file_shows_every_setting_with_its_default_and_sets_none():
    import tomllib

    text = DEFAULT_FILE.read_text(encoding="utf-8")
    assert tomllib.loads(text) == {}
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    shown = tomllib.loads("\n".join(lines))
    defaults = {key: field.default for key, field in Settings.model_fields.items()}
    assert shown == {k: str(v) if isinstance(v, Path) else v for k, v in defaults.items() if v is not None}
