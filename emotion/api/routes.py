"""The endpoints, joined with the application."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from emotion.access import problem_of_status
from emotion.api.about import About
from emotion.api.analyses import Analyses
from emotion.api.job_endpoints import JobEndpoints
from emotion.api.jobs import MAX_KEPT, Jobs
from emotion.api.openapi import ANSWERS, TAKES_RECORDINGS, Description
from emotion.api.responses import problem_response
from emotion.api.stream import Stream
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError
from emotion.live.socket import MAX_SESSIONS, LiveConversations
from emotion.monitor import StudioWatch

METHODS = ("GET", "POST", "DELETE")


def add_api(
    app: FastAPI,
    recognizer: Recognizer,
    watch: StudioWatch,
    turns: ConcurrencyLimit | None = None,
    max_kept: int = MAX_KEPT,
    max_streams: int = MAX_SESSIONS,
) -> None:
    """Answer below `/v1`, and at `/healthz`, `/readyz`, `/openapi.json` and `/docs`.

    To be called before the page is mounted, which takes every other address. Jobs in work end with the application,
    or are left to the next server. `turns` counts the recordings of each client that are in work, here and on the page;
    `max_kept` finished analyses and `max_streams` streams are there at a time.
    """
    turns = turns or recognizer.admission.limit
    jobs = Jobs(recognizer, max_kept)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await jobs.restore_jobs()
        yield
        await jobs.close()

    router = APIRouter(route_class=ProblemRoute, lifespan=lifespan)
    _add_analyses(router, recognizer, jobs)
    _add_about(router, About(recognizer, watch))
    streams = LiveConversations(turns, max_streams, partial(Stream, recognizer, jobs))
    router.add_api_websocket_route("/v1/stream", streams.hold)
    description = Description(router.routes, recognizer.settings)
    app.include_router(router)
    for path in ("/v1/{rest:path}", "/healthz", "/readyz"):
        app.router.routes.append(Route(path, NotFound(router.routes), include_in_schema=False))
    app.add_api_route("/openapi.json", description.openapi, include_in_schema=False)
    app.add_api_route("/docs", description.page, include_in_schema=False)


def _add_analyses(router: APIRouter, recognizer: Recognizer, jobs: Jobs) -> None:
    by_id = JobEndpoints(jobs)
    _add(router, "POST /v1/analyses", Analyses(recognizer, jobs).create, "createAnalysis")
    _add(router, "GET /v1/analyses/{id}", by_id.show, "getAnalysis")
    _add(router, "DELETE /v1/analyses/{id}", by_id.delete, "deleteAnalysis")
    _add(router, "GET /v1/analyses/{id}/events", by_id.events, "followAnalysis")
    _add(router, "GET /v1/analyses/{id}/files", by_id.list_files, "listFiles")
    _add(router, "GET /v1/analyses/{id}/files/{name}", by_id.file, "getFile")


def _add_about(router: APIRouter, about: About) -> None:
    _add(router, "GET /v1/labels", about.labels, "listLabels")
    _add(router, "GET /v1/models", about.models, "listModels")
    _add(router, "GET /v1/status", about.status, "getStatus")
    _add(router, "GET /healthz", about.health, "getHealth")
    _add(router, "GET /readyz", about.readiness, "getReadiness")


def _add(router: APIRouter, method_and_path: str, endpoint: Callable[..., Any], operation_id: str) -> None:
    method, path = method_and_path.split()
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        operation_id=operation_id,
        response_class=Response,
        response_model=None,
        responses=ANSWERS[operation_id],
        status_code=204 if method == "DELETE" else 200,
        openapi_extra=TAKES_RECORDINGS if method == "POST" else None,
    )


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


class NotFound:
    """Answers for addresses below /v1 that are no endpoints (404), and for methods that an endpoint has not (405)."""

    def __init__(self, routes: list[BaseRoute]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = [method for method in METHODS if self._has({**scope, "method": method})]
        if allowed:
            problem = problem_of_status(405, "This address does not take this method.", "method_not_allowed")
            problem.headers["Allow"] = ", ".join(allowed)
        else:
            problem = problem_of_status(404, "There is nothing at this address. See /docs.", "not_found")
        await problem(scope, receive, send)

    def _has(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)
