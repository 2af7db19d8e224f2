"""The nine emotions of emotion2vec+, in the model's order, and how they are shown."""

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True)
class Emotion:
    """One label: its key in JSON, its token in `tokens.txt`, its names, its emoji and its colour (`#RRGGBB`).

    `words` is the English name where that is not the key.
    """

    key: str
    token: str
    chinese: str
    emoji: str
    color: str
    words: str = ""

    @property
    def english(self) -> str:
        return self.words or self.key.capitalize()

    def name(self, language: Language) -> str:
        """The word a reader of that language sees."""
        return self.chinese if language == "zh" else self.english

    def headline(self, language: Language) -> str:
        """Emoji and name as the page's headline shows them, for example `😊 快乐 (Happy)` or `😊 Happy`."""
        name = f"{self.chinese} ({self.english})" if language == "zh" else self.english
        return f"{self.emoji} {name}"


# Colours: Okabe and Ito, "Color Universal Design" (2008), with purple and greys added for the last of nine.
EMOTIONS: tuple[Emotion, ...] = (
    Emotion("angry", "生气/angry", "愤怒", "😠", "#D55E00"),
    Emotion("disgusted", "厌恶/disgusted", "厌恶", "🤢", "#009E73"),
    Emotion("fearful", "恐惧/fearful", "恐惧", "😨", "#7B5EA7"),
    Emotion("happy", "开心/happy", "快乐", "😊", "#E69F00"),
    Emotion("neutral", "中立/neutral", "中性", "😐", "#7F7F7F"),
    Emotion("other", "其他/other", "其他", "🤔", "#CC79A7"),
    Emotion("sad", "难过/sad", "悲伤", "😢", "#0072B2"),
    Emotion("surprised", "吃惊/surprised", "惊讶", "😲", "#56B4E9"),
    Emotion("unknown", "<unk>", "未知", "❓", "#B8B8B8"),
)
# No emotion: what a recording, a segment or a row has instead of one where nobody is heard.
SILENCE = Emotion("silence", "", "无语音", "🔇", "#D9D9D9", "No speech")
EMOTION_BY_KEY: dict[str, Emotion] = {emotion.key: emotion for emotion in EMOTIONS}
_KEY_BY_TOKEN: dict[str, str] = {emotion.token: emotion.key for emotion in EMOTIONS}


def key_of_token(token: str) -> str:
    """The label of a line of `tokens.txt`: `生气/angry` is `angry`, `<unk>` is `unknown`, others by their last part."""
    return _KEY_BY_TOKEN.get(token, token.rsplit("/", 1)[-1].strip("<>").strip())


def is_masked(token: str) -> bool:
    """Whether the checkpoint reserves this token without having trained it (FunASR masks `unuse...` too)."""
    return token.startswith("unuse")


def emotion_of(key: str) -> Emotion:
    """The emotion behind a label; a label of a foreign checkpoint shows its own word in the colour of `unknown`."""
    if key == SILENCE.key:
        return SILENCE
    return EMOTION_BY_KEY.get(key) or Emotion(key, key, key, "❓", EMOTION_BY_KEY["unknown"].color)
