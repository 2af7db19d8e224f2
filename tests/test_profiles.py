import re
import tomllib
from pathlib import Path

import pytest

from emotion.settings import PROFILES, Settings, load_settings

CONFIG = Path(__file__).parent.parent / "config"
ASSIGNMENT = re.compile(r"(?m)^([a-z_]+) = ")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_loaded_by_its_name(profile):
    settings = load_settings(profile=profile)
    written = tomllib.loads((CONFIG / f"{profile}.toml").read_text(encoding="utf-8"))
    assert written
    for name, value in written.items():
        assert getattr(settings, name) == value


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_holds_only_what_differs_from_the_defaults(profile):
    defaults = Settings()
    written = tomllib.loads((CONFIG / f"{profile}.toml").read_text(encoding="utf-8"))
    assert [name for name, value in written.items() if getattr(defaults, name) == value] == []


@pytest.mark.parametrize("profile", PROFILES)
def test_each_value_has_its_reason_above_it(profile):
    """Values that belong together may share one."""
    lines = (CONFIG / f"{profile}.toml").read_text(encoding="utf-8").splitlines()
    for place, line in enumerate(lines):
        if ASSIGNMENT.match(line):
            above = lines[place - 1]
            assert above.startswith("#") or ASSIGNMENT.match(above), line


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_profile_leaves_alone_is_the_default(profile):
    """The last comment of each file says what was left as it is; those settings exist and were left."""
    text = (CONFIG / f"{profile}.toml").read_text(encoding="utf-8")
    left = re.findall(r"(?m)^#   ([a-z_]+(?:, [a-z_]+)*)  ", text.partition("# Left as they are")[2])
    names = {name for group in left for name in group.split(", ")} - {"threads"}
    assert len(names) >= 4
    assert names <= set(Settings.model_fields)
    assert not names & set(ASSIGNMENT.findall(text))


@pytest.mark.parametrize("profile", PROFILES)
def test_no_profile_opens_the_network(profile):
    settings = load_settings(profile=profile)
    assert settings.host == "127.0.0.1"
    assert not settings.insecure
    assert settings.cors_origins == ""


def test_profiles_for_many_bound_what_one_client_takes():
    for profile in ("team", "production"):
        settings = load_settings(profile=profile)
        assert settings.rate_limit
        assert 0 < settings.jobs_per_client < settings.queue_size
        assert settings.keep_days
        assert settings.keep_gb


def test_the_environment_names_a_profile_and_a_flag_stands_over_it(monkeypatch):
    monkeypatch.setenv("EMOTION_PROFILE", "production")
    assert load_settings().queue_size == 256
    assert load_settings(queue_size=5).queue_size == 5


def test_commented_values_of_a_profile_can_be_used():
    text = (CONFIG / "production.toml").read_text(encoding="utf-8")
    named = tomllib.loads("\n".join(re.findall(r"(?m)^# (cluster_[a-z_]+ = .+)$", text)))
    assert len(named) == 4
    Settings(**named)


def test_the_kernel_settings_are_three_and_each_is_explained():
    lines = (CONFIG / "sysctl.conf").read_text(encoding="utf-8").splitlines()
    settings = [place for place, line in enumerate(lines) if line and not line.startswith("#")]
    assert len(settings) == 3
    for place in settings:
        assert re.fullmatch(r"[a-z]+(\.[a-z_]+)+ = \d+", lines[place])
        assert lines[place - 1].startswith("# ")
        assert lines[place - 2].startswith("# ")
