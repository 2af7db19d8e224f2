"""The scripts of the page: modules under an address that changes with them, so that browsers keep them for ever."""

import hashlib
import json
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emotion.labels import LANGUAGES
from emotion.settings import Settings
from emotion.texts import Words

_FOLDER = Path(__file__).parent / "assets"
# What page.js imports.
_FIRST = ("alerts", "formatting", "gradio_adapter")
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

    async def serve(request: Request) -> Response:
        module = _modules().get(request.path_params["name"])
        if module is None:
            raise HTTPException(404)
        return Response(module, media_type="text/javascript", headers=_KEPT)

    # An application of its own, so that logs and counts take it for a part of the page, as what Gradio serves.
    app.mount(f"/{_address()}", Starlette(routes=[Route("/{name}", serve)]))


def on_load(script: str) -> str:
    """What a gr.HTML runs as `js_on_load`: a function of a module, named as `module.function`, or else its `mount`."""
    module, _, function = script.partition(".")
    address = f"new URL('{_address()}/{module}.js', document.baseURI)"
    return f"import({address}).then((module) => module.{function or 'mount'}({{ element, props, trigger, watch }}));"


def head(settings: Settings) -> str:
    """The scripts in the head of the document, before them what they need to know.

    What `page.js` imports is fetched along with it; it fetches the others when the page stands.
    """
    words = {language: Words(language).group("browser") for language in LANGUAGES}
    known = {"max_file_bytes": settings.max_file_bytes, "words": words, "modules": [*_modules()]}
    # A less-than sign in a text could end the script.
    told = json.dumps(known).replace("<", "\\u003c")
    early = "".join(f'<link rel="modulepreload" href="{_address()}/{name}.js">' for name in _FIRST)
    return f'<script>const studio = {told};</script>{early}<script type="module" src="{_address()}/page.js"></script>'
