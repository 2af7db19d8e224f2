"""The description of the API as OpenAPI, and a page that shows it without loading anything from elsewhere.

`ANSWERS` are the answers of each operation by its id; their shapes are in `schemas`.
"""

from importlib.resources import files
from typing import Any

import orjson
from fastapi import Response
from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from emotion import __version__
from emotion.access.problems import MEDIA_TYPE as PROBLEM_JSON
from emotion.api.responses import EVENT_STREAM, JSON
from emotion.api.schemas import component_schemas
from emotion.api.uploads import MAX_PARTS
from emotion.settings import Settings

Responses = dict[int | str, dict[str, Any]]
_DESCRIPTION = """\
Speech emotion recognition: recordings in, emotions out. The numbers are those of the page and of the command line.

**Streams.** `WS /v1/stream?rate_hz=16000&granularity=utterance` takes pieces of 16-bit little-endian mono PCM and
answers with JSON texts: `{"type": "ready"}`, then a `StreamMoment` about every half second. The text `{"stop": true}`
ends it: after some `{"type": "progress", "job": ...}` comes `{"type": "done", "location": ..., "record": ...}` with the
analysis of everything, equal to that of the same sound uploaded as a WAV file, or
`{"type": "failed", "problem": ...}`. The other parameters are those of `POST /v1/analyses`.
"""
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
_MEANINGS = {
    400: "A parameter, a header or the body is not what it should be.",
    401: "A key is needed.",
    403: "The request comes from a page of another web site.",
    404: "There is no such analysis of this client, no such file, or its time is over.",
    408: "Nothing came of the request for a minute.",
    413: "The request or a recording in it is larger or longer than may be.",
    415: "The body, or a recording, is no sound that can be read.",
    422: "The recording is sound, but cannot be analysed: empty, too short, with too many channels.",
    429: "This client asks too often, or has too many recordings in work.",
    500: "Something went wrong that should not; the log of the server has it under `request_id`.",
    503: "The queue is full, or the server is ending or short of memory.",
    507: "The disk of the server is full.",
}
_ALWAYS = (400, 401, 403, 429, 500, 503)
_OF_RECORDINGS = (413, 415, 422, 507)


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _answer(description: str, schema: dict[str, Any], media_type: str = JSON, **more: Any) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}, **more}


_RETRY_AFTER = _header("Seconds until it is worth asking again.", "integer")


def _problems(*statuses: int) -> Responses:
    """Refusals with these statuses."""
    with_retry = {429: {"headers": {"Retry-After": _RETRY_AFTER}}, 503: {"headers": {"Retry-After": _RETRY_AFTER}}}
    return {
        status: _answer(_MEANINGS[status], _ref("Problem"), PROBLEM_JSON, **with_retry.get(status, {}))
        for status in sorted(statuses)
    }


_OF_RECORD = {
    "Content-Location": _header("Where this record can be had again, for a while."),
    "Cache-Status": _header("`emotion; hit`, or `emotion; fwd=miss` (RFC 9211)."),
    "Server-Timing": _header("Milliseconds of `decode`, `queue` and `inference`."),
}
_OF_JOB = {
    "Location": _header("Where to ask for it."),
    "Retry-After": _RETRY_AFTER,
    "Preference-Applied": _header("`respond-async`, when that is why."),
}
_JOB_LINKS = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}}
    for name in ("getAnalysis", "followAnalysis", "listFiles", "deleteAnalysis")
}
_FILE_LINK = {
    "operationId": "getFile",
    "parameters": {"id": "$request.path.id", "name": "$response.body#/files/0/name"},
}
_EVENT = {
    "schema": {
        "type": "object",
        "required": ["event", "data", "id"],
        "properties": {
            "event": {"enum": ["progress", "done", "failed"]},
            "data": {"type": "string", "contentMediaType": JSON},
            "id": {"type": "string"},
        },
    },
    "example": 'event: progress\ndata: {"status": "recognising"}\nid: 1\n\n',
}
_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE_TYPES = ("application/octet-stream", "text/csv", "text/plain", "text/vtt", "application/x-subrip")

ANSWERS: dict[str, Responses] = {
    "createAnalysis": {
        200: _answer(
            "The record of the one recording; of several the list, in which each has its own status.",
            {"anyOf": [_ref("AnalysisRecord"), _ref("AnalysisList")]},
            headers=_OF_RECORD,
        ),
        202: _answer(
            "A job: the recording is long, or `Prefer: respond-async` was asked for.",
            _ref("JobRecord"),
            headers=_OF_JOB,
            links=_JOB_LINKS,
        ),
        **_problems(*_ALWAYS, 408, *_OF_RECORDINGS),
    },
    "getAnalysis": {
        200: _answer("The analysis is done.", _ref("AnalysisRecord"), headers=_OF_RECORD),
        202: _answer("The analysis is in work.", _ref("JobRecord"), headers={"Retry-After": _RETRY_AFTER}),
        **_problems(*_ALWAYS, 404, *_OF_RECORDINGS),
    },
    "followAnalysis": {
        200: {
            "description": "Events `progress`, and last `done` or `failed`; the data of each is JSON.",
            "content": {EVENT_STREAM: _EVENT},
        },
        **_problems(*_ALWAYS, 404),
    },
    "listFiles": {
        200: _answer("The files of the analysis.", _ref("FileList"), links={"getFile": _FILE_LINK}),
        **_problems(*_ALWAYS, 404),
    },
    "getFile": {
        200: {
            "description": "The file.",
            "content": dict.fromkeys(_FILE_TYPES, _BINARY) | {JSON: {"schema": {}}, "application/xml": _TEXT},
        },
        206: {"description": "The part of the file that the header Range asks for.", "content": {"*/*": _BINARY}},
        416: {"description": "The file has no such part.", "content": {"text/plain": _TEXT}},
        **_problems(*_ALWAYS, 404),
    },
    "deleteAnalysis": {204: {"description": "It is deleted."}, **_problems(*_ALWAYS, 404)},
    "listLabels": {200: _answer("The labels.", _ref("LabelList")), **_problems(*_ALWAYS)},
    "listModels": {200: _answer("The models.", _ref("ModelList")), **_problems(*_ALWAYS)},
    "getStatus": {200: _answer("The status.", _ref("StatusRecord")), **_problems(*_ALWAYS)},
    "getHealth": {200: _answer("The process lives.", _ref("Health")), **_problems(500)},
    "getReadiness": {200: _answer("The model serves.", _ref("Readiness")), **_problems(500, 503)},
}
_REQUEST_HEADERS = {
    "Prefer": ("`respond-async` asks for a job at once (RFC 7240).", "respond-async"),
    "Cache-Control": (
        "`no-store` has the sound computed although it was before, and not kept for the next time.",
        "no-store",
    ),
    "Content-Disposition": (
        "`filename` is what the recording is called, for a body that is the recording itself.",
        'attachment; filename="call.wav"',
    ),
}
_SOUND_TYPES = (
    "application/octet-stream",
    "application/ogg",
    "audio/wav",
    "audio/mpeg",
    "audio/mp4",
    "audio/flac",
    "audio/ogg",
    "audio/webm",
    "video/mp4",
    "video/webm",
)
_RECORDINGS: dict[str, Any] = {
    "required": True,
    "description": "Parts named `file`, or the recording itself under its type; any other `audio/...` is taken too.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MAX_PARTS,
                        "items": {"type": "string", "format": "binary"},
                        "description": "One recording or several.",
                    }
                },
            }
        },
        **dict.fromkeys(_SOUND_TYPES, _BINARY),
    },
}
TAKES_RECORDINGS = {
    "parameters": [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string", "examples": [example]}}
        for name, (text, example) in _REQUEST_HEADERS.items()
    ],
    "requestBody": _RECORDINGS,
}


class Description:
    """The two endpoints that tell how to use the others."""

    def __init__(self, routes: list[BaseRoute], settings: Settings) -> None:
        self._routes, self._asks_for_key = routes, bool(settings.api_keys or settings.page_logins)
        self._json: bytes | None = None

    async def openapi(self) -> Response:
        """The description, made when it is first asked for."""
        if self._json is None:
            self._json = orjson.dumps(self.schema())
        return Response(self._json, media_type=JSON)

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
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "a key of this server"}},
        }
        # Where nobody is asked for a key, one may be sent all the same.
        described["security"] = [{"bearer": []}] if self._asks_for_key else [{}, {"bearer": []}]
        for path, operations in described["paths"].items():
            for operation in operations.values():
                # FastAPI adds an answer that is not given here: invalid parameters are a 400 as a problem.
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    del operation["responses"]["422"]
                if not path.startswith("/v1/"):
                    operation["security"] = []
        return described
