"""One recording that the API was given."""

import asyncio
import secrets
from concurrent.futures import Future
from dataclasses import dataclass

from emotion.access import Client
from emotion.analysis import Analysis
from emotion.api.answers import Answer
from emotion.api.wishes import Wish
from emotion.engine import Progress

_ID_BYTES = 16
_NOTHING_YET = Progress("waiting", 0, 0, 0)


@dataclass(eq=False, slots=True)
class Job:
    """One recording of one client, from its acceptance until it is forgotten.

    `future` is there while the engine works, then either `answer` or `error`; `task` ends when one of them is there.
    `promised` is there once the job is to outlive the server, and says whether it does. `is_left_over` means that an
    earlier server left it and this one has not begun it.
    """

    identity: str
    client: Client
    name: str
    wish: Wish
    created: str
    path: str
    future: Future[Analysis] | None = None
    task: asyncio.Task[None] | None = None
    answer: Answer | None = None
    error: Exception | None = None
    was_cancelled: bool = False
    last: Progress = _NOTHING_YET
    ended_s: float = 0.0
    promised: asyncio.Future[bool] | None = None
    is_left_over: bool = False

    @property
    def is_over(self) -> bool:
        return self.answer is not None or self.error is not None


class Identities:
    """Names that nobody can guess: 32 hexadecimal digits."""

    def __init__(self) -> None:
        self._random = b""

    def next(self) -> str:
        # Some at a time: asking the system lets go of Python's lock, and a busy decoder keeps it for milliseconds.
        if not self._random:
            self._random = secrets.token_bytes(256 * _ID_BYTES)
        identity, self._random = self._random[:_ID_BYTES].hex(), self._random[_ID_BYTES:]
        return identity
