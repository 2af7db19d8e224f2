"""A live session over a web socket, the same for page and API: sound in, moments out, both bounded, and the end."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from emotion.audio import SoundQueue
from emotion.engine import ConcurrencyLimit
from emotion.errors import EmotionError, LiveFull, LiveSilent, TooManyRequests
from emotion.live.session import LiveMoment, LiveSession

_LOG = logging.getLogger(__name__)
# More than a second of the highest rate; a page sends a tenth of a second at a time.
MAX_SOUND_BYTES = 512 * 1024
MAX_TEXT_BYTES = 4 * 1024
# A page that was held up sends what it kept at once. What comes faster than it is spoken has to wait.
MAX_LEAD_S = 30.0
# A microphone never pauses: one that sends nothing for so long belongs to a laptop that went to sleep.
IDLE_S = 30.0
# Who sends less than this share of that time holds a place with nothing.
_LEAST_SHARE = 0.1
# As much as a page sends at a time; moments come no more often.
_PIECE_S = 0.1
# A session costs a window every half second, and disk: 115 MB an hour from the page, more at high rates from the API.
MAX_SESSIONS = 8
_PLACE_RETRY_S = 60.0
NORMAL, REFUSED, BUSY = 1000, 1008, 1013
_MAX_WAITING_MOMENTS = 32


class Disconnected(Exception):
    """The client is gone."""


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

    async def receive(self, patience_s: float | None = None) -> str | bytes:
        """The next message: a text, or sound; raises Disconnected, LiveSilent when none comes, and `too_large`."""
        try:
            message = await asyncio.wait_for(self._websocket.receive(), IDLE_S if patience_s is None else patience_s)
        except TimeoutError:
            raise LiveSilent(IDLE_S) from None
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

    async def disconnected(self) -> None:
        """Return when the client is gone; what it says until then is not heard."""
        while (await self._websocket.receive())["type"] != "websocket.disconnect":
            pass

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
    """Holds the conversations at one address, `max_sessions` at a time.

    A client may begin another one while as many places are free as it has, so that none has them all.
    """

    def __init__(
        self, limit: ConcurrencyLimit, max_sessions: int, adapter_of: Callable[[WebSocket], LiveAdapter]
    ) -> None:
        self._limit, self._max_sessions, self._adapter_of = limit, max_sessions, adapter_of
        self._open: Counter[str] = Counter()

    async def hold(self, websocket: WebSocket) -> None:
        """Accept a web socket, and listen to it until the end; the client is told what goes wrong."""
        await websocket.accept()
        adapter = self._adapter_of(websocket)
        socket, code = LiveSocket(websocket, adapter.too_large), NORMAL
        try:
            # A session is a recording in work from its first sound.
            with self._place(adapter.client), ExitStack() as slot:
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
    def _place(self, client: str) -> Iterator[None]:
        num_free = self._max_sessions - self._open.total()
        if num_free <= 0:
            raise LiveFull(self._max_sessions)
        if num_free < self._open[client]:
            raise TooManyRequests(_PLACE_RETRY_S)
        self._open[client] += 1
        try:
            yield
        finally:
            self._open[client] -= 1
            self._open = +self._open  # without the clients that have none


async def _listen(session: LiveSession, socket: LiveSocket, adapter: LiveAdapter) -> None:
    """Feed the session and tell its moments, until it is stopped or full."""
    inbox = _Inbox(session)
    telling = asyncio.create_task(_tell_moments(socket, adapter))
    reading = asyncio.create_task(inbox.read(socket, adapter))
    try:
        await socket.send(adapter.ready())
        await _feed(session, inbox, reading)
        if reading.done():
            reading.result()
    except BaseException:
        await _leave(session)
        raise
    finally:
        telling.cancel()
        reading.cancel()
        inbox.sound.clear()


async def _feed(session: LiveSession, inbox: "_Inbox", reading: asyncio.Task[None]) -> None:
    """Let the session hear all the sound, that of a client which is there not faster than it may come."""
    loop, piece_bytes = asyncio.get_running_loop(), round(_PIECE_S * session.bytes_per_s)
    started_s = loop.time()
    while not session.is_full and await inbox.has_sound():
        await asyncio.to_thread(lambda: session.feed(inbox.sound.pull(piece_bytes)))
        await asyncio.wait({reading}, timeout=wait_s(session.heard_s, loop.time() - started_s))


class _Inbox:
    """What came for a session and waits to be heard.

    Whoever sends faster than anybody speaks is read all the same: were the sound left in the connection, the answers
    to pings would be stuck behind it, and both ends would take the other for dead.
    """

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self.sound = SoundQueue(session.room_bytes)
        self._is_complete = False
        self._news = asyncio.Event()

    async def has_sound(self) -> bool:
        """Wait for sound; False when no more comes."""
        while self.sound.is_empty and not self._is_complete:
            self._news.clear()
            await self._news.wait()
        return not self.sound.is_empty

    async def read(self, socket: LiveSocket, adapter: LiveAdapter) -> None:
        """Read until the client is gone; raises Disconnected if it did not say before that it ends, and LiveSilent."""
        try:
            await self._read_sound(socket, adapter)
        except Disconnected:
            if not self._session.request.keep_audio:
                self.sound.clear()
            raise
        finally:
            self._is_complete = True
            self._news.set()
        await socket.disconnected()

    async def _read_sound(self, socket: LiveSocket, adapter: LiveAdapter) -> None:
        now_s = asyncio.get_running_loop().time
        num_bytes, until_s = 0, now_s() + IDLE_S
        while True:
            try:
                message = await socket.receive(max(until_s - now_s(), 0.0))
            except LiveSilent:
                if self.sound.is_empty:  # else it is the client that waits
                    raise
                num_bytes, until_s = 0, now_s() + IDLE_S
                continue
            if isinstance(message, str):
                if adapter.hear(self._session, message):
                    return
                continue
            await asyncio.to_thread(self.sound.push, message)
            self._news.set()
            num_bytes += len(message)
            if num_bytes >= _LEAST_SHARE * IDLE_S * self._session.bytes_per_s:
                num_bytes, until_s = 0, now_s() + IDLE_S


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
    """How long a client of whom so much sound was heard in so much time has to wait."""
    return max(heard_s - elapsed_s - MAX_LEAD_S, 0.0)
