"""Joins a Ray cluster, or starts one that only this machine can reach, and quietly."""

import logging
import os
import secrets
from pathlib import Path
from typing import Any

from emotion.cluster.address import ClusterUnreachable, require_listener
from emotion.cluster.ray_private import listen_on_loopback_only, reread_environment, silence_errors_of_workers
from emotion.errors import SettingsInvalid
from emotion.hardware import usable_cores
from emotion.settings import Settings

# Recordings and results pass through it; what does not fit lies on the disk for a while.
STORE_BYTES = 512_000_000


def join_cluster(settings: Settings, cores: int | None = None) -> bool:
    """Join the cluster of `cluster_address`, or start one on this machine; whether it is our own.

    Only this machine reaches our own one, and it asks for a token besides. `cores` stands for those of the machine.
    Raises SettingsInvalid where Ray is not installed, ClusterUnreachable where it does not start or answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    is_own = not settings.cluster_address
    if is_own:
        _close_to_others()
    ray = ray_itself()
    if ray.is_initialized():
        return False
    require_listener(settings.cluster_address)
    if is_own:
        reread_environment(ray)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {
        "num_cpus": cores or usable_cores().logical,
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": _search_path()}},
    }
    try:
        ray.init(address=settings.cluster_address or "local", **quiet, **(own if is_own else {}))
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
    """The module `ray.serve`, whose types are not complete, told to be quiet."""
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    return serve


def _search_path() -> str:
    """Where the processes of Ray find this package, from whatever folder it was started."""
    home = str(Path(__file__).parent.parent.parent)
    return os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH")) if part)


def _close_to_others() -> None:
    """Set what Ray reads when it is imported, and hands to its processes."""
    listen_on_loopback_only()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
