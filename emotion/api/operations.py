"""Which answers each endpoint gives, for the description of the API."""

from typing import Any

from emotion.api.events import MEDIA_TYPE as EVENT_STREAM
from emotion.api.responses import JSON

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


def _text_header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


_RETRY_AFTER = {"description": "Seconds until it is worth asking again.", "schema": {"type": "integer"}}
_LOCATION = _text_header("Where to ask for it.")
_OF_RECORD = {
    "Content-Location": _text_header("Where this record can be had again, for a while."),
    "Cache-Status": _text_header("`emotion; hit`, or `emotion; fwd=miss` (RFC 9211)."),
    "Server-Timing": _text_header("Milliseconds of `decode`, `queue` and `inference`."),
}


def ref(name: str) -> dict[str, str]:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def problems(*more: int) -> Responses:
    """What every endpoint below /v1 may refuse with, and more."""
    answers: Responses = {}
    for status in sorted({*_ALWAYS, *more}):
        answers[status] = {"description": _MEANINGS[status], "content": {PROBLEM_JSON: {"schema": ref("Problem")}}}
        if status in _WITH_RETRY:
            answers[status]["headers"] = {"Retry-After": _RETRY_AFTER}
    return answers


def plain(schema: str, description: str) -> Responses:
    """An endpoint that tells something."""
    return {200: {"description": description, "content": {JSON: {"schema": ref(schema)}}}, **problems()}


def _job_links() -> dict[str, Any]:
    by_id = {"parameters": {"id": "$response.body#/id"}}
    names = ("getAnalysis", "followAnalysis", "listFiles", "deleteAnalysis")
    return {name: {"operationId": name, **by_id} for name in names}


CREATED: Responses = {
    200: {
        "description": "The record of the one recording; of several the list, in which each has its own status.",
        "content": {JSON: {"schema": {"anyOf": [ref("AnalysisRecord"), ref("AnalysisList")]}}},
        "headers": _OF_RECORD,
    },
    202: {
        "description": "A job: the recording is long, or `Prefer: respond-async` was asked for.",
        "content": {JSON: {"schema": ref("JobRecord")}},
        "headers": {
            "Location": _LOCATION,
            "Retry-After": _RETRY_AFTER,
            "Preference-Applied": _text_header("`respond-async`, when that is why."),
        },
        "links": _job_links(),
    },
    **problems(408, *_OF_RECORDINGS),
}
SHOWN: Responses = {
    200: {
        "description": "The analysis is done.",
        "content": {JSON: {"schema": ref("AnalysisRecord")}},
        "headers": _OF_RECORD,
    },
    202: {
        "description": "The analysis is in work.",
        "content": {JSON: {"schema": ref("JobRecord")}},
        "headers": {"Retry-After": _RETRY_AFTER},
    },
    **problems(404, *_OF_RECORDINGS),
}
EVENTS: Responses = {
    200: {
        "description": "Events `progress`, and last `done` or `failed`; the data of each is JSON.",
        "content": {
            EVENT_STREAM: {
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
        },
    },
    **problems(404),
}
FILES: Responses = {
    200: {
        "description": "The files of the analysis.",
        "content": {JSON: {"schema": ref("FileList")}},
        "links": {
            "getFile": {
                "operationId": "getFile",
                "parameters": {"id": "$request.path.id", "name": "$response.body#/files/0/name"},
            }
        },
    },
    **problems(404),
}
FILE: Responses = {
    200: {
        "description": "The file.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in ("application/octet-stream", "text/csv", "text/plain", "text/vtt", "application/x-subrip")
        }
        | {JSON: {"schema": {}}, "application/xml": {"schema": {"type": "string"}}},
    },
    206: {
        "description": "The part of the file that the header Range asks for.",
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    },
    416: {"description": "The file has no such part.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    **problems(404),
}
DELETED: Responses = {204: {"description": "It is gone."}, **problems(404)}
READY: Responses = {
    200: {"description": "The model serves.", "content": {JSON: {"schema": ref("Readiness")}}},
    500: problems()[500],
    503: problems()[503],
}
HEALTHY: Responses = {
    200: {"description": "The process lives.", "content": {JSON: {"schema": ref("Health")}}},
    500: problems()[500],
}
_HEADERS: list[dict[str, Any]] = [
    {
        "name": "Prefer",
        "in": "header",
        "description": "`respond-async` asks for a job at once (RFC 7240).",
        "schema": {"type": "string", "examples": ["respond-async"]},
    },
    {
        "name": "Cache-Control",
        "in": "header",
        "description": "`no-store` has the sound computed although it was before, and not kept for the next time.",
        "schema": {"type": "string", "examples": ["no-store"]},
    },
    {
        "name": "Content-Disposition",
        "in": "header",
        "description": "`filename` is what the recording is called, for a body that is the recording itself.",
        "schema": {"type": "string", "examples": ['attachment; filename="call.wav"']},
    },
]
_BINARY = {"schema": {"type": "string", "format": "binary"}}
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
                        "maxItems": 100,
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
