"""What a program is told when it is refused: the one mapping of errors to HTTP, as RFC 9457 has it."""

import math
from dataclasses import dataclass
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from emotion import errors
from emotion.errors import EmotionError, Unexpected
from emotion.logs import request_context

MEDIA_TYPE = "application/problem+json"
# What web sockets are closed with (RFC 6455 and the registry of IANA): refused, and refused for now.
VIOLATION, TRY_LATER = 1008, 1013
_TYPE = "urn:emotion2vec-studio:error:"


class ForeignOrigin(EmotionError):
    """A page of another web site wants something changed in the name of the person who is signed in here."""

    code = "foreign_origin"
    template = "This request comes from a page of another web site. Use the page of this server, or a key."


# The first row that fits decides, so an error stands above the family that it belongs to.
_STATUS: tuple[tuple[type[EmotionError], HTTPStatus], ...] = (
    (errors.RequestInvalid, HTTPStatus.BAD_REQUEST),
    (errors.LiveRefused, HTTPStatus.BAD_REQUEST),
    (errors.LiveSilent, HTTPStatus.REQUEST_TIMEOUT),
    (errors.NotAllowed, HTTPStatus.UNAUTHORIZED),
    (ForeignOrigin, HTTPStatus.FORBIDDEN),
    (errors.JobNotFound, HTTPStatus.NOT_FOUND),
    (errors.RunNotFound, HTTPStatus.NOT_FOUND),
    (errors.RunIsOpen, HTTPStatus.CONFLICT),
    (errors.BodyTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.ClipTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.ClipTooLong, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.ArchiveTooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.NotSound, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (errors.ClipError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.EngineBusy, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.EngineClosed, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.LiveFull, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.ReplicasLost, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.OutOfMemory, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.DiskFull, HTTPStatus.INSUFFICIENT_STORAGE),
)
# Seconds until it may go better, for errors that do not know it themselves. A server that ends is back in a while.
_RETRY_S: tuple[tuple[type[EmotionError], float], ...] = (
    (errors.TooManyRequests, 1.0),
    (errors.EngineBusy, 3.0),
    (errors.OutOfMemory, 10.0),
    (errors.EngineClosed, 15.0),
    (errors.LiveFull, 60.0),
    (errors.ReplicasLost, 60.0),
)


@dataclass(frozen=True)
class Problem:
    """An answer that refuses: the status, headers to add, and the body for programs."""

    status: int
    headers: dict[str, str]
    body: dict[str, object]

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers, MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application does; a web socket is closed with a code that says whether to try again."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": TRY_LATER if "Retry-After" in self.headers else VIOLATION})
        else:
            await self.response()(scope, receive, send)


def problem_of(error: BaseException, request_id: str | None = None) -> Problem:
    """The answer to an error; anything outside the family of errors becomes a 500 that tells nothing of the inside.

    `request_id` is that of the request at hand unless it is given.
    """
    told = error if isinstance(error, EmotionError) and _row_of(error) else Unexpected()
    status = status_of(told)
    return Problem(status, _headers(told), _body(status, told.code, told.message, request_id))


def problem_of_status(status: int, detail: str, code: str, request_id: str | None = None) -> Problem:
    """An answer for what has a status but no error of ours: an unknown address, or a method that is not there."""
    return Problem(status, {}, _body(status, code, detail, request_id))


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for errors outside the family."""
    row = _row_of(error)
    return int(row[1] if row else HTTPStatus.INTERNAL_SERVER_ERROR)


def retry_after_s(error: BaseException) -> int | None:
    """Whole seconds after which to try again, None if waiting does not help."""
    for kind, default_s in _RETRY_S:
        if isinstance(error, kind):
            known_s = error.details.get("retry_s")
            return max(math.ceil(known_s if isinstance(known_s, int | float) else default_s), 1)
    return None


def _row_of(error: BaseException) -> tuple[type[EmotionError], HTTPStatus] | None:
    return next((row for row in _STATUS if isinstance(error, row[0])), None)


def _body(status: int, code: str, detail: str, request_id: str | None) -> dict[str, object]:
    return {
        "type": _TYPE + code,
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id or request_context.request_id(),
    }


def _headers(error: EmotionError) -> dict[str, str]:
    headers = {}
    if isinstance(error, errors.NotAllowed):
        headers["WWW-Authenticate"] = "Bearer"
    retry_s = retry_after_s(error)
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    return headers
