"""The endpoints, joined with the application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.routing import Route

from emotion.access.limits import Turns
from emotion.api.analyses import Analyses
from emotion.api.jobs import MOST_KEPT, Jobs
from emotion.api.kept import Kept
from emotion.api.problems import Elsewhere, ProblemRoute
from emotion.monitor import StudioWatch
from emotion.recognizer import Recognizer


def add_api(
    app: FastAPI,
    recognizer: Recognizer,
    watch: StudioWatch,
    turns: Turns | None = None,
    most_kept: int = MOST_KEPT,
) -> None:
    """Answer below `/v1`, and at `/healthz`, `/readyz`, `/openapi.json` and `/docs`.

    To be called before the page is mounted, which takes every other address. What the API has begun ends with the
    application. `turns` counts the recordings of each client that are in work, here and on the page.
    """
    turns = turns or Turns(recognizer.settings.jobs_per_client)
    jobs = Jobs(recognizer, turns, most_kept)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await jobs.close()

    router = APIRouter(prefix="/v1", route_class=ProblemRoute, lifespan=lifespan)
    _add_analyses(router, Analyses(recognizer, jobs), Kept(jobs))
    app.include_router(router)
    app.router.routes.append(Route("/v1/{rest:path}", Elsewhere(router.routes), include_in_schema=False))


def _add_analyses(router: APIRouter, analyses: Analyses, kept: Kept) -> None:
    router.add_api_route("/analyses", analyses.create, methods=["POST"])
    router.add_api_route("/analyses/{id}", kept.show, methods=["GET"])
    router.add_api_route("/analyses/{id}", kept.forget, methods=["DELETE"])
    router.add_api_route("/analyses/{id}/files", kept.list_files, methods=["GET"])
    router.add_api_route("/analyses/{id}/files/{name}", kept.file, methods=["GET"])
