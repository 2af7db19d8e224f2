"""What the replicas report, added up as if they were one engine."""

from collections.abc import Mapping, Sequence

from emotion.cache import CacheStats
from emotion.cluster.messages import Report
from emotion.engine import BatchPredicted, StageTimes
from emotion.model import ModelCard


class ReplicaStats:
    """Adds up reports; begins with that of the first replica."""

    def __init__(self, first: Report) -> None:
        self._reports = {first.replica: first}
        self._ended_cache = CacheStats()
        self.times = StageTimes()

    @property
    def card(self) -> ModelCard:
        """The model, by the latest report; all replicas have the same one but in the minutes of a change."""
        return next(reversed(self._reports.values())).card

    @property
    def replicas(self) -> int:
        return len(self._reports)

    @property
    def decode_threads(self) -> int:
        return sum(report.decode_threads for report in self._reports.values())

    @property
    def batch_frames(self) -> int:
        return max(report.batch_frames for report in self._reports.values())

    @property
    def cache(self) -> CacheStats | None:
        """Lookups of all replicas there were, and what those hold that there are; None without a cache."""
        caches = [report.cache for report in self._reports.values() if report.cache is not None]
        if not caches:
            return None
        return CacheStats(
            hits=self._ended_cache.hits + sum(stats.hits for stats in caches),
            misses=self._ended_cache.misses + sum(stats.misses for stats in caches),
            entries=sum(stats.entries for stats in caches),
            size_bytes=sum(stats.size_bytes for stats in caches),
        )

    def update(self, reports: Sequence[Report]) -> list[BatchPredicted]:
        """Take new reports of all replicas that run; the batches in them. No report at all changes nothing."""
        if not reports:
            return []
        before, self._reports = self._reports, {report.replica: report for report in reports}
        self._add_times(before)
        for name, report in before.items():
            if name not in self._reports and report.cache is not None:
                self._ended_cache = CacheStats(
                    self._ended_cache.hits + report.cache.hits, self._ended_cache.misses + report.cache.misses
                )
        return [batch for report in reports for batch in report.batches]

    def _add_times(self, before: Mapping[str, Report]) -> None:
        # Threads of inference by their mean, so that all of them at work are one hundred percent, and not N hundred.
        times = dict(vars(self.times))
        for replica, report in self._reports.items():
            then = before[replica].times if replica in before else StageTimes()
            for name in times:
                share = 1 if name == "decode_s" else len(self._reports)
                times[name] += max(getattr(report.times, name) - getattr(then, name), 0.0) / share
        self.times = StageTimes(**times)
