"""Joins a Ray cluster, or starts one that only this machine can reach."""

import logging
import os
import secrets
import socket
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from emotion.cluster.ray_private import listen_on_loopback_only, reread_environment, silence_errors_of_workers
from emotion.errors import EmotionError, SettingsInvalid
from emotion.hardware import usable_cores
from emotion.settings import Settings

# Ray tries for a minute before it gives up. The system repeats an attempt after one second, so one lost packet is no
# failure.
PATIENCE_S = 3.0
# Recordings and results pass through it; what does not fit lies on the disk for a while.
STORE_BYTES = 512_000_000


class ClusterUnreachable(EmotionError):
    """The cluster cannot be started or joined, or its replicas do not start."""

    code = "cluster_unreachable"


def require_listener(address: str, patience_s: float = PATIENCE_S) -> None:
    """Raise ClusterUnreachable where nobody listens at `host:port` or `ray://host:port`, or the port is missing.

    No address, `auto`, `local` and other schemes name no place, or one that only Ray knows: nothing is checked.
    """
    scheme, _, place = address.rpartition("://")
    if address in ("", "auto", "local") or scheme not in ("", "ray"):
        return
    try:
        parts = urlsplit(f"//{place}")
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, or brackets that do not close
        host = port = None
    if not host or port is None:
        raise ClusterUnreachable(
            f"{address} is no address of a Ray cluster. Write cluster_address as HOST:6379, or as ray://HOST:10001."
        )
    if not _is_listening(host, port, patience_s):
        raise ClusterUnreachable(
            f"Nobody answers at {address}: start Ray there (ray start --head), correct cluster_address, or leave it "
            "empty to start Ray on this machine."
        )


def join_cluster(settings: Settings, cores: int | None = None) -> bool:
    """Join the cluster of `cluster_address`, or start one on this machine; whether it is our own.

    Only this machine reaches our own one, which also requires a token. `cores` stands for those of the machine.
    Raises SettingsInvalid where Ray is not installed, ClusterUnreachable where it does not start or answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_own = not settings.cluster_address
    if is_own:  # Ray reads these when it is imported, and hands them to its processes
        listen_on_loopback_only()
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = ray_itself()
    if ray.is_initialized():
        return False
    require_listener(settings.cluster_address)
    own: dict[str, Any] = {}
    if is_own:
        reread_environment(ray)
        own = {
            "num_cpus": cores or usable_cores().logical,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "runtime_env": {"env_vars": {"PYTHONPATH": _search_path()}},
        }
    try:
        ray.init(address=settings.cluster_address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray has no family of errors for this
        raise ClusterUnreachable(
            f"Ray does not start, or does not answer at {settings.cluster_address or 'this machine'}: "
            f"{type(error).__name__}. Check cluster_address, and that all machines have the same version of Ray."
        ) from error
    silence_errors_of_workers(ray)
    return is_own


def ray_itself() -> Any:
    """The module `ray`, whose types are not complete; raises SettingsInvalid where it is not installed."""
    try:
        import ray
    except ImportError:
        raise SettingsInvalid("A cluster needs Ray. Install it: pip install 'emotion2vec-studio[ray]'") from None
    return ray


def ray_serve() -> Any:
    """The module `ray.serve`, whose types are not complete, without its messages."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return serve


def _search_path() -> str:
    """Where the processes of Ray find this package, from whatever folder it was started."""
    home = str(Path(__file__).parent.parent.parent)
    return os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH")) if part)


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
