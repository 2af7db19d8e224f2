"""Two small promises of every address: no other site may frame it, and HEAD says what GET would."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "Content-Security-Policy"


class FrameAncestors:
    """Lets only pages of the same origin frame what is answered: two clicks in a hidden frame could delete a run."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Frame-Options", "SAMEORIGIN")
                if "frame-ancestors" not in headers.get(_POLICY, ""):
                    headers.append(_POLICY, "frame-ancestors 'self'")
            await send(message)

        await self._app(scope, receive, send_with_policy if scope["type"] == "http" else send)


class HeadAsGet:
    """Answers HEAD as GET without the body, since most routes know GET alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
