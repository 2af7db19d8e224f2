"""Batches in work and those that ended lately, each followed by the pages of its visitor."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from emotion.analysis import AnalysisRequest
from emotion.engine.batch import Batch
from emotion.engine.batch_rows import BatchView
from emotion.engine.recognizer import Recognizer
from emotion.logs import request_context
from emotion.ui.uploads import Uploads
from emotion.ui.workspace import PageVisitor, Workspace

LOOK_S = 0.5
# A page that is loaded anew, be it for another language, finds its batch again; one that was closed stops it.
PATIENCE_S = 10.0
# What a visitor sees again after loading the page anew; a row takes some hundred bytes.
_MOST_ROWS_HELD = 50_000


@dataclass(frozen=True)
class BatchFilter:
    """What one visitor sees of a batch: a part of the recordings of one kind of its `distribution`, or of all."""

    kind: str = ""
    part: int = 0


@dataclass(eq=False)
class FollowedBatch:
    """One batch; `token` is known to its visitor alone, and `filters` are by the session that looks at it."""

    token: str
    workspace: Workspace
    batch: Batch
    ended: "Future[None]"
    filters: dict[str, BatchFilter] = field(default_factory=dict)
    pages: int = 0

    @property
    def is_over(self) -> bool:
        return self.ended.done()

    @property
    def error(self) -> BaseException | None:
        """Why the batch could not go on, once it is over."""
        return self.ended.exception() if self.is_over else None


class Batches:
    """Starts batches and finds them again: by the session that looks at them, or after a new load by their token.

    Everything happens on the event loop of the page; only the batches themselves have threads.
    """

    def __init__(self, recognizer: Recognizer, uploads: Uploads) -> None:
        self.recognizer, self._uploads = recognizer, uploads
        self._followed: list[FollowedBatch] = []

    def batch_of(self, session: str) -> FollowedBatch | None:
        """The batch that a session started or found again last."""
        return next((followed for followed in reversed(self._followed) if session in followed.filters), None)

    async def start_batch(self, visitor: PageVisitor, paths: Sequence[str], request: AnalysisRequest) -> FollowedBatch:
        """A new batch of uploaded files; while one of this session is in work, that one."""
        known = self.batch_of(visitor.session)
        if known is not None and not known.is_over:
            return known
        token = secrets.token_urlsafe(16)
        # Besides the session, so that they outlast a page that is loaded anew.
        self._uploads.add_user(visitor.workspace.owner, token, *paths)
        try:
            sources = [Path(path) for path in paths]
            batch = await asyncio.to_thread(
                Batch, self.recognizer, sources, visitor.own(request), visitor.workspace.outputs
            )
        except BaseException:
            self._uploads.release(visitor.workspace.owner, token)
            raise
        with request_context.request_scope(visitor.request_id):
            ended = batch.start()
        followed = FollowedBatch(token, visitor.workspace, batch, ended, {visitor.session: BatchFilter()})
        followed.ended.add_done_callback(lambda _: self._uploads.release(visitor.workspace.owner, token))
        self._keep(followed)
        return followed

    def resume_batch(self, visitor: PageVisitor, token: str) -> FollowedBatch | None:
        """The batch of a token, if it is one of this visitor's workspace; from now on it is that of the session too."""
        followed = next((known for known in self._followed if known.token == token), None)
        if followed is None or followed.workspace.owner != visitor.workspace.owner:
            return None
        followed.filters.setdefault(visitor.session, BatchFilter())
        return followed

    def cancel_batch(self, session: str) -> None:
        """Stop the batch of a session; does nothing where there is none."""
        followed = self.batch_of(session)
        if followed is not None:
            followed.batch.cancel()

    async def views(self, followed: FollowedBatch) -> AsyncGenerator[BatchView]:
        """How far the batch is, twice a second; the last view is that of its end.

        When the iterators of all its pages were closed, and no other came within some seconds, the batch is cancelled.
        """
        followed.pages += 1
        waiting = asyncio.wrap_future(followed.ended)
        try:
            while not waiting.done():
                yield followed.batch.snapshot()
                await asyncio.wait({waiting}, timeout=LOOK_S)
            waiting.exception()  # it is read from `ended`; asyncio would call it forgotten here
            yield followed.batch.snapshot()
        finally:
            waiting.cancel()
            followed.pages -= 1
            asyncio.get_running_loop().call_later(PATIENCE_S, _cancel_if_left, followed)

    def _keep(self, followed: FollowedBatch) -> None:
        """Remember one more, and as many of those that are over as there is room for."""
        self._followed.append(followed)
        held = 0
        for known in reversed(self._followed[:]):
            held += known.batch.snapshot().total
            if held > _MOST_ROWS_HELD and known.is_over:
                self._followed.remove(known)


def _cancel_if_left(followed: FollowedBatch) -> None:
    if not followed.pages and not followed.is_over:
        followed.batch.cancel()
