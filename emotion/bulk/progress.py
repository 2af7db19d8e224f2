"""How far bulk work is, and how a person follows it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from emotion.bulk.listing import Listing
from emotion.bulk.parts import Sum
from emotion.errors import EmotionError

# How long is left is said after so many recordings and so long; before, it would be a wild guess.
_ENOUGH_DONE, _ENOUGH_S = 3, 2.0


@dataclass(frozen=True)
class BulkProgress:
    """How far bulk work is: `here` since this start, `before` what the results held already.

    `again` recordings were listed although they are in the results, or a second time; `total` is how many are listed
    in all, None until they are counted.
    """

    here: Sum
    before: Sum
    again: int
    total: int | None
    elapsed_s: float

    @property
    def failed(self) -> int:
        """Recordings of the results that have no answer."""
        return self.here.failed + self.before.failed

    @property
    def per_s(self) -> float:
        """Recordings a second."""
        return self.here.rows / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def hours_per_hour(self) -> float:
        """How many hours of sound an hour of work takes in."""
        return self.here.sound_s / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def left_s(self) -> float | None:
        """About how long the rest takes, if it is like what was done; None while that is unknown."""
        if self.total is None or self.here.rows < _ENOUGH_DONE or self.elapsed_s < _ENOUGH_S:
            return None
        return max(self.total - self.again - self.here.rows, 0) / self.per_s


@dataclass(frozen=True)
class Watch:
    """How a person follows bulk work and ends it; `tell` is called several times a second, `stop` is set to end."""

    tell: Callable[[BulkProgress], None] = lambda _: None
    stop: threading.Event = field(default_factory=threading.Event)


class ProgressTracker:
    """Tells the watch how far one start of bulk work is, by what was `done` and met `again` since it was made.

    What is listed is counted on a thread, where that is cheap; so a wrong manifest is found early, too.
    """

    def __init__(self, listing: Listing, before: Sum, watch: Watch) -> None:
        self.done, self.again = Sum(), 0
        self._before, self._watch, self._began_s = before, watch, time.monotonic()
        self._total: int | None = None
        self._error: EmotionError | None = None
        self._closed = threading.Event()
        if listing.is_cheap:
            threading.Thread(target=self._count, args=(listing,), name="count", daemon=True).start()

    @property
    def progress(self) -> BulkProgress:
        return BulkProgress(self.done, self._before, self.again, self._total, time.monotonic() - self._began_s)

    def tell(self) -> None:
        """Tell the watch; raises what is wrong with the list, if anything is."""
        if self._error is not None:
            raise self._error
        self._watch.tell(self.progress)

    def close(self) -> None:
        """Count no further."""
        self._closed.set()

    def _count(self, listing: Listing) -> None:
        total = 0
        try:
            for _ in listing:
                total += 1
                if self._closed.is_set():
                    return
        except EmotionError as error:
            self._error = error
            return
        self._total = total
