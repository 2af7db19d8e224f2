"""Joins the recogniser and the page in one FastAPI application and serves it."""

import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from emotion.errors import EmotionError
from emotion.recognizer import Recognizer
from emotion.settings import Settings

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def make_app(recognizer: Recognizer) -> FastAPI:
    """The application around one recogniser: the page at `/`; the recogniser closes when the application ends."""
    from emotion.ui.page import mount_page  # gradio takes seconds to import, so only when the page is served

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        recognizer.close()

    return mount_page(
        FastAPI(title="Emotion2Vec+ Studio", lifespan=lifespan, docs_url=None, redoc_url=None), recognizer
    )


def serve(settings: Settings) -> None:
    """Serve until interrupted; raises EmotionError when the address cannot be used."""
    import uvicorn

    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if not settings.insecure:
        _refuse_open_address(settings.host)
    listener = _listen(settings.host, settings.port)
    with Recognizer(settings=settings, take_over=settings.model == "auto") as recognizer:
        config = uvicorn.Config(make_app(recognizer), log_level="warning", ws_max_size=1 << 20)
        uvicorn.Server(config).run(sockets=[listener])


def _refuse_open_address(host: str) -> None:
    if host not in _LOOPBACK:
        raise EmotionError(
            f"Listening on {host} would let anyone on the network use this page without a key. Keep 127.0.0.1, and "
            "reach it from elsewhere through an SSH tunnel or a proxy that asks for a password. "
            "--insecure does it anyway."
        )


def _listen(host: str, port: int) -> socket.socket:
    # Bound before the model loads, so that a port in use is said at once.
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise EmotionError(
                f"Port {port} is in use. Stop the other program, or choose one: --port {port + 1}"
            ) from None
        raise EmotionError(f"{host}:{port} cannot be listened on: {error.strerror}.") from None
    listener.set_inheritable(True)
    return listener
