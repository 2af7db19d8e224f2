"""Bulk work on one machine: what is listed and not done goes through the engine into parts."""

from collections.abc import Iterator
from contextlib import closing

from emotion.bulk.listing import Listing, Recording, Seen
from emotion.bulk.parts import PartWriter, Sum
from emotion.bulk.pipeline import Pipeline
from emotion.bulk.progress import BulkProgress, ProgressTracker, Watch
from emotion.bulk.results import Results
from emotion.engine.recognizer import Recognizer


def recognize_into(
    recognizer: Recognizer, results: Results, listing: Listing, before: Sum, watch: Watch | None = None
) -> BulkProgress:
    """Recognize what is listed and not in the results; how far it came at the end, or when it was stopped.

    `before` is what `results.claim` gave. Whatever ends it, what is done is written; a part of a bounded number of rows
    and a bounded age is written meanwhile, so that a kill loses little. Raises ManifestInvalid and other errors that
    concern all of it.
    """
    settings, watch = recognizer.settings, watch or Watch()
    pending = Pending(listing, results.done(results.parts()))
    part: PartWriter | None = None
    with closing(ProgressTracker(listing, before, watch)) as tracker:
        try:
            with closing(Pipeline(recognizer, results.state.request).rows(pending, watch.stop)) as rows:
                for row in rows:
                    if row is not None:
                        part = part or results.new_part()
                        part.add_row(row)
                        tracker.done = tracker.done.with_row(row)
                    if part and (part.sum.rows >= settings.bulk_part_rows or part.age_s >= settings.bulk_part_s):
                        full, part = part, None  # taken first: what cannot be published is not published again
                        results.publish_part(full)
                    tracker.again = pending.again
                    tracker.tell()
        finally:
            if part is not None:
                results.publish_part(part)
    tracker.again = pending.again
    return tracker.progress


class Pending:
    """What is listed, each once, without what is done."""

    def __init__(self, listing: Listing, seen: Seen) -> None:
        self.again = 0
        self._listing, self._seen = listing, seen

    def __iter__(self) -> Iterator[Recording]:
        for recording in self._listing:
            if self._seen.add(recording.path):
                yield recording
            else:
                self.again += 1
