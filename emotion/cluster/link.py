"""How the front reaches its replicas: the contract of a link, and the one over a handle of Ray Serve."""

from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal, Protocol

from emotion.cluster.messages import AnalyzeRequest, Message, Report

# A replica answers a report at once, or it is on its way out.
_REPORT_S = 5.0
Chore = Literal["warm_up", "free_memory"]


class ReplicaLost(Exception):
    """The replica ended in the middle of its work, or there is none."""


class ReplicasFull(Exception):
    """As many recordings wait for the replicas as may."""


class ReplicaLink(Protocol):
    """What `ClusterEngine` needs; all coroutines run on its own loop.

    `shares_files` says whether a path of the front is the same file for the replicas.
    """

    shares_files: bool

    def analyze(self, request: AnalyzeRequest) -> AsyncGenerator[Message, None]:
        """The messages of the replica that takes it; closing the iterator cancels the work there.

        Raises ReplicaLost and ReplicasFull.
        """
        ...

    async def report(self) -> Report:
        """Of any replica, as soon as there is one."""
        ...

    async def reports(self) -> list[Report]:
        """Of all replicas that run."""
        ...

    async def broadcast(self, chore: Chore) -> None:
        """Have every replica do it."""
        ...

    def close(self) -> None:
        """End what belongs to this front; called outside of the loop."""
        ...


class ServeLink:
    """A link over the handle of a deployment; `end` takes down what was started for it."""

    def __init__(self, handle: Any, shares_files: bool = False, end: Callable[[], None] = lambda: None) -> None:
        self._handle, self._end = handle, end
        self.shares_files = shares_files

    async def analyze(self, request: AnalyzeRequest) -> AsyncGenerator[Message, None]:
        from ray.exceptions import RayError
        from ray.serve.exceptions import BackPressureError, RayServeException

        answers = self._handle.options(stream=True).analyze.remote(request)
        try:
            async for message in answers:
                yield message
        except BackPressureError:
            raise ReplicasFull from None
        except (RayError, RayServeException) as error:
            # Its message names machines and processes.
            raise ReplicaLost(type(error).__name__) from None
        except BaseException:
            # Ray Serve does not notice by itself that nobody listens any more.
            answers.cancel()
            raise

    async def report(self) -> Report:
        report: Report = await self._handle.report.remote()
        return report

    async def reports(self) -> list[Report]:
        return [report for report in await self._of_all("report") if isinstance(report, Report)]

    async def broadcast(self, chore: Chore) -> None:
        await self._of_all(chore)

    def close(self) -> None:
        self._end()

    async def _of_all(self, method: str) -> list[Any]:
        """What each replica answers; an error in the place of one that is ending."""
        answers = self._handle.broadcast(method)
        return list(await answers.results_async(timeout_s=_REPORT_S, return_exceptions=True))
