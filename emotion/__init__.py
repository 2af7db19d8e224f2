"""Emotion2Vec+ Studio: speech emotion recognition with emotion2vec+.

>>> from emotion import Recognizer                                        # doctest: +SKIP
>>> with Recognizer() as recognizer:                                      # doctest: +SKIP
...     print(recognizer.recognize("voice.wav").emotion.headline("en"))   # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotion.analysis import Analysis, Segment
    from emotion.audio import Clip
    from emotion.engine.recognizer import Recognizer
    from emotion.errors import EmotionError
    from emotion.labels import EMOTIONS

__version__ = "0.4.0"
__all__ = ["EMOTIONS", "Analysis", "Clip", "EmotionError", "Recognizer", "Segment"]

_ROOM_OF = {
    "Analysis": "emotion.analysis",
    "Clip": "emotion.audio",
    "EMOTIONS": "emotion.labels",
    "EmotionError": "emotion.errors",
    "Recognizer": "emotion.engine.recognizer",
    "Segment": "emotion.analysis",
}


def __getattr__(name: str) -> Any:
    # Names are fetched when first used, so that `import emotion` costs nothing: no torch, no numpy.
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'emotion' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ROOM_OF[name]), name)
