"""What is deployed on Ray Serve: the replicas of the model, and for a cluster of its own the front too."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from emotion.cluster.connection import ClusterUnreachable, join_cluster, ray_itself, ray_serve
from emotion.cluster.engine import ClusterEngine
from emotion.cluster.link import ServeLink
from emotion.cluster.plan import ClusterPlan, replica_settings
from emotion.cluster.ray_private import BuildsItsApp
from emotion.cluster.replica import ModelReplica
from emotion.engine.recognizer import Recognizer
from emotion.logs import set_up_logs
from emotion.settings import Settings

APPLICATION = "emotion"
MakeApp = Callable[[Recognizer], Any]
# A health check may come while a decoder holds the interpreter.
_HEALTH_PERIOD_S = 10
_HEALTH_TIMEOUT_S = 30
_QUIET = {"log_level": "WARNING", "enable_access_log": False}


def start_cluster(settings: Settings, plan: ClusterPlan | None = None, cores: int | None = None) -> ClusterEngine:
    """The engine of a cluster: joins it or starts it, deploys the replicas, and returns when one of them answers.

    Closing the engine takes down what was deployed, and the cluster too where it is our own. Raises what
    `join_cluster` raises, and ClusterUnreachable where no replica starts.
    """
    is_own = join_cluster(settings, cores)
    plan = plan or ClusterPlan.of(settings)
    try:
        handle = _deploy(settings, _fitting(plan) if is_own else plan, is_own)
        return ClusterEngine(ServeLink(handle, shares_files=is_own, end=lambda: _end(is_own)), plan)
    except BaseException:
        _end(is_own)
        raise


def front_deployment(settings: Settings, make_app: MakeApp) -> Any:
    """An application for `serve run`: page and API as one replica, in front of those of the model.

    One, since sessions, jobs and uploads are in its memory; several would need a proxy that keeps each person at one.
    """
    serve = ray_serve()
    plan = ClusterPlan.of(settings)
    front = serve.deployment(
        serve.ingress()(_Front),
        name="Front",
        num_replicas=1,
        # Each open page and each request takes one; what is too much for the replicas is refused by their queue.
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 1},
        graceful_shutdown_timeout_s=settings.shutdown_s,
    )
    return front.bind(settings.model_dump(), make_app, _model_deployment(settings, plan, stays_here=False))


class _Front(BuildsItsApp):
    """Page and API over a handle of the replicas."""

    def __init__(self, values: Mapping[str, Any], make_app: MakeApp, handle: Any) -> None:
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        self._settings, self._make_app = Settings(**values), make_app
        set_up_logs(self._settings.log_level, self._settings.log_format)
        engine = ClusterEngine(ServeLink(handle), ClusterPlan.of(self._settings))
        self._recognizer = Recognizer(settings=self._settings, engine=engine)

    def build_app(self) -> Any:
        """Page and API."""
        return self._make_app(self._recognizer)


def _model_deployment(settings: Settings, plan: ClusterPlan, stays_here: bool) -> Any:
    deployment = ray_serve().deployment(
        ModelReplica,
        name=ModelReplica.__name__,
        max_ongoing_requests=plan.ongoing,
        max_queued_requests=plan.queue_size,
        autoscaling_config=plan.autoscaling,
        ray_actor_options={"num_cpus": plan.cpus, "num_gpus": plan.gpus},
        health_check_period_s=_HEALTH_PERIOD_S,
        health_check_timeout_s=_HEALTH_TIMEOUT_S,
        graceful_shutdown_timeout_s=settings.shutdown_s,
        logging_config=_QUIET,
    )
    return deployment.bind(replica_settings(settings, plan), stays_here)


def _deploy(settings: Settings, plan: ClusterPlan, is_own: bool) -> Any:
    serve = ray_serve()
    try:
        serve.start(proxy_location="Disabled", logging_config=_QUIET)
        return serve.run(_model_deployment(settings, plan, is_own), name=APPLICATION, route_prefix=None)
    except RuntimeError as error:
        raise ClusterUnreachable(
            "The replicas of the model do not start. The log of Ray Serve says why; try the same settings without "
            "--cluster first."
        ) from error


def _fitting(plan: ClusterPlan) -> ClusterPlan:
    """As many replicas as this machine has room for: on a cluster of its own nobody adds machines."""
    resources: dict[str, float] = ray_itself().cluster_resources()
    rooms = [plan.max_replicas]
    rooms += [int(resources.get("CPU", 0) / plan.cpus)] if plan.cpus else []
    rooms += [int(resources.get("GPU", 0) / plan.gpus)] if plan.gpus else []
    if min(rooms) < plan.min_replicas:
        raise ClusterUnreachable(
            f"This machine has room for {min(rooms)} replicas, and {plan.min_replicas} are wanted. Lower "
            "cluster_min_replicas, cluster_cpus or cluster_gpus."
        )
    return replace(plan, max_replicas=min(rooms))


def _end(is_own: bool) -> None:
    ray, serve = ray_itself(), ray_serve()
    if is_own:
        serve.shutdown()
        ray.shutdown()
    elif ray.is_initialized():
        serve.delete(APPLICATION)
