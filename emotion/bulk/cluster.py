"""Bulk work on a Ray cluster: paths stream out, each block of them becomes one part, written where it was made."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from emotion.analysis import AnalysisRequest
from emotion.bulk.errors import ClusterFailed
from emotion.bulk.listing import Listing, Recording
from emotion.bulk.parts import Sum, part_name
from emotion.bulk.pipeline import Pipeline
from emotion.bulk.progress import BulkProgress, ProgressTracker, Watch
from emotion.bulk.results import Results, State, require_same, state_of
from emotion.bulk.work import Pending
from emotion.cluster.plan import ClusterPlan, share_of_machine
from emotion.engine.recognizer import Recognizer
from emotion.errors import EmotionError
from emotion.model import ModelCard
from emotion.settings import Settings

# A recording that ends the process that reads it is tried again so often, on other replicas; then all ends.
_TRIES = 4
# Long recordings make a block of few, where their sizes are known: two hours of 16-bit sound.
_BLOCK_BYTES = 230_000_000


@contextmanager
def connected(settings: Settings) -> Iterator[None]:
    """A Ray cluster, or one of this machine's own, which ends with the context.

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
        raise ClusterFailed(f"A replica cannot start: {_last_line(error)}") from error
    if isinstance(card, str):
        raise ClusterFailed(f"A replica cannot open the model: {card}")
    return state_of(request, card, settings)


def recognize_on_cluster(
    settings: Settings, results: Results, listing: Listing, before: Sum, watch: Watch | None = None
) -> BulkProgress:
    """Recognize what is listed and not in the results, on the cluster that is connected.

    The paths stay in order, so a block holds the same recordings whoever makes it, and its part has one name: what is
    tried again replaces itself. Raises ClusterFailed, or what is wrong with the list.
    """
    import ray

    with closing(ProgressTracker(listing, before, watch or Watch())) as tracker:
        try:
            for summary in _summaries(listing, settings, results):
                if summary["error"]:
                    raise ClusterFailed(summary["error"])
                tracker.done += Sum(summary["rows"], summary["failed"], summary["sound_s"])
                tracker.again = max(tracker.again, summary["again"])
                tracker.tell()
        except ray.exceptions.RayError as error:
            raise ClusterFailed(_last_line(error)) from error
    return tracker.progress


@dataclass(frozen=True)
class Block:
    """Recordings of one part; `again` were listed before it though they are done, `error` is why the list ends here."""

    recordings: tuple[Recording, ...]
    again: int
    error: str = ""


BLOCK_JSON = TypeAdapter(Block)


class Blocks:
    """What is listed and not in some parts, in blocks as JSON; can be sent to another machine.

    Uses the names of the parts at the start: if listing starts again later, the same blocks come again.
    """

    def __init__(self, listing: Listing, results: Results, parts: list[str], rows: int) -> None:
        self._listing, self._results, self._parts, self._rows = listing, results, parts, rows

    def __iter__(self) -> Iterator[str]:
        gathered: list[Recording] = []
        held_bytes, error = 0, ""
        pending = Pending(self._listing, self._results.done(self._parts))
        try:
            for recording in pending:
                gathered.append(recording.with_file_facts())
                held_bytes += gathered[-1].size_bytes or 0
                if len(gathered) >= self._rows or held_bytes >= _BLOCK_BYTES:
                    yield _json(Block(tuple(gathered), pending.again))
                    gathered, held_bytes = [], 0
        except EmotionError as wrong:
            error = str(wrong)
        if gathered or pending.again or error:
            yield _json(Block(tuple(gathered), pending.again, error))


class Replica:
    """One model on one machine of the cluster: Ray makes it, and gives it blocks to make parts of.

    Errors do not leave it as exceptions, which Ray would wrap and try again, but as words of the summary.
    """

    def __init__(self, settings: dict[str, Any], results: Results) -> None:
        self._results = results
        self._error = ""
        self._recognizer: Recognizer | None = None
        try:
            self._recognizer = Recognizer(settings=Settings(**settings))
            request = results.state.request
            now = state_of(request, self._recognizer.engine.card, self._recognizer.settings)
            require_same(results.state, now, results.name)
            self._pipeline = Pipeline(self._recognizer, request)
        except EmotionError as error:
            self._error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """The summary of a batch of one block: rows, failed, sound_s, again, error."""
        block = BLOCK_JSON.validate_json(str(batch["block"][0]))
        done, error = Sum(), self._error
        if not error:
            try:
                done = self._part_of(block)
            except EmotionError as wrong:
                error = str(wrong)
        facts = {**vars(done), "again": block.again, "error": error or block.error}
        return {key: [value] for key, value in facts.items()}

    def close(self) -> None:
        """End the threads; Ray ends the whole process instead."""
        if self._recognizer is not None:
            self._recognizer.close()

    def _part_of(self, block: Block) -> Sum:
        """Make the part of a block, unless a replica before this one made it and was ended then."""
        if not block.recordings:
            return Sum()
        made = self._results.sum_of(part_name(recording.path for recording in block.recordings))
        if made is not None:
            return made
        part = self._results.new_part()
        for row in self._pipeline.rows(block.recordings, threading.Event()):
            if row is not None:
                part.add_row(row)
        self._results.publish_part(part)
        return part.sum


def open_on_replica(settings: dict[str, Any]) -> ModelCard | str:
    """Which model replicas get, or why they get none."""
    try:
        with Recognizer(settings=Settings(**settings)) as recognizer:
            return recognizer.engine.card
    except EmotionError as error:
        return str(error)


def _summaries(listing: Listing, settings: Settings, results: Results) -> Iterator[dict[str, Any]]:
    """What became of each block, as they are done."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A block of ours must stay a block of Ray's, or one replica would get them all.
    context.target_max_block_size = 1
    blocks = Blocks(listing, results, results.parts(), settings.bulk_part_rows)
    # One task lists, and gives each block as soon as it is full.
    listed = ray.data.from_items([0], override_num_blocks=1).flat_map(
        lambda _: ({"block": block} for block in blocks), num_cpus=0
    )
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


def _json(block: Block) -> str:
    return BLOCK_JSON.dump_json(block).decode()


def _last_line(error: BaseException) -> str:
    """The last line of a trace says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
