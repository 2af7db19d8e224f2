"""Whatever goes wrong below /v1 is told as application/problem+json."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from emotion.access import problem_of, problem_of_status
from emotion.errors import EmotionError, RequestInvalid

_LOG = logging.getLogger(__name__)
METHODS = ("GET", "POST", "DELETE")
_MOST_SHOWN = 80


class ProblemRoute(APIRoute):
    """A route that answers what it refuses; what should not happen at all is left to the server around it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (EmotionError, RequestValidationError) as error:
                return problem_response(error)

        return answer


def problem_response(error: Exception) -> Response:
    """What to answer to an error of a request or of a job; an unexpected one is logged, and told without details."""
    if isinstance(error, RequestValidationError):
        error = invalid(error.errors())
    problem = problem_of(error)
    if problem.status == 500:
        _LOG.error("an analysis failed unexpectedly", exc_info=error)
    return problem.response()


def invalid(errors: Any) -> EmotionError:
    """The first thing that is wrong with the parameters of a request."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part != "query")
    return RequestInvalid(f"{where[:_MOST_SHOWN]}: {first['msg'][: _MOST_SHOWN * 4]}.")


class NotFound:
    """Answers for addresses below /v1 that are no endpoints (404), and for methods that an endpoint has not (405)."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = [method for method in METHODS if self._is_there({**scope, "method": method})]
        if allowed:
            problem = problem_of_status(405, "This address does not take this method.", "method_not_allowed")
            response = problem.response()
            response.headers["Allow"] = ", ".join(allowed)
        else:
            response = problem_of_status(404, "There is nothing at this address. See /docs.", "not_found").response()
        await response(scope, receive, send)

    def _is_there(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)
