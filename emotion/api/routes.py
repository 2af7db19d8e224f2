"""The endpoints, joined with the application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from starlette.routing import Route

from emotion.api import responses
from emotion.api.about import About
from emotion.api.analyses import Analyses
from emotion.api.description import Description
from emotion.api.events import Events
from emotion.api.jobs import Jobs
from emotion.api.kept import Kept
from emotion.api.problems import NotFound, ProblemRoute
from emotion.api.shelf import MOST_KEPT
from emotion.api.stream import Streams
from emotion.engine import ConcurrencyLimit
from emotion.engine.recognizer import Recognizer
from emotion.live.socket import MOST_SESSIONS
from emotion.monitor import StudioWatch


def add_api(
    app: FastAPI,
    recognizer: Recognizer,
    watch: StudioWatch,
    turns: ConcurrencyLimit | None = None,
    most_kept: int = MOST_KEPT,
    most_streams: int = MOST_SESSIONS,
) -> None:
    """Answer below `/v1`, and at `/healthz`, `/readyz`, `/openapi.json` and `/docs`.

    To be called before the page is mounted, which takes every other address. What the API has begun ends with the
    application. `turns` counts the recordings of each client that are in work, here and on the page;
    `most_kept` finished analyses and `most_streams` streams are there at a time.
    """
    turns = turns or recognizer.admission.limit
    jobs = Jobs(recognizer, turns, most_kept)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await jobs.restore()
        yield
        await jobs.close()

    router = APIRouter(route_class=ProblemRoute, lifespan=lifespan)
    _add_analyses(router, recognizer, jobs)
    _add_about(router, About(recognizer, watch))
    router.add_api_websocket_route("/v1/stream", Streams(recognizer, jobs, turns, most_streams).enter)
    description = Description(router.routes, recognizer.settings)
    app.include_router(router)
    for path in ("/v1/{rest:path}", "/healthz", "/readyz"):
        app.router.routes.append(Route(path, NotFound(router.routes), include_in_schema=False))
    app.add_api_route("/openapi.json", description.openapi, include_in_schema=False)
    app.add_api_route("/docs", description.page, include_in_schema=False)


def _add_analyses(router: APIRouter, recognizer: Recognizer, jobs: Jobs) -> None:
    kept = Kept(jobs)
    _add(router, "POST /v1/analyses", Analyses(recognizer, jobs).create, "createAnalysis", responses.CREATED)
    _add(router, "GET /v1/analyses/{id}", kept.show, "getAnalysis", responses.SHOWN)
    _add(router, "DELETE /v1/analyses/{id}", kept.forget, "deleteAnalysis", responses.DELETED)
    _add(router, "GET /v1/analyses/{id}/events", Events(jobs).stream, "followAnalysis", responses.EVENTS)
    _add(router, "GET /v1/analyses/{id}/files", kept.list_files, "listFiles", responses.FILES)
    _add(router, "GET /v1/analyses/{id}/files/{name}", kept.file, "getFile", responses.FILE)


def _add_about(router: APIRouter, about: About) -> None:
    _add(router, "GET /v1/labels", about.labels, "listLabels", responses.plain("LabelList", "The labels."))
    _add(router, "GET /v1/models", about.models, "listModels", responses.plain("ModelList", "The models."))
    _add(router, "GET /v1/status", about.status, "getStatus", responses.plain("StatusRecord", "The status."))
    _add(router, "GET /healthz", about.health, "getHealth", responses.HEALTHY)
    _add(router, "GET /readyz", about.readiness, "getReadiness", responses.READY)


def _add(
    router: APIRouter, method_and_path: str, endpoint: Callable[..., Any], name: str, answers: responses.Responses
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
        openapi_extra=responses.TAKES_RECORDINGS if method == "POST" else None,
    )
