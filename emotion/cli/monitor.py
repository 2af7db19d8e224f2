"""`emotion monitor`: the live view of a server in the terminal, as `top` and `gpustat` would show it."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emotion.cli import terminal
from emotion.errors import EmotionError, command_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emotion.monitor import Advice, MachineStatus, MachineWatch, StudioStatus

Answer = Literal["status", "nobody", "key", "stranger"]
# Processors are at work between two looks, so the first look at this machine needs a while before it.
_FIRST_LOOK_S = 0.5


def monitor(
    url: Annotated[
        str | None, typer.Argument(help="Address of the server; by default the one of the settings.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", envvar="EMOTION2VEC_KEY", help="Key of the server, where it asks for one."),
    ] = None,
    every_s: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two readings.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="One reading; exits with 1 if no server answered.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Each reading as one line of JSON.")] = False,
) -> None:
    """Show processor, memory, graphics card, queue and stage times of a running server, with advice."""
    server = _Server(address_of(url or _own_address()), key)
    if once:
        told = server.look()
        server.show(told, as_json)
        if told.status is None:
            raise typer.Exit(1)
        return
    with suppress(KeyboardInterrupt):  # the usual way to end it
        _watch(server, every_s, as_json)


@dataclass(frozen=True)
class ServerAnswer:
    """What came back: a `status`, or why there is none: `nobody` answered, a `key` is needed, or a `stranger` answered.

    `record` is the answer as it came; `machine` this machine, where there is none.
    """

    answer: Answer
    status: "StudioStatus | None" = None
    advice: "tuple[Advice, ...]" = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    machine: "MachineStatus | None" = None


def address_of(url: str) -> str:
    """The root of a server for what a person types: `host:8000` is `http://host:8000`.

    Raises EmotionError for what is no address.
    """
    import httpx  # only here: it takes a tenth of a second

    whole = url if "://" in url else f"http://{url}"
    try:
        parts = httpx.URL(whole)
        is_address = parts.scheme in ("http", "https") and bool(parts.host)
    except httpx.InvalidURL:  # a port that is no number
        is_address = False
    if not is_address:
        raise EmotionError(f"{url!r} is no address of a server. Write it as http://127.0.0.1:7860.")
    return whole.rstrip("/")


def ask(address: str, key: str | None = None) -> ServerAnswer:
    """Ask the server at this address how it is; waits for 5 s at most. The key goes to no other address."""
    from emotion.client import Client, Refused, ServerAway
    from emotion.monitor import Advice, StudioStatus

    try:
        with Client(address, key, patience_s=0, timeout_s=5.0) as client:
            record = client.status()
        status = StudioStatus.from_record(record)
        advice = tuple(Advice(str(one["code"]), dict(one["values"])) for one in record.get("advice", ()))
    except ServerAway:
        return ServerAnswer("nobody")
    except Refused as error:
        return ServerAnswer("key" if error.status in (401, 403) else "stranger")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ServerAnswer("stranger")
    return ServerAnswer("status", status, advice, record)


class _Server:
    """A server that is looked at, and this machine while it does not answer."""

    def __init__(self, address: str, key: str | None) -> None:
        self.address, self._key = address, key
        self._machine: MachineWatch | None = None

    def look(self) -> ServerAnswer:
        """Ask the server, else read this machine."""
        from emotion.monitor import MachineWatch

        told = ask(self.address, self._key)
        if told.status is not None:
            return told
        if self._machine is None:
            self._machine = MachineWatch()
            time.sleep(_FIRST_LOOK_S)
        return replace(told, machine=self._machine.read())

    def picture(self, told: ServerAnswer) -> "RenderableType":
        """A look, for people."""
        from emotion.cli.monitor_view import View

        view = View(terminal.language())
        if told.status is not None:
            return view.of_server(told.status, told.advice, told.record.get("cache"), self.address)
        assert told.machine is not None  # noqa: S101 - it is read where no server answers
        return view.of_machine(told.machine, told.answer, self.address, command_line("serve"))

    def show(self, told: ServerAnswer, as_json: bool) -> None:
        """Print a look; for programs the record of the server, or `machine` and why there is no more."""
        from rich.console import Console

        if not as_json:
            Console().print(self.picture(told))
            return
        record: dict[str, Any] = {"address": self.address, "answer": told.answer, **told.record}
        if told.machine is not None:
            record["machine"] = asdict(told.machine)
        terminal.show(json.dumps(record, ensure_ascii=False))


def _watch(server: _Server, every_s: float, as_json: bool) -> None:
    """Look again and again, in place on a terminal, line after line elsewhere."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if as_json or not console.is_terminal:
        while True:
            server.show(server.look(), as_json)
            time.sleep(every_s)
    with Live(server.picture(server.look()), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.refresh()
            time.sleep(every_s)
            live.update(server.picture(server.look()))


def _own_address() -> str:
    from emotion.settings import load_settings

    settings = load_settings()
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared only
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
