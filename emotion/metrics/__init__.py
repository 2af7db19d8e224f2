"""Numbers for Prometheus and a line of log for every request.

`counting` is told by the engine what happened, `reading` says at a scrape how engine, model and machine are,
`request_metrics` counts requests on their way in and out and writes the log line of each.
"""

from emotion.metrics.counting import Metrics
from emotion.metrics.request_metrics import RequestMetrics

__all__ = ["Metrics", "RequestMetrics"]
