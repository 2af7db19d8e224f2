"""A client of the HTTP API: recordings in, records out, without a model on this machine.

    with Client("http://127.0.0.1:7860", key="...") as client:
        record = client.analyze("call.m4a", granularity="frame")
        print(record["emotion"], record["confidence"])

Needs httpx only; what the server says no to is a `Refused`.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, cast
from urllib.parse import urlsplit

import httpx

from emotion.errors import ClipNotFound, EmotionError
from emotion.record import AnalysisRecord as Record
from emotion.record import EmbeddingRecord as Embedding
from emotion.record import FrameRecord as Frame
from emotion.record import Granularity
from emotion.record import JobRecord as Job
from emotion.record import ProgressRecord as Progress
from emotion.record import SegmentRecord as Segment

__all__ = [
    "AnalysisOptions",
    "Client",
    "Embedding",
    "Frame",
    "Job",
    "Progress",
    "Record",
    "Refused",
    "Segment",
    "ServerAway",
    "embedding_of",
]

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LATER = (429, 503)
# What a proxy says when the server behind it is away.
_AWAY = (502, 504)
_AWAY_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0


class Refused(EmotionError):
    """What the server refused; `status` is that of HTTP, `problem` what it said, `retry_s` when it may go better."""

    code = "refused"

    def __init__(self, status: int, problem: Mapping[str, Any], retry_s: float | None = None) -> None:
        super().__init__(str(problem.get("detail") or f"The server answered with status {status}."), status=status)
        self.code = str(problem.get("code") or self.code)
        self.status, self.problem, self.retry_s = status, dict(problem), retry_s


class ServerAway(EmotionError):
    """Nobody answers at the address, or the answer broke off."""

    code = "server_away"
    template = "{url} does not answer ({reason}). Check the address, and that the server runs."
    url: str
    reason: str


class AnalysisOptions(TypedDict, total=False):
    """What may be asked for beside the analysis itself; `name` is what the record calls the recording."""

    granularity: Granularity
    embedding: Literal["none", "npy", "base64"]
    exports: Iterable[str]
    name: str | None


class Client:
    """Asks one server; use it as a context, or call `close`. Several threads may share it.

    `key` is sent with every request. Where the server says that it is busy, a request is tried again when the server
    says so, for `patience_s` in all. `timeout_s` is how long an answer may keep one waiting.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:7860",
        key: str | None = None,
        *,
        patience_s: float = 60.0,
        timeout_s: float = 300.0,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url, self._patience_s = url, patience_s
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0))
        # A proxy for the world outside knows nothing of this machine.
        is_far = urlsplit(url).hostname not in ("127.0.0.1", "::1", "localhost")
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=is_far)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def analyze(
        self,
        recording: Path | str | bytes,
        *,
        on_progress: Callable[[Job], None] | None = None,
        **wanted: Unpack[AnalysisOptions],
    ) -> Record:
        """The record of a file or of its bytes; waits until it is done, however long it is.

        With `on_progress` the recording is a job from the start, and each look at it is told. Raises Refused and
        ServerAway.
        """
        answer = self._upload(recording, wanted, wants_job=on_progress is not None)
        return cast(Record, answer.json()) if answer.status_code == 200 else self.wait(answer.json(), on_progress)

    def submit(self, recording: Path | str | bytes, **wanted: Unpack[AnalysisOptions]) -> Job:
        """Begin an analysis and return at once; `wait` has its record."""
        return cast(Job, self._upload(recording, wanted, wants_job=True).json())

    def wait(self, job: Job, on_progress: Callable[[Job], None] | None = None) -> Record:
        """The record of a job when it is done; asks as often as the server says.

        A job outlives its server, so one that is being started again is waited for too, for `patience_s`.
        """
        while True:
            answer = self._ask("GET", f"/v1/analyses/{job['id']}", outlasts_server=True)
            if answer.status_code != 202:
                return cast(Record, answer.json())
            job = cast(Job, answer.json())
            if on_progress is not None:
                on_progress(job)
            time.sleep(_retry_s(answer) or 1.0)

    def delete_job(self, job: Job) -> None:
        """Cancel a job, and delete what the server keeps of it."""
        self._ask("DELETE", f"/v1/analyses/{job['id']}")

    analyse, forget = analyze, delete_job  # what they were called until 0.4

    def fetch(self, record: Record, name: str, target: Path | str) -> Path:
        """Write a file of a record, one of `record["files"]`, to a path or into a folder; its path."""
        path = Path(target)
        path = path / Path(name).name if path.is_dir() else path
        address = record.get("files", {}).get(name)
        if address is None:
            raise Refused(404, {"detail": f"The record has no file {name!r}.", "code": "file_not_found"})
        # Without what a proxy may have put before it, which the address of this client has too.
        address = address[address.index("/v1/") :]
        path.write_bytes(self._ask("GET", address).content)
        return path

    def labels(self) -> list[dict[str, Any]]:
        """The emotions that the model of the server can tell."""
        return cast("list[dict[str, Any]]", self._ask("GET", "/v1/labels").json()["labels"])

    def models(self) -> dict[str, Any]:
        """Which model answers, and which are on the server."""
        return cast("dict[str, Any]", self._ask("GET", "/v1/models").json())

    def status(self) -> dict[str, Any]:
        """How machine, engine and queue of the server do."""
        return cast("dict[str, Any]", self._ask("GET", "/v1/status").json())

    def _upload(self, recording: Path | str | bytes, wanted: AnalysisOptions, *, wants_job: bool) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"} | ({"Prefer": "respond-async"} if wants_job else {})
        query = {**wanted, "exports": list(wanted.get("exports", ()))}
        if isinstance(recording, bytes):
            return self._ask("POST", "/v1/analyses", query, headers, recording)
        path = Path(recording)
        if not path.is_file():
            raise ClipNotFound(path.name)
        return self._ask("POST", "/v1/analyses", {**query, "name": wanted.get("name") or path.name}, headers, path)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Path | None = None,
        *,
        outlasts_server: bool = False,
    ) -> httpx.Response:
        """One request, again and again while the server asks for patience, or with `outlasts_server` is away.

        Raises Refused for any other refusal, and ServerAway.
        """
        give_up_s = time.monotonic() + self._patience_s
        wanted = {key: value for key, value in (query or {}).items() if value is not None}
        while True:
            error: Refused | ServerAway
            try:
                # A file is sent as it is read, and so never in memory as a whole.
                with body.open("rb") if isinstance(body, Path) else nullcontext(body) as content:
                    answer = self._http.request(method, path, params=wanted, headers=headers, content=content)
                if answer.status_code < 300:
                    return answer
                error = _refused(answer)
            except httpx.HTTPError as reason:
                error = ServerAway(self._url, type(reason).__name__)
            pause_s = _pause_s(error, outlasts_server)
            if pause_s is None or time.monotonic() + pause_s > give_up_s:
                raise error
            time.sleep(pause_s)


def embedding_of(record: Record) -> "NDArray[np.float32]":
    """The embedding of a record that was asked for with `embedding="base64"`, [D] or [T, D]; needs numpy."""
    import base64

    import numpy as np

    embedding = record.get("embedding")
    if embedding is None or "base64" not in embedding:
        raise EmotionError("This record holds no embedding. Ask for it with embedding='base64'.")
    numbers: NDArray[np.float32] = np.frombuffer(base64.b64decode(embedding["base64"]), embedding["dtype"])
    return numbers.reshape(embedding["shape"])


def _pause_s(error: Refused | ServerAway, outlasts_server: bool) -> float | None:
    """How long to wait before the request is sent again, None to give up."""
    if isinstance(error, Refused) and error.status in _LATER:
        return error.retry_s
    is_away = isinstance(error, ServerAway) or error.status in _AWAY
    return _AWAY_PAUSE_S if is_away and outlasts_server else None


def _refused(answer: httpx.Response) -> Refused:
    try:
        problem = answer.json()
    except ValueError:  # a proxy in between has its own words
        problem = {}
    return Refused(answer.status_code, problem if isinstance(problem, dict) else {}, _retry_s(answer))


def _retry_s(answer: httpx.Response) -> float | None:
    """What Retry-After says, in seconds; None where it says nothing, or a date."""
    given = answer.headers.get("retry-after", "")
    return min(float(given), _LONGEST_PAUSE_S) if given.isascii() and given.isdecimal() else None
