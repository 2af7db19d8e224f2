"""The web server, which ends in order."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from emotion.engine.recognizer import Recognizer
from emotion.server.drain import DrainState

_LOOK_AT_WORK_S = 0.05
# What is written and sent when the last recording is done.
_LAST_WORDS_S = 2.0
# A window that the model works on cannot be cancelled; after so long the program ends all the same.
_GRACE_S = 10.0


class StudioServer(uvicorn.Server):
    """Ends in order: takes nothing new, finishes what it took for `shutdown_s` at most, and cancels the rest."""

    def __init__(
        self, config: uvicorn.Config, recognizer: Recognizer, ending: DrainState, say: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._recognizer, self._ending, self._say = recognizer, ending, say
        self._is_hurried = False
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends in order, the second at once; neither counts as a failure of the program."""
        del sig, frame
        if not self.started:
            self.should_exit = True
        elif self._ending.has_begun:
            self._is_hurried = True
            self._give_up_after(_LAST_WORDS_S)
        else:
            self._loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        """Begin to end; to be called on the loop of the server."""
        if self._draining is None:
            self._ending.begin()
            self._draining = self._loop.create_task(self._drain())

    @property
    def _unfinished(self) -> int:
        return max(self._recognizer.engine.queue_length, self._ending.open_requests)

    async def _drain(self) -> None:
        limit_s = self._recognizer.settings.shutdown_s
        until_s = self._loop.time() + limit_s
        self._give_up_after(limit_s + _GRACE_S)
        if self._unfinished:
            self._say(f"finishing {_recordings(self._unfinished)}, at most {limit_s:.0f} s; again to stop at once")
        while self._unfinished and self._loop.time() < until_s and not self._is_hurried:
            await asyncio.sleep(_LOOK_AT_WORK_S)
        if self._unfinished:
            self._say(f"{_recordings(self._unfinished)} could not be finished")
            threading.Thread(target=self._recognizer.close, args=(False,), name="closing", daemon=True).start()
        # What is left are last bytes and microphones, whose sound is kept now.
        left_s = 0.0 if self._is_hurried else until_s - self._loop.time()
        self.config.timeout_graceful_shutdown = max(round(left_s), round(_LAST_WORDS_S))
        self.should_exit = True

    def _give_up_after(self, patience_s: float) -> None:
        watchdog = threading.Timer(patience_s, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()


def _recordings(count: int) -> str:
    return "1 recording" if count == 1 else f"{count} recordings"
