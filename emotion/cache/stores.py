"""What a far store must do, and the one error that it raises."""

from typing import Literal, Protocol

Tier = Literal["disk", "redis"]


class StoreFailed(Exception):
    """The store did not answer, or could not keep something; the message says why, without an address or a path."""


class Store(Protocol):
    """Keeps bytes under keys of 64 hexadecimal digits, for threads and for other processes."""

    @property
    def tier(self) -> Tier: ...

    @property
    def most_bytes(self) -> int:
        """What is larger is not kept."""
        ...

    def get(self, key: str) -> bytes | None:
        """What is kept there; raises StoreFailed."""
        ...

    def put(self, key: str, content: bytes) -> None:
        """Keep it, in place of what was there; raises StoreFailed."""
        ...

    def close(self) -> None: ...
