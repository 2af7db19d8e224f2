"""Counts every request and writes one line of log for it, in place of the web server's own.

Nothing of what a client may choose freely gets into a label or a line: no path, no query, no header.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.logs.request_context import NO_REQUEST, request_id, request_scope
from emotion.metrics.counting import Metrics

_LOG = logging.getLogger("emotion.requests")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
# An address that is none of ours.
UNMATCHED = "unmatched"
# All that a mounted application, the page, answers: dozens of routes of its own, in which nobody looks for a cause.
PAGE = "page"
# What a client left before it was answered is called by nginx.
_CLIENT_LEFT = 499
# What probes and monitors ask, and what the page fetches by itself, would drown the rest; it is said at debug.
_QUIET = ("/healthz", "/readyz", "/metrics", "/v1/status", PAGE)


# The template of the route that a request is meant for, None where the application has none for it.
RouteOf = Callable[[Scope], str | None]


def _no_route(_: Scope) -> None:
    """Stands for the routes of an application that are not known."""


class RequestMetrics:
    """ASGI middleware around the whole application, outside of those who refuse, so that refusals count too."""

    def __init__(self, app: ASGIApp, metrics: Metrics, route_of: RouteOf = _no_route) -> None:
        """`route_of` is asked about requests that were refused before a router saw them, and about no others."""
        self._app, self._metrics, self._route_of = app, metrics, route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Exchange(scope, send, self._metrics, self._route_of).run(self._app, receive)
        elif scope["type"] == "websocket":
            with self._metrics.sockets.track_inprogress():
                await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics, route_of: RouteOf) -> None:
        self._scope, self._send, self._metrics, self._route_of = scope, send, metrics, route_of
        self._started_s = time.perf_counter()
        self._outer_app = scope.get("app")
        self._status = 0
        self._is_stream = False
        self._is_whole = False

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        try:
            with self._metrics.in_flight.track_inprogress():
                await app(self._scope, receive, self._pass_on)
        except BaseException as error:
            if isinstance(error, Exception):
                self._status = self._status or 500
            raise
        finally:
            self._end()

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._is_stream = _is_event_stream(message)
            if self._is_stream:
                self._observe_time()
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self._is_whole = True
        await self._send(message)

    def _end(self) -> None:
        status = self._status or _CLIENT_LEFT
        self._metrics.requests.labels(self._route, self._method, str(status)).inc()
        if not self._is_stream:
            self._observe_time()
        self._write_line(status)

    def _observe_time(self) -> None:
        self._metrics.request_time.labels(self._route, self._method).observe(time.perf_counter() - self._started_s)

    def _write_line(self, status: int) -> None:
        route = self._route
        state: Mapping[str, Any] = self._scope.get("state") or {}
        client = getattr(state.get("client"), "name", None) or _address(self._scope)
        elapsed_ms = round((time.perf_counter() - self._started_s) * 1000, 1)
        fields = {"method": self._method, "route": route, "status": status, "client": client}
        with request_scope(state.get("request_id") or request_id()):
            _LOG.log(
                _level(route, status),
                "answered" if self._is_whole else "left before the end",
                extra={"stage": "answered", **fields, "elapsed_ms": elapsed_ms},
            )

    @cached_property
    def _route(self) -> str:
        """The template of the route, as `/v1/analyses/{id}`; one word for all addresses that are none of ours.

        To be asked for when the answer has begun, or is not to come.
        """
        if self._outer_app is not None and self._scope.get("app") is not self._outer_app:
            return PAGE
        path = getattr(self._scope.get("route"), "path", None)
        if isinstance(path, str):
            return path
        # A router leaves its name; who refuses before it does not, and then the routes are looked through for this.
        meant = None if "router" in self._scope else self._route_of(self._scope)
        if meant is not None:
            return meant
        # The page stands behind a guard of its own, which hands it another scope.
        return PAGE if 0 < self._status < 400 else UNMATCHED

    @property
    def _method(self) -> str:
        method: str = self._scope["method"]
        return method if method in _METHODS else OTHER


def _level(route: str, status: int) -> int:
    if status == 500:
        return logging.ERROR
    return logging.DEBUG if route in _QUIET and status < 400 else logging.INFO


def _is_event_stream(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream") for name, value in start["headers"]
    )


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return f"address:{client[0]}" if client else NO_REQUEST
