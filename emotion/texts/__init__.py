"""Every text that people read, in English and Chinese, for page, sign-in, terminal and errors.

One TOML file for each part of the program, `name = { en = "...", zh = "..." }` in groups. Values in {braces} are filled
in by `Words`; the groups `page`, `browser`, `live` and `timeline` go to the browser as they are. Chinese is written for
Chinese readers, not translated word by word.
"""

from emotion.texts.words import LANGUAGE_COOKIE, Words, catalogue, language_of

__all__ = ["LANGUAGE_COOKIE", "Words", "catalogue", "language_of"]
