"""Page and API in one FastAPI application around one recogniser, and the guards before it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match
from starlette.types import Scope

from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring
from emotion.access.limits import RateLimiter
from emotion.access.login import SignIn
from emotion.access.middleware import BodyLimit, ErrorMiddleware, KnownHosts, RateLimit, RequestId
from emotion.access.origins import LOOPBACK, known_hosts, known_origins
from emotion.access.sessions import Sessions
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError, command_line
from emotion.metrics import Metrics, RequestMetrics
from emotion.monitor import StudioWatch
from emotion.outputs.retention import Retention, RetentionTask
from emotion.server.drain import DrainMiddleware, DrainState
from emotion.server.page_headers import FrameAncestors, HeadAsGet
from emotion.settings import Settings

_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": [
        "Authorization", "Cache-Control", "Content-Disposition", "Content-Type", "Prefer", "X-API-Key", "X-Request-ID",
    ],
    "expose_headers": [
        "Cache-Status", "Content-Location", "Location", "Preference-Applied", "Retry-After", "Server-Timing",
        "X-Request-ID",
    ],
}  # fmt: skip
# A route that answers as it likes; one of FastAPI, which names its template to those who count requests.
_PLAIN: dict[str, Any] = {"include_in_schema": False, "response_model": None}


def make_app(
    recognizer: Recognizer, on_start: Callable[[], None] = lambda: None, ending: DrainState | None = None
) -> FastAPI:
    """The application around one recogniser: the page at `/`, the API at `/v1`; it ends with the recogniser.

    `ending` tells its middleware when the server begins to end. Raises SettingsInvalid for bad keys or limits.
    """
    from emotion.api import add_api
    from emotion.ui.page import mount_page  # gradio takes seconds to import, so only when the page is served

    settings = recognizer.settings
    keyring, sessions = Keyring.of(settings), Sessions()
    watch, turns = StudioWatch(recognizer.engine, settings.inference_threads), recognizer.admission.limit
    metrics = Metrics(recognizer.engine, watch)
    app = FastAPI(
        title="Emotion2Vec+ Studio",
        lifespan=_lifespan(recognizer, on_start),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    add_api(app, recognizer, watch, turns)
    app.add_api_route("/metrics", metrics.endpoint, **_PLAIN)
    if keyring.asks:
        for route in SignIn(keyring, sessions, settings.language).routes():
            app.add_api_route(route.path, route.endpoint, methods=list(route.methods or ()), **_PLAIN)
    mount_page(app, recognizer, watch)  # takes every address that is left
    for guard in reversed(_guards(settings, keyring, sessions, metrics, ending or DrainState())):
        app.add_middleware(guard.cls, *guard.args, **guard.kwargs)
    return app


def _guards(
    settings: Settings, keyring: Keyring, sessions: Sessions, metrics: Metrics, ending: DrainState
) -> list[Middleware]:
    """What a request passes, from the outside in."""
    names, origins = known_hosts(settings, keyring.asks), known_origins(settings, keyring.asks)
    limiter = RateLimiter(settings.rate_limit)
    guards = [
        Middleware(RequestId),
        Middleware(RequestMetrics, metrics, route_of),
        Middleware(HeadAsGet),
        Middleware(FrameAncestors),
        Middleware(ErrorMiddleware),
        Middleware(DrainMiddleware, ending),
        Middleware(KnownHosts, names) if names else None,
        # Outside of the gate, since a browser asks without a key whether it may come with one.
        Middleware(CORSMiddleware, allow_origins=sorted(origins), **_CORS) if origins else None,
        Middleware(BodyLimit, settings.max_body_bytes),
        Middleware(AccessGate, keyring, sessions, origins),
        Middleware(RateLimit, limiter) if settings.rate_limit.strip() else None,
    ]
    return [guard for guard in guards if guard is not None]


def route_of(scope: Scope) -> str | None:
    """The template of the route, as `/v1/analyses/{id}`, that a request is meant for which no router has seen yet.

    Also where only the method does not fit; None without one. The page, which takes every address that is left, counts
    as none.
    """
    other_method: str | None = None
    for context in iter_route_contexts(scope["app"].routes):
        route = context.original_route
        if not isinstance(route, APIRoute):
            continue
        match, _ = context.matches(scope)
        if match is Match.FULL:
            return route.path
        if match is Match.PARTIAL:
            other_method = other_method or route.path
    return other_method


def _lifespan(recognizer: Recognizer, on_start: Callable[[], None]) -> Callable[[FastAPI], Any]:
    settings = recognizer.settings
    keeper = RetentionTask(settings.outputs, Retention.of(settings.keep_days, settings.keep_gb))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        on_start()
        recognizer.warm_up()
        keeper.start()
        yield
        keeper.close()
        recognizer.close()

    return lifespan


def check_settings(settings: Settings) -> None:
    """Raise SettingsInvalid or EmotionError for settings of access that cannot be used."""
    keyring = Keyring.of(settings)
    RateLimiter(settings.rate_limit)
    known_origins(settings, keyring.asks)
    if settings.host not in LOOPBACK and not keyring.asks and not settings.insecure:
        raise EmotionError(
            f"Listening on {settings.host} would let anyone on the network use this server without a key. Make a key "
            f"for programs with `{command_line('keys new NAME')}`, or a password for the page with "
            f"`{command_line('keys password NAME')}`, and put the line that it prints into the settings. "
            "--insecure listens there all the same."
        )
