"""The page of sign-in as HTML: one form, no script, nothing fetched."""

import base64
import hashlib
from functools import cache
from pathlib import Path

from emotion.labels import LANGUAGES, Language
from emotion.texts import Words
from emotion.texts.templates import Templates

_FOLDER = Path(__file__).parent / "templates"


def login_html(
    language: Language, action: str, *, wanted: str, typed: str = "", said: str = "", is_bad: bool = False
) -> str:
    """The page in one language.

    `action` is its own address, `wanted` where to go afterwards, `typed` the name that was typed, `said` what to tell.
    """
    values = {"action": action, "wanted": wanted, "typed": typed, "said": said, "is_bad": is_bad}
    languages = [Words(other) for other in reversed(LANGUAGES)]
    return Templates(_FOLDER).render("login.html", Words(language), style=_style(), languages=languages, **values)


@cache
def login_headers() -> dict[str, str]:
    """The headers of the page: its own style applies, and nothing else is loaded, run, or framed."""
    style_hash = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{style_hash}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        # Not `no-referrer`: a browser would then say that the form comes from nowhere.
        "Referrer-Policy": "same-origin",
        "Vary": "Cookie, Accept-Language",
    }


@cache
def _style() -> str:
    return (_FOLDER / "login.css").read_text(encoding="utf-8")
