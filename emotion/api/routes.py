"""The endpoints, joined with the application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from starlette.routing import Route

from emotion.api import operations
from emotion.api.about import About
from emotion.api.analyses import Analyses
from emotion.api.description import Description
from emotion.api.events import Events
from emotion.api.finished_jobs import MAX_KEPT
from emotion.api.job_endpoints import JobEndpoints
from emotion.api.jobs import Jobs
from emotion.api.problems import NotFound, ProblemRoute
from emotion.api.stream import Stream
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.live.socket import MAX_SESSIONS, LiveConversations
from emotion.monitor import StudioWatch


def add_api(
    app: FastAPI,
    recognizer: Recognizer,
    watch: StudioWatch,
    turns: ConcurrencyLimit | None = None,
    max_kept: int = MAX_KEPT,
    max_streams: int = MAX_SESSIONS,
) -> None:
    """Answer below `/v1`, and at `/healthz`, `/readyz`, `/openapi.json` and `/docs`.

    To be called before the page is mounted, which takes every other address. What the API has begun ends with the
    application. `turns` counts the recordings of each client that are in work, here and on the page;
    `max_kept` finished analyses and `max_streams` streams are there at a time.
    """
    turns = turns or recognizer.admission.limit
    jobs = Jobs(recognizer, max_kept)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await jobs.restore()
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
    _add(router, "POST /v1/analyses", Analyses(recognizer, jobs).create, "createAnalysis", operations.CREATED)
    _add(router, "GET /v1/analyses/{id}", by_id.show, "getAnalysis", operations.SHOWN)
    _add(router, "DELETE /v1/analyses/{id}", by_id.delete, "deleteAnalysis", operations.DELETED)
    _add(router, "GET /v1/analyses/{id}/events", Events(jobs).stream, "followAnalysis", operations.EVENTS)
    _add(router, "GET /v1/analyses/{id}/files", by_id.list_files, "listFiles", operations.FILES)
    _add(router, "GET /v1/analyses/{id}/files/{name}", by_id.file, "getFile", operations.FILE)


def _add_about(router: APIRouter, about: About) -> None:
    _add(router, "GET /v1/labels", about.labels, "listLabels", operations.plain("LabelList", "The labels."))
    _add(router, "GET /v1/models", about.models, "listModels", operations.plain("ModelList", "The models."))
    _add(router, "GET /v1/status", about.status, "getStatus", operations.plain("StatusRecord", "The status."))
    _add(router, "GET /healthz", about.health, "getHealth", operations.HEALTHY)
    _add(router, "GET /readyz", about.readiness, "getReadiness", operations.READY)


def _add(
    router: APIRouter, method_and_path: str, endpoint: Callable[..., Any], name: str, answers: operations.Responses
) -> None:
    method, path = method_and_path.split()
    router.add_api_route(
        path,
        endpoint,
        methods=[method],
        operation_id=name,
        response_class=Response,
        response_model=None,
        responses=answers,
        status_code=204 if 204 in answers else 200,
        openapi_extra=operations.TAKES_RECORDINGS if method == "POST" else None,
    )
