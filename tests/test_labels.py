import pytest

from emotion.labels import EMOTIONS, emotion_of, is_masked, key_of_token


def test_nine_emotions_in_the_order_of_the_model():
    keys = [emotion.key for emotion in EMOTIONS]
    assert keys == ["angry", "disgusted", "fearful", "happy", "neutral", "other", "sad", "surprised", "unknown"]


def test_headlines_in_both_languages():
    assert emotion_of("happy").headline("zh") == "😊 快乐 (Happy)"
    assert emotion_of("happy").headline("en") == "😊 Happy"


@pytest.mark.parametrize(
    ("token", "key"), [("生气/angry", "angry"), ("<unk>", "unknown"), ("平静/calm", "calm"), ("bored", "bored")]
)
def test_tokens_of_a_checkpoint_become_labels(token, key):
    assert key_of_token(token) == key


def test_tokens_that_were_never_trained_are_masked():
    assert is_masked("unuse_0")
    assert not is_masked("生气/angry")


def test_a_label_of_a_foreign_checkpoint_shows_its_own_word():
    assert emotion_of("bored").headline("en") == "❓ Bored"


def test_no_two_emotions_share_a_colour_or_an_emoji():
    assert len({emotion.color for emotion in EMOTIONS}) == len({emotion.emoji for emotion in EMOTIONS}) == 9
