"""A live session over a web socket, the same for page and API: sound in, moments out, both bounded, and the end."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from emotion.engine import ConcurrencyLimit
from emotion.errors import EmotionError, LiveFull
from emotion.live.session import LiveMoment, LiveSession

_LOG = logging.getLogger(__name__)
# More than a second of the highest rate; a page sends a tenth of a second at a time.
MAX_SOUND_BYTES = 512 * 1024
MAX_TEXT_BYTES = 4 * 1024
# A page that was held up sends what it kept at once. Who sends a file faster than it is spoken has to wait.
MAX_LEAD_S = 30.0
# A microphone never pauses: one that is quiet for so long belongs to a laptop that went to sleep.
IDLE_S = 30.0
# A session costs a window every half second, and disk: 115 MB an hour from the page, more at high rates from the API.
MAX_SESSIONS = 8
NORMAL, REFUSED, BUSY = 1000, 1008, 1013
_MAX_WAITING_MOMENTS = 32


class Disconnected(Exception):
    """The client is gone, or sent nothing for IDLE_S."""


class LiveSocket:
    """An accepted web socket and the `moments` that wait to be told; belongs to the event loop, except `put_moment`.

    `too_large` makes the error of a message larger than allowed.
    """

    def __init__(self, websocket: WebSocket, too_large: Callable[[], EmotionError]) -> None:
        self._websocket, self._too_large = websocket, too_large
        self._loop = asyncio.get_running_loop()
        self.moments: asyncio.Queue[LiveMoment] = asyncio.Queue(_MAX_WAITING_MOMENTS)

    def put_moment(self, moment: LiveMoment) -> None:
        """Queue a moment, from any thread; a client that does not take its moments loses some."""

        def put() -> None:
            with suppress(asyncio.QueueFull):
                self.moments.put_nowait(moment)

        with suppress(RuntimeError):  # the loop may be closed when the program ends
            self._loop.call_soon_threadsafe(put)

    async def receive(self) -> str | bytes:
        """The next message: a text, or sound; raises Disconnected, and `too_large`."""
        try:
            message = await asyncio.wait_for(self._websocket.receive(), IDLE_S)
        except TimeoutError:
            raise Disconnected from None
        if message["type"] == "websocket.disconnect":
            raise Disconnected
        sound, text = message.get("bytes"), message.get("text") or ""
        if len(sound or b"") > MAX_SOUND_BYTES or len(text) > MAX_TEXT_BYTES:
            raise self._too_large()
        return text if sound is None else bytes(sound)

    async def send(self, message: dict[str, Any] | bytes) -> None:
        """Send a message, or JSON as it is; does nothing once the client is gone, which `receive` reports."""
        json = message if isinstance(message, bytes) else orjson.dumps(message)
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_text(json.decode())

    async def close(self, code: int) -> None:
        """Close, unless the client did."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code)


class LiveAdapter(Protocol):
    """What page and API do differently; made anew for each web socket.

    The recordings in work of one `client` are counted together. `too_large` is the error of a message over the limit.
    `begin` opens the session that the client asks for, with `socket.put_moment` for its moments; `ready` is what is
    said then, `moment` what is said of each moment. `hear` takes a text, and returns whether it was the last message.
    `finish` ends the session and says what became of it; `release` gives the slot of the client back before that.
    `failure` is what is said of an error, with the code to close with.
    """

    client: str

    def too_large(self) -> EmotionError: ...
    async def begin(self, socket: LiveSocket) -> LiveSession: ...
    def ready(self) -> dict[str, Any]: ...
    def moment(self, moment: LiveMoment) -> Iterable[dict[str, Any]]: ...
    def hear(self, session: LiveSession, text: str) -> bool: ...
    async def finish(self, session: LiveSession, socket: LiveSocket, release: Callable[[], None]) -> None: ...
    def failure(self, error: Exception) -> tuple[dict[str, Any], int]: ...


class LiveConversations:
    """Holds the conversations at one address, `max_sessions` at a time."""

    def __init__(
        self, limit: ConcurrencyLimit, max_sessions: int, adapter_of: Callable[[WebSocket], LiveAdapter]
    ) -> None:
        self._limit, self._max_sessions, self._adapter_of = limit, max_sessions, adapter_of
        self._num_open = 0

    async def hold(self, websocket: WebSocket) -> None:
        """Accept a web socket, and listen to it until the end; the client is told what goes wrong."""
        await websocket.accept()
        adapter = self._adapter_of(websocket)
        socket, code = LiveSocket(websocket, adapter.too_large), NORMAL
        try:
            # A session is a recording in work from its first sound.
            with self._place(), ExitStack() as slot:
                slot.enter_context(self._limit.slot(adapter.client))
                session = await adapter.begin(socket)
                await _listen(session, socket, adapter)
                await adapter.finish(session, socket, slot.close)
        except Disconnected:
            pass
        except Exception as error:
            message, code = adapter.failure(error)
            await socket.send(message)
        await socket.close(code)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._num_open >= self._max_sessions:
            raise LiveFull(self._max_sessions)
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1


async def _listen(session: LiveSession, socket: LiveSocket, adapter: LiveAdapter) -> None:
    """Feed the session and tell its moments, until it is stopped or full."""
    telling = asyncio.create_task(_tell_moments(socket, adapter))
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    try:
        await socket.send(adapter.ready())
        while not session.is_full:
            message = await socket.receive()
            if isinstance(message, bytes):
                await asyncio.to_thread(session.feed, message)
                await asyncio.sleep(wait_s(session.heard_s, loop.time() - started_s))
            elif adapter.hear(session, message):
                return
    except BaseException:
        await _leave(session)
        raise
    finally:
        telling.cancel()


async def _tell_moments(socket: LiveSocket, adapter: LiveAdapter) -> None:
    while True:
        for message in adapter.moment(await socket.moments.get()):
            await socket.send(message)


async def _leave(session: LiveSession) -> None:
    """Wait until what is kept of a session is written: it counts as open, and a program that ends waits for it."""
    kept = session.leave()
    if kept is None:
        return
    ending = asyncio.wrap_future(kept)
    await asyncio.wait({ending})
    if ending.exception() is not None:
        _LOG.warning("a live session could not be kept: %s", ending.exception())


def wait_s(heard_s: float, elapsed_s: float) -> float:
    """How long a client that has sent so much sound in so much time has to wait."""
    return max(heard_s - elapsed_s - MAX_LEAD_S, 0.0)
