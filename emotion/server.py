"""Joins recogniser, page and API in one FastAPI application, guards it, and serves it until it is told to end."""

import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from emotion.access import Turns
from emotion.access.ending import Ending, EndingDoor
from emotion.access.gate import AccessGate
from emotion.access.keys import Keyring
from emotion.access.limits import RateLimiter
from emotion.access.login import SignIn
from emotion.access.middleware import BodyLimit, Faults, KnownHosts, RateLimit, RequestId
from emotion.access.origins import LOOPBACK, known_hosts, known_origins
from emotion.access.sessions import Sessions
from emotion.access.studio_server import StudioServer
from emotion.access.wire import BoundedProtocol
from emotion.errors import EmotionError, command_line
from emotion.logs import set_up_logs
from emotion.metrics import Metrics, Traffic
from emotion.monitor import StudioWatch
from emotion.outputs.retention import Keeper, Retention
from emotion.recognizer import AUTO, ModelState, Recognizer, ReportDownload, fetch_named_model
from emotion.settings import Settings, load_settings

Say = Callable[[str], None]
_LOOK_AT_MODEL_S = 0.5
# Longer than a proxy keeps its connections to us, so that none is closed in the moment in which it is used.
_KEEP_ALIVE_S = 75
_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["Authorization", "Content-Type", "Prefer", "X-API-Key", "X-Request-ID"],
    "expose_headers": ["Location", "Preference-Applied", "Retry-After", "X-Cache", "X-Request-ID"],
}
# A route that answers as it likes; one of FastAPI, which names its template to those who count requests.
_PLAIN: dict[str, Any] = {"include_in_schema": False, "response_model": None}


def make_app(
    recognizer: Recognizer, on_start: Callable[[], None] = lambda: None, ending: Ending | None = None
) -> FastAPI:
    """The application around one recogniser: the page at `/`, the API at `/v1`; it ends with the recogniser.

    `ending` tells its doors when the server begins to end. Raises SettingsInvalid for keys or limits that are none.
    """
    from emotion.api import add_api
    from emotion.ui.page import mount_page  # gradio takes seconds to import, so only when the page is served

    settings = recognizer.settings
    keyring, sessions = Keyring.of(settings), Sessions()
    watch, turns = StudioWatch(recognizer.engine, settings.inference_threads), Turns(settings.jobs_per_client)
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
    mount_page(app, recognizer, watch, turns)  # takes every address that is left
    for guard in reversed(_guards(settings, keyring, sessions, metrics, ending or Ending())):
        app.add_middleware(guard.cls, *guard.args, **guard.kwargs)
    return app


def _guards(
    settings: Settings, keyring: Keyring, sessions: Sessions, metrics: Metrics, ending: Ending
) -> list[Middleware]:
    """What a request passes, from the outside in."""
    names, origins = known_hosts(settings, keyring.asks), known_origins(settings, keyring.asks)
    limiter = RateLimiter(settings.rate_limit)
    guards = [
        Middleware(RequestId),
        Middleware(Traffic, metrics),
        Middleware(Faults),
        Middleware(EndingDoor, ending),
        Middleware(KnownHosts, names) if names else None,
        # Outside of the gate, since a browser asks without a key whether it may come with one.
        Middleware(CORSMiddleware, allow_origins=sorted(origins), **_CORS) if origins else None,
        Middleware(BodyLimit, settings.max_body_bytes),
        Middleware(AccessGate, keyring, sessions, origins),
        Middleware(RateLimit, limiter) if settings.rate_limit.strip() else None,
    ]
    return [guard for guard in guards if guard is not None]


def _lifespan(recognizer: Recognizer, on_start: Callable[[], None]) -> Callable[[FastAPI], Any]:
    settings = recognizer.settings
    keeper = Keeper(settings.outputs, Retention.of(settings.keep_days, settings.keep_gb))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        on_start()
        recognizer.warm_up()
        keeper.start()
        yield
        keeper.close()
        recognizer.close()

    return lifespan


def serve(settings: Settings, say: Say, on_download: ReportDownload | None = None, cluster: bool = False) -> None:
    """Serve until interrupted, and say where and with which model; raises EmotionError if it cannot listen there.

    A model that is named and not here is downloaded first; `on_download(done_bytes, total_bytes)` follows that. With
    `cluster` the replicas of a Ray cluster recognise.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    check_settings(settings)
    set_up_logs(settings.log_level, settings.log_format)
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    open_one = _open_cluster if cluster else _open_here
    recognizer, ending = open_one(settings, say, on_download), Ending()
    with recognizer, _telling(recognizer, say):
        app = make_app(recognizer, lambda: say(f"Emotion2Vec+ Studio is on {address} (Ctrl+C ends it)"), ending)
        StudioServer(web_config(app, settings), recognizer, ending, say).run(sockets=[listener])


def cluster_application(args: dict[str, Any]) -> Any:
    """What `serve run config/ray-serve.yaml` deploys: page and API before the replicas; `args` are settings by name."""
    from emotion.cluster import front_deployment

    settings = load_settings(None, **args)
    check_settings(settings)
    return front_deployment(settings, make_app)


def _open_here(settings: Settings, _: Say, on_download: ReportDownload | None) -> Recognizer:
    return Recognizer(settings=settings, take_over=settings.model == AUTO, on_download=on_download)


def _open_cluster(settings: Settings, say: Say, on_download: ReportDownload | None) -> Recognizer:
    from emotion.cluster import start_cluster

    fetch_named_model(settings, on_download)
    say(f"cluster: {f'joining {settings.cluster_address}' if settings.cluster_address else 'starting on this machine'}")
    return Recognizer(settings=settings, engine=start_cluster(settings))


def web_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the web server treats connections; who asks, and how, is what `trusted_proxies` say it is."""
    from emotion.ui.live_socket import MAX_SOUND_BYTES

    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        log_level="warning",
        # A line for each request is written by Traffic.
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        # What is larger is refused before it is in memory; sound does not get smaller by deflating it.
        ws_max_size=MAX_SOUND_BYTES,
        ws_per_message_deflate=False,
    )


def check_settings(settings: Settings) -> None:
    """Raise SettingsInvalid or EmotionError for access that cannot be, before anything is opened."""
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


def describe(state: ModelState) -> str:
    """One line on which model answers, for the terminal."""
    if state.phase == "ready":
        return f"model: {state.card.name}, {state.card.runtime} {state.card.precision} on {state.card.device}"
    if state.phase == "downloading":
        # In tenths: a terminal is no place for a hundred lines.
        tenths = 10 * state.done_bytes // state.total_bytes if state.total_bytes else 0
        return f"model: downloading {state.wanted}, {10 * tenths} %; the built-in model answers meanwhile"
    if state.phase == "built_in":
        return f"model: the built-in one answers (small, less accurate). {state.reason or ''}".rstrip()
    return f"model: {'asking the hub for' if state.phase == 'asking' else 'loading'} {state.wanted}"


@contextmanager
def _telling(recognizer: Recognizer, say: Say) -> Iterator[None]:
    """Say each change of the model once, as long as the context lasts."""
    ended = threading.Event()

    def tell() -> None:
        said = ""
        while not ended.wait(_LOOK_AT_MODEL_S):
            line = describe(recognizer.state)
            if line != said:
                say(line)
            said = line

    thread = threading.Thread(target=tell, name="telling", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _listen(host: str, port: int) -> socket.socket:
    # Bound before the model loads, so that a port in use is said at once.
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EmotionError(
                f"Port {port} is in use. Stop the other program, or choose another port: --port {port + 1}"
            ) from None
        raise EmotionError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
