"""The far store in Redis, which the processes of several machines share."""

from emotion.cache.stores import StoreFailed, Tier

_PREFIX = "emotion:prediction:"
# Beside an inference of hundreds of milliseconds, a store that takes longer to answer is of no use.
_PATIENCE_S = 0.5
# Ten minutes of sound are 1 MB; beyond this, one value would hold up everybody else's.
_MOST_BYTES = 16_000_000


class RedisStore:
    """Values under `emotion:prediction:KEY` for `lifetime_s`; `url` is redis://[user:password@]host:port/number."""

    tier: Tier = "redis"
    most_bytes = _MOST_BYTES

    def __init__(self, url: str, lifetime_s: float) -> None:
        import redis  # only where it is used: it takes a tenth of a second

        self._errors = (redis.RedisError, OSError)
        self._lifetime_ms = max(int(lifetime_s * 1000), 1)
        self._redis = redis.Redis.from_url(
            url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S, health_check_interval=30
        )

    def get(self, key: str) -> bytes | None:
        try:
            content = self._redis.get(_PREFIX + key)
        except self._errors as error:
            raise StoreFailed(type(error).__name__) from None
        return content if isinstance(content, bytes) else None

    def put(self, key: str, content: bytes) -> None:
        try:
            self._redis.set(_PREFIX + key, content, px=self._lifetime_ms)
        except self._errors as error:
            raise StoreFailed(type(error).__name__) from None

    def close(self) -> None:
        self._redis.close()
