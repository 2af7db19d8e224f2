"""The description of the API as OpenAPI, and a page that shows it without loading anything from elsewhere."""

from importlib.resources import files
from typing import Any

import orjson
from fastapi import Response
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from emotion import __version__
from emotion.api.schemas import component_schemas
from emotion.settings import Settings

_DESCRIPTION = """\
Speech emotion recognition: recordings in, emotions out. The numbers are those of the page and of the command line.

**Streams.** `WS /v1/stream?rate_hz=16000&granularity=utterance` takes pieces of 16-bit little-endian mono PCM and
answers with JSON texts: `{"type": "ready"}`, then a `StreamMoment` about every half second. The text `{"stop": true}`
ends it: after some `{"type": "progress", "job": ...}` comes `{"type": "done", "location": ..., "record": ...}` with the
analysis of everything, equal to that of the same sound uploaded as a WAV file, or
`{"type": "failed", "problem": ...}`. The other parameters are those of `POST /v1/analyses`.
"""
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
_BEARER = "bearer"


class Description:
    """The two endpoints that tell how to use the others."""

    def __init__(self, routes: list[BaseRoute], settings: Settings) -> None:
        self._routes, self._asks_for_key = routes, bool(settings.api_keys or settings.page_logins)
        self._written: bytes | None = None

    async def openapi(self) -> Response:
        """The description, made when it is first asked for."""
        if self._written is None:
            self._written = orjson.dumps(self.schema())
        return Response(self._written, media_type="application/json")

    async def page(self) -> Response:
        """The description for people."""
        html = files("emotion.api").joinpath("docs.html").read_text("utf-8")
        return Response(html, headers={"Content-Security-Policy": _POLICY}, media_type="text/html; charset=utf-8")

    def schema(self) -> dict[str, Any]:
        """The description as JSON values."""
        described = get_openapi(
            title="Emotion2Vec+ Studio", version=__version__, description=_DESCRIPTION, routes=self._routes
        )
        described["components"] = {
            "schemas": component_schemas(),
            "securitySchemes": {_BEARER: {"type": "http", "scheme": "bearer", "description": "a key of this server"}},
        }
        # Where nobody is asked for a key, one may be sent all the same.
        described["security"] = [{_BEARER: []}] if self._asks_for_key else [{}, {_BEARER: []}]
        for path, operations in described["paths"].items():
            for operation in operations.values():
                _tidy(operation)
                if not path.startswith("/v1/"):
                    operation["security"] = []
        return described


def _tidy(operation: dict[str, Any]) -> None:
    """Take out what FastAPI adds by itself and what is not so here: invalid parameters are a 400 as a problem."""
    responses = operation["responses"]
    added = responses.get("422", {}).get("content", {}).get("application/json", {})
    if "HTTPValidationError" in str(added):
        del responses["422"]
