"""Which answers each endpoint gives, for the description of the API."""

from typing import Any

from emotion.api.events import MEDIA_TYPE as EVENT_STREAM
from emotion.api.responses import JSON
from emotion.api.uploads import MAX_PARTS

PROBLEM_JSON = "application/problem+json"
Responses = dict[int | str, dict[str, Any]]
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
_WITH_RETRY = (429, 503)
_ALWAYS = (400, 401, 403, 429, 500, 503)
_OF_RECORDINGS = (413, 415, 422, 507)


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _answer(description: str, schema: dict[str, Any], media_type: str = JSON, **more: Any) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": schema}}, **more}


def problems(*more: int) -> Responses:
    """What every endpoint below /v1 may refuse with, and more."""
    answers: Responses = {}
    for status in sorted({*_ALWAYS, *more}):
        headers = {"headers": {"Retry-After": _RETRY_AFTER}} if status in _WITH_RETRY else {}
        answers[status] = _answer(_MEANINGS[status], ref("Problem"), PROBLEM_JSON, **headers)
    return answers


def plain(schema: str, description: str) -> Responses:
    """An endpoint that tells something."""
    return {200: _answer(description, ref(schema)), **problems()}


def probe(schema: str, description: str, *refusals: int) -> Responses:
    """An endpoint that anybody may ask."""
    return {200: _answer(description, ref(schema)), **{status: problems()[status] for status in refusals}}


_RETRY_AFTER = _header("Seconds until it is worth asking again.", "integer")
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
_EVENT_SCHEMA = {
    "type": "object",
    "required": ["event", "data", "id"],
    "properties": {
        "event": {"enum": ["progress", "done", "failed"]},
        "data": {"type": "string", "contentMediaType": JSON},
        "id": {"type": "string"},
    },
}
_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE_TYPES = ("application/octet-stream", "text/csv", "text/plain", "text/vtt", "application/x-subrip")

CREATED: Responses = {
    200: _answer(
        "The record of the one recording; of several the list, in which each has its own status.",
        {"anyOf": [ref("AnalysisRecord"), ref("AnalysisList")]},
        headers=_OF_RECORD,
    ),
    202: _answer(
        "A job: the recording is long, or `Prefer: respond-async` was asked for.",
        ref("JobRecord"),
        headers=_OF_JOB,
        links=_JOB_LINKS,
    ),
    **problems(408, *_OF_RECORDINGS),
}
SHOWN: Responses = {
    200: _answer("The analysis is done.", ref("AnalysisRecord"), headers=_OF_RECORD),
    202: _answer("The analysis is in work.", ref("JobRecord"), headers={"Retry-After": _RETRY_AFTER}),
    **problems(404, *_OF_RECORDINGS),
}
EVENTS: Responses = {
    200: _answer(
        "Events `progress`, and last `done` or `failed`; the data of each is JSON.", _EVENT_SCHEMA, EVENT_STREAM
    ),
    **problems(404),
}
EVENTS[200]["content"][EVENT_STREAM]["example"] = 'event: progress\ndata: {"status": "recognising"}\nid: 1\n\n'
FILES: Responses = {
    200: _answer("The files of the analysis.", ref("FileList"), links={"getFile": _FILE_LINK}),
    **problems(404),
}
FILE: Responses = {
    200: {
        "description": "The file.",
        "content": dict.fromkeys(_FILE_TYPES, _BINARY) | {JSON: {"schema": {}}, "application/xml": _TEXT},
    },
    206: {"description": "The part of the file that the header Range asks for.", "content": {"*/*": _BINARY}},
    416: {"description": "The file has no such part.", "content": {"text/plain": _TEXT}},
    **problems(404),
}
DELETED: Responses = {204: {"description": "It is gone."}, **problems(404)}
READY = probe("Readiness", "The model serves.", 500, 503)
HEALTHY = probe("Health", "The process lives.", 500)


def _request_header(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string", "examples": [example]}
    return {"name": name, "in": "header", "description": description, "schema": schema}


_HEADERS = [
    _request_header("Prefer", "`respond-async` asks for a job at once (RFC 7240).", "respond-async"),
    _request_header(
        "Cache-Control",
        "`no-store` has the sound computed although it was before, and not kept for the next time.",
        "no-store",
    ),
    _request_header(
        "Content-Disposition",
        "`filename` is what the recording is called, for a body that is the recording itself.",
        'attachment; filename="call.wav"',
    ),
]
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
TAKES_RECORDINGS = {"parameters": _HEADERS, "requestBody": _RECORDINGS}
