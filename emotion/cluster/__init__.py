"""The engine of many machines: replicas of the model under Ray Serve, and a front that sends them recordings.

    with Recognizer(settings=settings, engine=start_cluster(settings)) as recognizer:
        analysis = recognizer.recognize("call.m4a")

`plan` says how many replicas and how large, `messages` what travels, `replica` is one process with a model, `link` how
it is reached, `remote_job` one recording on its way, `engine` the contract of `emotion.engine` over a link.
`connection` joins or starts Ray, `deployment` joins all of it. Ray is imported when a cluster starts, and not before.
"""

from emotion.cluster.connection import require_listener
from emotion.cluster.deployment import front_deployment, start_cluster
from emotion.cluster.engine import ClusterEngine
from emotion.cluster.plan import ClusterPlan

__all__ = ["ClusterEngine", "ClusterPlan", "front_deployment", "require_listener", "start_cluster"]
