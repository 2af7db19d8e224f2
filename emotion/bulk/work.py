"""Bulk work on one machine: what is listed and not done goes through the engine into parts."""

import time
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

from emotion.bulk.listing import Listing, Recording, Seen
from emotion.bulk.parts import PartWriter, Sum
from emotion.bulk.pipeline import Pipeline
from emotion.bulk.progress import BulkProgress, Count, Watch
from emotion.bulk.results import Results
from emotion.bulk.rows import Row
from emotion.engine.recognizer import Recognizer
from emotion.settings import Settings


def recognize_into(
    recognizer: Recognizer, results: Results, listing: Listing, before: Sum, watch: Watch | None = None
) -> BulkProgress:
    """Recognise what is listed and not in the results; the tally at the end, or when it was stopped.

    `before` is what `results.begin` gave. Whatever ends it, what is done is written. Raises ManifestInvalid and other
    errors that concern all of it.
    """
    watch = watch or Watch()
    pending = Pending(listing, results.done(results.parts()))
    count, began_s, here = Count(listing), time.monotonic(), Sum()

    def tally() -> BulkProgress:
        return BulkProgress(here, before, pending.again, count.total, time.monotonic() - began_s)

    with (
        closing(count),
        Parts(results, recognizer.settings) as parts,
        closing(Pipeline(recognizer, results.state.request).rows(pending, watch.stop)) as rows,
    ):
        for row in rows:
            if row is not None:
                parts.add(row)
                here = here.with_row(row)
            parts.cut_if_old()
            count.raise_error()
            watch.tell(tally())
    return tally()


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


class Parts:
    """Cuts rows into parts, each of a bounded number and age, so that a kill loses little."""

    def __init__(self, results: Results, settings: Settings) -> None:
        self._results, self._settings = results, settings
        self._part: PartWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cut()

    def add(self, row: Row) -> None:
        if self._part is None:
            self._part = self._results.new_part()
        self._results.add(self._part, row)
        if self._part.sum.rows >= self._settings.bulk_part_rows:
            self._cut()

    def cut_if_old(self) -> None:
        """Write the part whose first row has waited long enough."""
        if self._part is not None and self._part.age_s >= self._settings.bulk_part_s:
            self._cut()

    def _cut(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            self._results.publish(part)
