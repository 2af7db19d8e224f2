"""Counts every request and writes one line of log for it, in place of the web server's own.

Nothing of what a client may choose freely gets into a label or a line: no path, no query, no header.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion.access.clients import address_of
from emotion.access.middleware import WatchedSend
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


class RequestMetrics:
    """ASGI middleware around the whole application, outside of what refuses requests, so that refusals count too."""

    def __init__(self, app: ASGIApp, metrics: Metrics, route_of: RouteOf = lambda _: None) -> None:
        """`route_of` is asked about requests that were refused before a router saw them, and about no others."""
        self._app, self._metrics, self._route_of = app, metrics, route_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Exchange(scope, send, self._metrics, self._route_of).run(self._app, receive)
            return
        with self._metrics.sockets.track_inprogress() if scope["type"] == "websocket" else nullcontext():
            await self._app(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send, metrics: Metrics, route_of: RouteOf) -> None:
        self._scope, self._metrics, self._route_of = scope, metrics, route_of
        self._answer = WatchedSend(send)
        self._started_s = time.perf_counter()
        self._outer_app = scope.get("app")
        self._is_stream = False

    async def run(self, app: ASGIApp, receive: Receive) -> None:
        unanswered = _CLIENT_LEFT
        try:
            with self._metrics.in_flight.track_inprogress():
                await app(self._scope, receive, self._pass_on)
        except Exception:
            unanswered = 500
            raise
        finally:
            self._end(self._answer.status or unanswered)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answer.status = message["status"]  # the name of the route depends on it
            self._is_stream = Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
            if self._is_stream:
                self._observe_time()
        await self._answer(message)

    def _end(self, status: int) -> None:
        self._metrics.requests.labels(self._route, self._method, str(status)).inc()
        if not self._is_stream:
            self._observe_time()
        self._write_line(status)

    def _observe_time(self) -> None:
        self._metrics.request_time.labels(self._route, self._method).observe(time.perf_counter() - self._started_s)

    def _write_line(self, status: int) -> None:
        route = self._route
        state: Mapping[str, Any] = self._scope.get("state") or {}
        address = f"address:{address_of(self._scope)}" if self._scope.get("client") else NO_REQUEST
        client = getattr(state.get("client"), "name", None) or address
        is_quiet = route in _QUIET and status < 400
        level = logging.ERROR if status == 500 else logging.DEBUG if is_quiet else logging.INFO
        elapsed_ms = round((time.perf_counter() - self._started_s) * 1000, 1)
        fields = {"method": self._method, "route": route, "status": status, "client": client}
        with request_scope(state.get("request_id") or request_id()):
            _LOG.log(
                level,
                "answered" if self._answer.is_whole else "left before the end",
                extra={"stage": "answered", **fields, "elapsed_ms": elapsed_ms},
            )

    @cached_property
    def _route(self) -> str:
        """The template of the route, as `/v1/analyses/{id}`; one word for all addresses that are none of ours.

        Read it only when the answer has begun, or when none will come.
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
        return PAGE if 0 < self._answer.status < 400 else UNMATCHED

    @property
    def _method(self) -> str:
        method: str = self._scope["method"]
        return method if method in _METHODS else OTHER
