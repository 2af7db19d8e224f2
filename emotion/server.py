"""Joins the recogniser and the page in one FastAPI application and serves it."""

import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from emotion.errors import EmotionError
from emotion.outputs.retention import Keeper, Retention
from emotion.recognizer import AUTO, ModelState, Recognizer, ReportDownload
from emotion.settings import Settings

Say = Callable[[str], None]
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_LOOK_AT_MODEL_S = 0.5


def make_app(recognizer: Recognizer, on_start: Callable[[], None] = lambda: None) -> FastAPI:
    """The application around one recogniser: the page at `/`; the recogniser closes when the application ends."""
    from emotion.ui.page import mount_page  # gradio takes seconds to import, so only when the page is served

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

    app = FastAPI(title="Emotion2Vec+ Studio", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    if not settings.insecure:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_known_hosts(settings), www_redirect=False)
    return mount_page(app, recognizer)


def serve(settings: Settings, say: Say, on_download: ReportDownload | None = None) -> None:
    """Serve until interrupted, and say where and with which model; raises EmotionError if it cannot listen there.

    A model that is named and not here is downloaded first; `on_download(done_bytes, total_bytes)` follows that.
    """
    import uvicorn

    from emotion.ui.live_socket import MAX_SOUND_BYTES

    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if not settings.insecure:
        _refuse_open_address(settings.host)
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    recognizer = Recognizer(settings=settings, take_over=settings.model == AUTO, on_download=on_download)
    with recognizer, _telling(recognizer, say):
        app = make_app(recognizer, lambda: say(f"Emotion2Vec+ Studio is on {address} (Ctrl+C ends it)"))
        # What is larger is refused before it is in memory; sound does not get smaller by deflating it.
        config = uvicorn.Config(app, log_level="warning", ws_max_size=MAX_SOUND_BYTES, ws_per_message_deflate=False)
        uvicorn.Server(config).run(sockets=[listener])


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


def _refuse_open_address(host: str) -> None:
    if host not in _LOOPBACK:
        raise EmotionError(
            f"Listening on {host} would let anyone on the network use this page without a key. Keep 127.0.0.1, and "
            "reach it from elsewhere through an SSH tunnel or a proxy that asks for a password. "
            "--insecure does it anyway."
        )


def _known_hosts(settings: Settings) -> list[str]:
    """Names under which the page may be asked for.

    A page of a stranger can point a name of its own at this machine, and would then read the history in a browser of
    ours (DNS rebinding); the name in its requests gives it away.
    """
    named = [name.strip() for name in settings.allowed_hosts.split(",") if name.strip()]
    return [*sorted(_LOOPBACK), "[::1]", settings.host, *named]


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
