"""Whether anybody listens where a cluster is said to be: Ray itself asks on for a minute before it gives up."""

import socket
from concurrent.futures import Future
from threading import Thread
from urllib.parse import urlsplit

from emotion.errors import EmotionError

# A second attempt to connect is made after one second by the system, so one lost packet is no failure.
PATIENCE_S = 3.0
# Of addresses with another scheme only Ray knows where they lead.
_SCHEMES = ("", "ray")


class ClusterUnreachable(EmotionError):
    """The cluster cannot be started or joined, or its replicas do not start."""

    code = "cluster_unreachable"


def require_listener(address: str, patience_s: float = PATIENCE_S) -> None:
    """Raise ClusterUnreachable where nobody listens at `host:port` or `ray://host:port`, or the port is missing.

    No address, `auto` and `local` name no place, so nothing is asked.
    """
    if address in ("", "auto", "local"):
        return
    scheme, _, place = address.rpartition("://")
    if scheme not in _SCHEMES:
        return
    host, port = _host_and_port(place)
    if not host or port is None:
        raise ClusterUnreachable(
            f"{address} is no address of a Ray cluster. Write cluster_address as HOST:6379, or as ray://HOST:10001."
        )
    if not _is_listening(host, port, patience_s):
        raise ClusterUnreachable(
            f"Nobody answers at {address}: start Ray there (ray start --head), correct cluster_address, or leave it "
            "empty to start Ray on this machine."
        )


def _host_and_port(place: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(f"//{place}")
        return parts.hostname, parts.port
    except ValueError:  # a port that is no number, or brackets that do not close
        return None, None


def _is_listening(host: str, port: int, patience_s: float) -> bool:
    found: Future[bool] = Future()

    def connect() -> None:
        try:
            socket.create_connection((host, port), patience_s).close()
        except (OSError, UnicodeError):  # UnicodeError: a name that no name can be
            found.set_result(False)
        else:
            found.set_result(True)

    # On a thread, since looking a name up has no time limit, and each address of a name would get one of its own.
    Thread(target=connect, name="cluster-address", daemon=True).start()
    try:
        return found.result(patience_s)
    except TimeoutError:
        return False
