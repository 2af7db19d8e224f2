"""How often one client may ask, and how many of its recordings may be in work."""

import ipaddress
import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from emotion.errors import SettingsInvalid, TooManyRequests

# Guesses of passwords from one address; who only mistypes stays far below.
SIGN_INS = "10/5 minutes"
# What one household or one server gets of IPv6.
_IPV6_PREFIX = 64


class RateLimiter:
    """Allows each client so many requests in a moving window of time; counts in memory, from any thread."""

    def __init__(self, limit: str, setting: str = "rate_limit") -> None:
        """`limit` is as in `600/minute`, empty for none; raises SettingsInvalid for anything else."""
        self._limit = _parsed(limit, setting)
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def count(self, name: str) -> None:
        """Count a request; raises TooManyRequests, without counting, if it is one too many."""
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
    """The key to count by: for IPv6, whose addresses cost nothing, the network that one customer gets."""
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
