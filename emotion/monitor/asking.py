"""The status of a server, asked over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from emotion.errors import EmotionError
from emotion.monitor.advice import Advice
from emotion.monitor.status import StudioStatus

PATH = "/v1/status"
_PATIENCE_S = 5.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
Answer = Literal["status", "nobody", "key", "stranger"]


@dataclass(frozen=True)
class Told:
    """What came back: a `status`, or why there is none: `nobody` answered, a `key` is needed, or a `stranger` answered.

    `record` is the answer as it came.
    """

    answer: Answer
    status: StudioStatus | None = None
    advice: tuple[Advice, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)


def address_of(url: str) -> str:
    """The root of a server for what a person types: `host:8000` is `http://host:8000`.

    Raises EmotionError for what is no address.
    """
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        is_address = False
    if not is_address:
        raise EmotionError(f"{url!r} is no address of a server. Write it as http://127.0.0.1:7860.")
    return whole.rstrip("/")


def ask(address: str, key: str | None = None) -> Told:
    """Ask the server at this address how it is; waits for 5 s at most. The key goes to no other address."""
    import httpx  # only here: it takes a tenth of a second

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # A proxy for the world outside knows nothing of this machine.
    is_far = urlsplit(address).hostname not in _LOOPBACK
    try:
        answer = httpx.get(address + PATH, headers=headers, timeout=_PATIENCE_S, trust_env=is_far)
    except (httpx.HTTPError, httpx.InvalidURL):
        return Told("nobody")
    if answer.status_code in (401, 403):
        return Told("key")
    try:
        record = answer.json()
        status = StudioStatus.from_record(record)
        advice = tuple(Advice(str(one["code"]), dict(one["values"])) for one in record.get("advice", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Told("stranger")
    return Told("status", status, advice, record)
