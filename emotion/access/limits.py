"""How often one client may ask, and how many of its recordings may be in work."""

import ipaddress
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from emotion.errors import SettingsInvalid, TooManyRequests

# Guesses of passwords from one address; who only mistypes stays far below.
SIGN_INS = "10/5 minutes"
# When a recording of one's own is done is not known; most are done in a moment.
_TURN_RETRY_S = 2.0
# What one household or one server gets of IPv6.
_IPV6_PREFIX = 64


class RateLimiter:
    """So many requests of one client in any stretch of time; counts in memory, from any thread."""

    def __init__(self, limit: str, setting: str = "rate_limit") -> None:
        """`limit` is as in `600/minute`, empty for none; raises SettingsInvalid for anything else."""
        self._limit = _parsed(limit, setting)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def count(self, name: str) -> None:
        """Count a request; raises TooManyRequests, which counts nothing and says when one may try again."""
        if self._limit is not None and not self._window.hit(self._limit, _key(name)):
            raise self._too_many(name)

    def check(self, name: str) -> None:
        """Raise TooManyRequests if the next request would be one too many; counts nothing."""
        if self._limit is not None and not self._window.test(self._limit, _key(name)):
            raise self._too_many(name)

    def _too_many(self, name: str) -> TooManyRequests:
        assert self._limit is not None  # noqa: S101 - both callers looked
        reset_s = self._window.get_window_stats(self._limit, _key(name)).reset_time
        return TooManyRequests(max(math.ceil(reset_s - time.time()), 1))


class Turns:
    """How many recordings of one client may be in work at a time; from any thread."""

    def __init__(self, limit: int) -> None:
        """`limit` is the setting `jobs_per_client`, 0 for none."""
        self._limit = limit
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()

    def acquire(self, name: str, count: int = 1) -> None:
        """Take so many turns of the client of this name, or raise TooManyRequests and take none."""
        with self._lock:
            if self._limit and self._taken[name] + count > self._limit:
                raise TooManyRequests(_TURN_RETRY_S)
            self._taken[name] += count

    def release(self, name: str, count: int = 1) -> None:
        """Give turns back, whatever became of the recordings."""
        with self._lock:
            self._taken[name] -= count
            if self._taken[name] <= 0:
                del self._taken[name]

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """A turn for as long as the context lasts."""
        self.acquire(name)
        try:
            yield
        finally:
            self.release(name)

    def taken(self, name: str) -> int:
        """How many of this client are in work."""
        with self._lock:
            return self._taken.get(name, 0)


def _parsed(limit: str, setting: str) -> RateLimitItem | None:
    if not limit.strip():
        return None
    try:
        return parse(limit)
    except ValueError:
        raise SettingsInvalid(
            f"The setting {setting!r} cannot be used: {limit!r} is no limit. Write it as 600/minute or 10/second.",
            key=setting,
        ) from None


def _key(name: str) -> str:
    """A client to count by: of IPv6, whose addresses cost nothing, the network that one customer gets."""
    marker, _, address = name.partition(":")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return name
    if parsed.version == 4:
        return name
    if parsed.ipv4_mapped is not None:
        return f"{marker}:{parsed.ipv4_mapped}"
    return f"{marker}:{ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False)}"
