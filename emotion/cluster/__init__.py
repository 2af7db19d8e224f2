"""The engine of many machines: replicas of the model under Ray Serve, and a front that sends them recordings.

    with Recognizer(settings=settings, engine=start_cluster(settings)) as recognizer:
        analysis = recognizer.recognize("call.m4a")

`plan` says how many and how large, `wire` what travels, `replica` is one process with a model, `link` how it is asked,
`engine` is the contract of `emotion.engine` over a link, `budget` bounds what the front holds, `address` asks whether
anybody listens where the cluster should be, `local` starts Ray on this machine alone, `deployment` joins all of it.
Ray is imported when a cluster starts, and not before.
"""

from emotion.cluster.address import require_listener
from emotion.cluster.deployment import front_deployment, start_cluster
from emotion.cluster.engine import ClusterEngine
from emotion.cluster.plan import ClusterPlan

__all__ = ["ClusterEngine", "ClusterPlan", "front_deployment", "require_listener", "start_cluster"]
