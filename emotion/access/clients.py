"""Who asks: the name of a key or a login, else an address."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emotion.settings import CLIENTS_FOLDER

UNKNOWN_ADDRESS = "unknown"


@dataclass(frozen=True)
class Client:
    """One who asks.

    `name` is that of the key or login, else `address:IP`; `folder` is where the runs of this client lie below the
    folder of outputs, None where nobody is asked for a key and all share it.
    """

    name: str
    folder: str | None = None

    @property
    def owner(self) -> str:
        """The key under which things of this client are kept; empty where nobody signs in and all is shared."""
        return self.folder or ""

    @classmethod
    def named(cls, name: str) -> "Client":
        """The client of a key or a login; a key and a login of one name are one client."""
        return cls(name, f"{CLIENTS_FOLDER}/{name}")


def client_of(scope: Mapping[str, Any]) -> Client:
    """The client of an ASGI scope as AccessGate found it, else by its address."""
    client = scope.get("state", {}).get("client")
    return client if isinstance(client, Client) else Client(f"address:{address_of(scope)}")


def address_of(scope: Mapping[str, Any]) -> str:
    """The address that an ASGI scope came from."""
    client = scope.get("client")
    return str(client[0]) if client else UNKNOWN_ADDRESS
