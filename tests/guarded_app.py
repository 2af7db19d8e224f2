"""An application that says who asks, for tests of what stands before it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from emotion.access import client_of

Answer = Callable[[Request], Awaitable[Response]]


async def who(request: Request) -> Response:
    client = client_of(request.scope)
    return JSONResponse({"name": client.name, "folder": client.folder})


async def count_body(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(client_of(socket.scope).name)
    await socket.close()


def application(*guards: Middleware, answer: Answer = who) -> Starlette:
    routes = [
        WebSocketRoute("/live", talk),
        Route("/{path:path}", answer, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"]),
    ]
    return Starlette(routes=routes, middleware=list(guards))


def ask(app: Any, method: str = "GET", path: str = "/", **wish: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=wish.pop("client", ("10.0.0.7", 1)))
        async with httpx.AsyncClient(transport=transport, base_url=wish.pop("base", "http://studio")) as client:
            return await client.request(method, path, **wish)

    return asyncio.run(send())
