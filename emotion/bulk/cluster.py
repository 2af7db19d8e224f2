"""Bulk work on a Ray cluster: paths stream out, each block of them becomes one part, written where it was made."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emotion.analysis import AnalysisRequest
from emotion.bulk.blocks import Blocks
from emotion.bulk.errors import ClusterFailed
from emotion.bulk.listing import Listing
from emotion.bulk.parts import Sum
from emotion.bulk.progress import BulkProgress, Count, Watch
from emotion.bulk.replica import Replica, open_on_replica
from emotion.bulk.results import Results, State, state_of
from emotion.cluster.plan import ClusterPlan, share_of_machine
from emotion.model import ModelCard
from emotion.settings import Settings

# A recording that ends the process that reads it is tried again so often, on other replicas; then all ends.
_TRIES = 4


@contextmanager
def connected(settings: Settings) -> Iterator[None]:
    """A Ray cluster, or one of this machine's own, which goes with the command.

    Raises what `join_cluster` raises, and ClusterFailed where the replicas do not fit.
    """
    from emotion.cluster.connection import join_cluster, ray_itself

    join_cluster(settings)
    try:
        _require_room(settings)
        yield
    finally:
        ray_itself().shutdown()


def state_on_cluster(request: AnalysisRequest, settings: Settings) -> State:
    """What results made on this cluster say of themselves; opens the model once on it, as replicas do."""
    import ray

    opened = ray.remote(num_cpus=settings.cluster_cpus, num_gpus=settings.cluster_gpus)(open_on_replica)
    try:
        card: ModelCard | str = ray.get(opened.remote(share_of_machine(settings, ClusterPlan.of(settings))))
    except ray.exceptions.RayError as error:
        raise ClusterFailed(f"A replica cannot start: {_first_line(error)}") from error
    if isinstance(card, str):
        raise ClusterFailed(f"A replica cannot open the model: {card}")
    return state_of(request, card, settings)


def recognize_on_cluster(
    settings: Settings, results: Results, listing: Listing, before: Sum, watch: Watch | None = None
) -> BulkProgress:
    """Recognise what is listed and not in the results, on the cluster that is connected.

    The paths stay in order, so a block holds the same recordings whoever makes it, and its part has one name: what is
    tried again replaces itself. Raises ClusterFailed, or what is wrong with the list.
    """
    import ray

    watch = watch or Watch()
    count, began_s, here, again = Count(listing), time.monotonic(), Sum(), 0
    blocks = Blocks(listing, results, results.parts(), settings.bulk_part_rows)
    summaries = _summaries(blocks, settings, results)
    try:
        for summary in summaries:
            if summary["error"]:
                raise ClusterFailed(summary["error"])
            here += Sum(summary["rows"], summary["failed"], summary["sound_s"])
            again = max(again, summary["again"])
            count.raise_error()
            watch.tell(BulkProgress(here, before, again, count.total, time.monotonic() - began_s))
    except ray.exceptions.RayError as error:
        raise ClusterFailed(_first_line(error)) from error
    finally:
        count.close()
    return BulkProgress(here, before, again, count.total, time.monotonic() - began_s)


def _summaries(blocks: Blocks, settings: Settings, results: Results) -> Iterator[dict[str, Any]]:
    """What became of each block, as they are done."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A block of ours must stay a block of Ray's, or one replica would get them all.
    context.target_max_block_size = 1
    source = _datasource(blocks)
    listed = ray.data.read_datasource(source, override_num_blocks=1, num_cpus=0)
    with warnings.catch_warnings():
        # Retries are to be set in another way from 2.64 on, which 2.60 does not have.
        warnings.simplefilter("ignore")
        done = listed.map_batches(
            Replica,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=settings.cluster_min_replicas, max_size=settings.cluster_max_replicas
            ),
            num_cpus=settings.cluster_cpus,
            num_gpus=settings.cluster_gpus,
            max_task_retries=_TRIES - 1,
            fn_constructor_kwargs={
                "settings": share_of_machine(settings, ClusterPlan.of(settings)),
                "results": results,
            },
        )
    yield from done.iter_rows()


def _datasource(blocks: Blocks) -> Any:
    """The blocks as Ray Data reads them: one task that lists, and gives each block as soon as it is full."""
    import pyarrow
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    def read() -> Iterator[pyarrow.Table]:
        for block in blocks:
            yield pyarrow.table({"block": [block]})

    class Recordings(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            del parallelism
            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(read, unknown)]

    recordings: Any = Recordings
    return recordings()


def _require_room(settings: Settings) -> None:
    """Replicas that never fit would be waited for in silence."""
    import ray

    resources: Any = ray.cluster_resources  # Ray carries no types
    there: dict[str, float] = resources()
    least = settings.cluster_min_replicas
    for resource, share in (("CPU", settings.cluster_cpus), ("GPU", settings.cluster_gpus)):
        if not settings.cluster_address and least * share > there.get(resource, 0.0):
            raise ClusterFailed(
                f"{least} replicas with {share:g} {resource} each do not fit: {there.get(resource, 0.0):g} are here. "
                "Lower cluster_min_replicas or what a replica takes."
            )


def _first_line(error: BaseException) -> str:
    """The last line of a trace says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
