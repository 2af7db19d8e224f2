"""One recording that the API was given, from its acceptance until it is deleted."""

import asyncio
import secrets
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from emotion.analysis import Analysis, AnalysisRequest
from emotion.api.job_result import JobResult
from emotion.engine import Progress
from emotion.errors import EmotionError, GivenUp, Unexpected
from emotion.logs.request_context import NO_REQUEST

JobState = Literal["queued", "running", "done", "failed", "cancelled", "given_up"]
_ID_DIGITS = 32
_NO_PROGRESS = Progress("waiting", 0, 0, 0)


@dataclass(frozen=True)
class StoredJob:
    """What is stored of a job.

    - `queued`: an earlier server left the job, and it waits to be started again. `running`: the engine has it.
      `given_up`: the server broke down each time that the job was running.
    - `attempts` is how often the job was started, `ended` when it was over, in seconds since 1970.
    - `code` and `message` say why it failed; `cached`, `duration_s` and `timings_ms` belong to a result.
    """

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    name: str
    request: AnalysisRequest
    created: str
    path: str
    request_id: str = NO_REQUEST
    state: JobState = "running"
    attempts: int = 1
    ended: float = 0.0
    cached: bool = False
    duration_s: float = 0.0
    timings_ms: dict[str, float] = field(default_factory=dict)
    code: str = ""
    message: str = ""

    @property
    def is_over(self) -> bool:
        return self.state not in ("queued", "running")

    def failed(self, error: Exception, ended: float) -> "StoredJob":
        """The record of this job once it ended with an error; the text of an unexpected one is not stored."""
        known = error if isinstance(error, EmotionError) else Unexpected()
        state: JobState = "given_up" if isinstance(error, GivenUp) else "failed"
        return replace(self, state=state, ended=ended, code=known.code, message=known.message)


@dataclass(eq=False, slots=True)
class Job:
    """A job in the memory of the server.

    `future` is there while the engine works, `task` until the outcome is kept: a `result` or an `error`. `stored` is
    there once the job is to survive the server, and says whether it could be written down. `progress` is the last
    that is known.
    """

    record: StoredJob
    future: Future[Analysis] | None = None
    task: asyncio.Task[None] | None = None
    result: JobResult | None = None
    error: Exception | None = None
    stored: asyncio.Future[bool] | None = None
    progress: Progress = _NO_PROGRESS

    @property
    def is_over(self) -> bool:
        return self.record.is_over

    @property
    def client(self) -> str:
        return self.record.request.client

    def set_state(self, state: JobState) -> None:
        self.record = replace(self.record, state=state)


def job_ids() -> Iterator[str]:
    """Identifiers that nobody can guess: 32 hexadecimal digits."""
    while True:
        # Many at a time: asking the system releases Python's lock, and a busy decoder then keeps it for milliseconds.
        digits = secrets.token_hex(256 * _ID_DIGITS // 2)
        yield from (digits[start : start + _ID_DIGITS] for start in range(0, len(digits), _ID_DIGITS))
