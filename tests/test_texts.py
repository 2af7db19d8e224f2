import re
import tomllib
from pathlib import Path

import pytest

import emotion.texts
from emotion import errors
from emotion.errors import EmotionError
from emotion.labels import LANGUAGES
from emotion.texts import Words, catalogue, language_of

ENGLISH = Words("en")


def test_a_text_is_filled_with_its_values():
    assert ENGLISH("progress.window", window=2, windows=9) == "Recognising window 2 of 9"
    assert Words("zh")("progress.window", window=2, windows=9) == "正在识别第 2 段，共 9 段"


def test_values_come_in_the_units_of_people_too():
    assert "larger than 200 MB" in ENGLISH.filled("error.clip_too_large", {"limit_bytes": 200_000_000})
    assert "0:10.0" in ENGLISH.filled("error.clip_too_long", {"limit_s": 10})


def test_no_group_is_in_two_files():
    files = sorted(Path(emotion.texts.__file__).parent.glob("*.toml"))
    groups = [group for path in files for group in tomllib.loads(path.read_text(encoding="utf-8"))]
    assert len(groups) == len(set(groups)) == len(catalogue())


def test_every_text_is_there_in_both_languages_with_the_same_values():
    for group in catalogue().values():
        for name, by_language in group.items():
            assert set(by_language) == set(LANGUAGES), name
            values = [set(re.findall(r"{\w+}", text)) for text in by_language.values()]
            assert values[0] == values[1], name


def test_every_error_of_the_family_has_words():
    family = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EmotionError)]
    assert len(family) > 10
    for kind in family:
        assert ENGLISH.has(f"error.{kind.code}"), kind


@pytest.mark.parametrize(
    ("accepted", "chosen", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "auto", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "auto", "en"),
        ("de", "auto", "en"),
        ("", "auto", "en"),
        ("en", "zh", "zh"),
        ("zh", "en", "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_first_of_the_browser(accepted, chosen, language):
    assert language_of(accepted, chosen) == language
