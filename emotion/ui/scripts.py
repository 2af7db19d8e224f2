"""The scripts of the page: modules under an address that changes with them, so that browsers keep them for ever."""

import hashlib
import json
from functools import cache
from pathlib import Path

from fastapi import FastAPI, HTTPException
from starlette.responses import Response

from emotion.labels import LANGUAGES
from emotion.settings import Settings
from emotion.texts import Words

_FOLDER = Path(__file__).parent / "assets"
_KEPT = {"Cache-Control": "private, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


@cache
def _modules() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(_FOLDER.glob("*.js"))}


@cache
def _address() -> str:
    """Where the modules are served; relative to the page, so that it also holds behind a proxy with a prefix."""
    return f"scripts/{hashlib.sha256(b''.join(_modules().values())).hexdigest()[:16]}"


def serve_scripts(app: FastAPI) -> None:
    """Serve the modules to whom the page is served."""

    def serve(name: str) -> Response:
        if name not in _modules():
            raise HTTPException(404)
        return Response(_modules()[name], media_type="text/javascript", headers=_KEPT)

    app.add_api_route(f"/{_address()}/{{name}}", serve, methods=["GET", "HEAD"], include_in_schema=False)


def on_load(module: str, function: str = "mount") -> str:
    """What a gr.HTML runs as `js_on_load`: the function of a module, given the element and its events."""
    address = f"new URL('{_address()}/{module}.js', document.baseURI)"
    return f"import({address}).then((module) => module.{function}({{ element, props, trigger, watch }}));"


def head(settings: Settings) -> str:
    """The scripts in the head of the document, before them what they need to know; all modules are fetched at once."""
    words = {language: Words(language).group("browser") for language in LANGUAGES}
    # A less-than sign in a text could end the script.
    known = json.dumps({"max_file_bytes": settings.max_file_bytes, "words": words}).replace("<", "\\u003c")
    loaded = "".join(f'<link rel="modulepreload" href="{_address()}/{name}">' for name in _modules())
    return f'<script>const studio = {known};</script>{loaded}<script type="module" src="{_address()}/page.js"></script>'
