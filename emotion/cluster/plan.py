"""How many replicas there are, what each takes, and how much may wait for them."""

import math
from dataclasses import dataclass, field
from typing import Any, Self

from emotion.audio import DecodeLimits
from emotion.engine.recognizer import AUTO, LARGE, decode_limits
from emotion.model import BUILT_IN
from emotion.settings import Settings

# A replica holds as many recordings as keep its engine busy: more could not move to a new replica any more.
_ONGOING = 8
_ONGOING_OF_BATCHES = 32
# What a replica has no use for, and what must not leave the front.
_OF_THE_FRONT = ("api_keys", "page_logins", "results_url")


@dataclass(frozen=True)
class ClusterPlan:
    """The cluster; the first six values are the settings of the same name.

    `ongoing` recordings may be in one replica at a time; `queue_size` of all may wait or be in work. A replica more is
    asked for after `upscale_delay_s` above `queue_per_replica`, one less after `downscale_delay_s` below it: starting
    one costs seconds, keeping one costs its memory. `look_s` is how often the load is looked at.
    """

    min_replicas: int = 1
    max_replicas: int = 4
    queue_per_replica: float = 4.0
    cpus: float = 1.0
    gpus: float = 0.0
    queue_size: int = 64
    ongoing: int = _ONGOING
    limits: DecodeLimits = field(default_factory=DecodeLimits)
    upscale_delay_s: float = 5.0
    downscale_delay_s: float = 120.0
    look_s: float = 2.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        batches = settings.cluster_gpus > 0 or settings.batch_frames > 1
        wanted = _ONGOING_OF_BATCHES if batches else _ONGOING
        return cls(
            min_replicas=settings.cluster_min_replicas,
            max_replicas=settings.cluster_max_replicas,
            queue_per_replica=settings.cluster_queue_per_replica,
            cpus=settings.cluster_cpus,
            gpus=settings.cluster_gpus,
            queue_size=settings.queue_size,
            ongoing=max(wanted, math.ceil(2 * settings.cluster_queue_per_replica)),
            limits=decode_limits(settings),
        )

    @property
    def autoscaling(self) -> dict[str, float]:
        """The `autoscaling_config` of Ray Serve."""
        return {
            "min_replicas": self.min_replicas,
            "max_replicas": self.max_replicas,
            "target_ongoing_requests": self.queue_per_replica,
            "upscale_delay_s": self.upscale_delay_s,
            "downscale_delay_s": self.downscale_delay_s,
            "metrics_interval_s": self.look_s,
            "look_back_period_s": 2 * self.look_s,
        }


def replica_settings(settings: Settings, plan: ClusterPlan) -> dict[str, Any]:
    """The settings of a replica that serves requests: its share of a machine, and the model by its full name.

    `auto` must not mean the large model on one machine and the built-in one on another.
    """
    return {
        **share_of_machine(settings, plan),
        "model": _named_model(settings),
        "device": "cpu" if plan.gpus == 0 and settings.device == "auto" else settings.device,
        "queue_size": 2 * plan.ongoing,
    }


def share_of_machine(settings: Settings, plan: ClusterPlan) -> dict[str, Any]:
    """The settings with the threads of one replica, and without what only the front needs.

    The network gets as many threads as the replica has processors, and half of them decode; beside a graphics card
    all of them decode.
    """
    cores = max(math.floor(plan.cpus), 1)
    decode_threads = cores if plan.gpus else max(cores // 2, 1)
    return {
        **settings.model_dump(),
        "inference_threads": settings.inference_threads or (0 if plan.gpus else cores),
        "decode_threads": settings.decode_threads or decode_threads,
        **dict.fromkeys(_OF_THE_FRONT, ""),
    }


def _named_model(settings: Settings) -> str:
    from emotion.model.checkpoint import is_present

    if settings.model != AUTO:
        return settings.model
    return LARGE if is_present(LARGE, settings.cache_dir) else BUILT_IN
