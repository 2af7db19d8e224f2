"""Serves the application until it is told to end."""

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from emotion.engine.recognizer import AUTO, ModelState, Recognizer, ReportDownload, fetch_named_model
from emotion.errors import EmotionError
from emotion.logs import set_up_logs
from emotion.server.application import check_settings, make_app
from emotion.server.drain import DrainState, StudioServer
from emotion.server.http_limits import BoundedProtocol
from emotion.server.temporary import private_folder
from emotion.settings import Settings, load_settings

Say = Callable[[str], None]
_LOOK_AT_MODEL_S = 0.5
# Longer than a proxy keeps its connections to us, so that none is closed in the moment in which it is used.
_KEEP_ALIVE_S = 75


def serve(settings: Settings, say: Say, on_download: ReportDownload | None = None, cluster: bool = False) -> None:
    """Serve until interrupted, and say where and with which model; raises EmotionError if it cannot listen there.

    A model that is named and not here is downloaded first; `on_download(done_bytes, total_bytes)` follows that. With
    `cluster` the replicas of a Ray cluster recognise.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    check_settings(settings)
    set_up_logs(settings.log_level, settings.log_format)
    with private_folder(), _listen(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if cluster:
            recognizer = _open_cluster(settings, say, on_download)
        else:
            recognizer = Recognizer(settings=settings, take_over=settings.model == AUTO, on_download=on_download)
        ending = DrainState()
        with recognizer, _telling(recognizer, say):
            app = make_app(recognizer, lambda: say(f"Emotion2Vec+ Studio is on {address} (Ctrl+C ends it)"), ending)
            StudioServer(web_config(app, settings), recognizer, ending, say).run(sockets=[listener])


def cluster_application(args: dict[str, Any]) -> Any:
    """What `serve run config/ray-serve.yaml` deploys: page and API before the replicas; `args` are settings by name."""
    from emotion.cluster import front_deployment

    settings = load_settings(None, **args)
    check_settings(settings)
    return front_deployment(settings, make_app)


def _open_cluster(settings: Settings, say: Say, on_download: ReportDownload | None) -> Recognizer:
    from emotion.cluster import require_listener, start_cluster

    require_listener(settings.cluster_address)  # before a model is fetched that nobody would use
    fetch_named_model(settings, on_download)
    say(f"cluster: {f'joining {settings.cluster_address}' if settings.cluster_address else 'starting on this machine'}")
    return Recognizer(settings=settings, engine=start_cluster(settings))


def web_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the web server treats connections; who asks, and how, is what `trusted_proxies` say it is."""
    from emotion.live.socket import MAX_SOUND_BYTES

    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        log_level="warning",
        # A line for each request is written by RequestMetrics.
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        # What is larger is refused before it is in memory; sound does not get smaller by deflating it.
        ws_max_size=MAX_SOUND_BYTES,
        ws_per_message_deflate=False,
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
