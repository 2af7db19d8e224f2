"""The page of sign-in as HTML: one form, no script, nothing fetched."""

import base64
import hashlib
from html import escape
from string import Template
from urllib.parse import urlencode

from emotion.labels import LANGUAGES, Language
from emotion.texts import Words

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1f2a3a; --quiet: #5b6675; --line: #cdd4dd;
  --field: #fff; --button: #1f2a3a; --on-button: #fff; --button-over: #33445c; --bad: #9c2f00; --bad-ground: #fdeee6; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f141b; --card: #171e28; --ink: #e6ebf2; --quiet: #a3afbe;
  --line: #3a4554; --field: #1d2530; --button: #e6ebf2; --on-button: #141b25; --button-over: #fff; --bad: #ffb694;
  --bad-ground: #33201a; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; grid-template-rows: auto 1fr; background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei",
  "Noto Sans CJK SC", "WenQuanYi Zen Hei", sans-serif; }
nav { display: flex; justify-content: flex-end; gap: 4px; padding: 14px 20px; }
nav a { display: inline-flex; align-items: center; justify-content: center; min-width: 44px; min-height: 44px;
  color: var(--quiet); text-decoration: none; border-radius: 8px; }
nav a[aria-current] { color: var(--ink); font-weight: 650; }
main { width: min(400px, 100vw - 32px); margin: 6vh auto 60px; }
h1 { font-size: 22px; font-weight: 650; letter-spacing: -.01em; margin: 0; }
.tagline { margin: 2px 0 22px; font-size: 14px; color: var(--quiet); }
form { display: grid; gap: 16px; padding: 24px; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
label { display: grid; gap: 6px; font-size: 14px; }
label small { color: var(--quiet); font-size: 13px; }
label span { display: flex; justify-content: space-between; align-items: baseline; gap: 12px; }
input { width: 100%; min-height: 44px; padding: 8px 12px; font: inherit; font-size: 16px; color: var(--ink);
  background: var(--field); border: 1px solid var(--line); border-radius: 8px; }
button { min-height: 44px; font: inherit; font-weight: 600; color: var(--on-button); background: var(--button);
  border: 0; border-radius: 8px; cursor: pointer; }
button:hover { background: var(--button-over); }
:is(input, button, a):focus-visible { outline: 2px solid var(--ink); outline-offset: 2px; }
.said { margin: 0; padding: 10px 14px; font-size: 14px; border-radius: 8px; background: var(--ground); }
.said.bad { color: var(--bad); background: var(--bad-ground); }
"""
_PAGE = Template("""<!doctype html>
<html lang="$tag">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$title · Emotion2Vec+ Studio</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body>
<nav aria-label="$language">$languages</nav>
<main>
<h1>Emotion2Vec+ Studio</h1>
<p class="tagline">$tagline</p>
<form method="post" action="$action">
$said<input type="hidden" name="next" value="$next">
$name<label for="password"><span>$password</span>
<input id="password" name="password" type="password" autocomplete="current-password" required$focus$invalid></label>
<button>$submit</button>
</form>
</main>
</body>
</html>
""")
_NAME = Template("""<label for="name"><span>$name <small id="hint">$hint</small></span>
<input id="name" name="name" value="$typed" autocomplete="username" autocapitalize="none" spellcheck="false"
 aria-describedby="hint"$focus></label>
""")
# Where the reader goes on typing: at the name, or, when that stands there already, at the password.
_FOCUS = " autofocus"
# The sum of the one style that may apply; nothing else is loaded, run, or framed.
_STYLE_SUM = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_SUM}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: a browser would then say that the form comes from nowhere.
    "Referrer-Policy": "same-origin",
    "Vary": "Cookie, Accept-Language",
}


def login_html(
    language: Language, action: str, *, wanted: str, typed: str = "", said: str = "", is_bad: bool = False
) -> str:
    """The page in one language.

    `action` is its own address, `wanted` where to go afterwards, `typed` the name that was typed, `said` what to tell.
    """
    words = {key: escape(text) for key, text in Words(language).group("sign_in").items()}
    name = _NAME.substitute(
        name=words["name"], hint=words["name_hint"], typed=escape(typed), focus="" if typed else _FOCUS
    )
    role = "alert" if is_bad else "status"
    return _PAGE.substitute(
        words,
        tag=Words(language)("language.tag"),
        style=_STYLE,
        languages=_languages(language, action, wanted),
        action=escape(action),
        next=escape(wanted),
        name=name,
        focus=_FOCUS if typed else "",
        invalid=' aria-invalid="true" aria-describedby="said"' if is_bad else "",
        said=f'<p class="said{" bad" if is_bad else ""}" id="said" role="{role}">{escape(said)}</p>\n' if said else "",
    )


def _languages(language: Language, action: str, wanted: str) -> str:
    links = []
    for other in reversed(LANGUAGES):
        words = Words(other)
        current = ' aria-current="true"' if other == language else ""
        query = urlencode({"language": other, "next": wanted})
        links.append(
            f'<a href="{escape(action)}?{escape(query)}" lang="{words("language.tag")}"{current}>'
            f"{words('language.name')}</a>"
        )
    return "".join(links)
