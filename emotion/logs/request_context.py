"""Which request the current work belongs to, for logs; threads share no context, so `thread` hands it on."""

import contextvars
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NO_REQUEST = "-"
_REQUEST_ID: ContextVar[str] = ContextVar("request_id", default=NO_REQUEST)


def request_id() -> str:
    """The id of the request at hand, NO_REQUEST outside of one."""
    return _REQUEST_ID.get()


def new_request_id() -> str:
    """An id of 16 hexadecimal digits that no two requests share."""
    return secrets.token_hex(8)


def thread(name: str, target: Callable[..., object], *arguments: object) -> threading.Thread:
    """A thread whose work belongs to the request at hand; it is not started."""
    return threading.Thread(target=contextvars.copy_context().run, args=(target, *arguments), name=name)


@contextmanager
def request_scope(identity: str) -> Iterator[None]:
    """What happens in the context belongs to this request."""
    token = _REQUEST_ID.set(identity)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)
