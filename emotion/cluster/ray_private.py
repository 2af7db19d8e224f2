"""All that depends on parts of Ray which it does not promise to keep, as they are in Ray 2.60.0.

tests/test_ray_private.py holds each of them against the Ray that is installed, and fails when Ray changes them.
"""

import functools
import os
from typing import Any

RAY_VERSION = "2.60.0"
# The name is what Ray calls it. Ray 2.60.0: on every system it has Ray listen on 127.0.0.1 only.
_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def listen_on_loopback_only() -> None:
    """Have a Ray that starts from here be reached from this machine only; to be called before Ray is imported.

    Ray 2.60.0: `ray._private.services.get_node_ip_address` gives 127.0.0.1 then.
    """
    os.environ.setdefault(_LOOPBACK_ONLY, "0")


def reread_environment(ray: Any) -> None:
    """Have a Ray that was imported before read again what `listen_on_loopback_only` and RAY_AUTH_* say.

    Ray 2.60.0: it reads both once, when it is imported, into `ray_constants` and the configuration of `_raylet`.
    """
    ray._raylet.Config.initialize("")
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False


def silence_errors_of_workers(ray: Any) -> None:
    """Keep Ray from printing errors of its processes to the terminal; the engine logs those that matter.

    Ray 2.60.0: `log_to_driver=False` does not stop the thread that prints them by `worker.print_to_stdstream`.
    """
    ray._private.worker.print_to_stdstream = _print_nothing


def bind_replica_port_to_loopback() -> None:
    """Have a replica be reached from this machine only; to be called in its process, before it serves.

    Ray 2.60.0: each replica of Ray Serve opens a port at `[::]` that takes pickled requests, with or without a token.
    """
    from ray.serve._private import replica as untyped

    replica: Any = untyped
    add_port = replica.add_port_to_grpc_server

    @functools.wraps(add_port)
    def add_loopback_port(server: Any, address: str) -> Any:
        return add_port(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = add_loopback_port


class BuildsItsApp:
    """A deployment with `serve.ingress()` whose ASGI application is made in the process of the replica.

    Ray 2.60.0: it asks a method with this name for the application.
    """

    def build_app(self) -> Any:
        """The application."""
        raise NotImplementedError

    def __serve_build_asgi_app__(self) -> Any:
        return self.build_app()


def _print_nothing(*_: object, **__: object) -> None:
    """Stands for what Ray prints."""
