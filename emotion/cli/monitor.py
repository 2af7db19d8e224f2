"""`emotion monitor`: the live view of a server in the terminal, as `top` and `gpustat` would show it."""

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emotion.cli import terminal
from emotion.errors import command_line

if TYPE_CHECKING:
    from rich.console import RenderableType

    from emotion.monitor import MachineStatus
    from emotion.monitor.asking import Told

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
    from emotion.monitor.asking import address_of

    eye = _Eye(address_of(url or _own_address()), key)
    if once:
        eye.look()
        _show(eye, as_json)
        if not eye.is_answered:
            raise typer.Exit(1)
        return
    try:
        _watch(eye, every_s, as_json)
    except KeyboardInterrupt:
        return  # the usual way to end it


class _Eye:
    """Looks at a server, and at this machine while none answers."""

    def __init__(self, address: str, key: str | None) -> None:
        from emotion.cli.monitor_view import View

        self._address, self._key = address, key
        self._view = View(terminal.language())
        self._machine: Any = None
        self._told: Told | None = None
        self._seen: MachineStatus | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the last look met a server."""
        return self._told is not None and self._told.answer == "status"

    def look(self) -> None:
        """Ask the server, else read this machine."""
        from emotion.monitor.asking import ask

        self._told = ask(self._address, self._key)
        if not self.is_answered:
            self._seen = self._look_around()

    def picture(self) -> "RenderableType":
        """The last look, for people."""
        told = self._told
        if told is not None and told.status is not None:
            return self._view.of_server(told.status, told.advice, told.record.get("cache"), self._address)
        assert told is not None and self._seen is not None  # noqa: S101, PT018 - `look` comes first
        return self._view.of_machine(self._seen, told.answer, self._address, command_line("serve"))

    def record(self) -> dict[str, Any]:
        """The last look, for programs: the record of the server, or `machine` and why there is no more."""
        assert self._told is not None  # noqa: S101 - `look` comes first
        record: dict[str, Any] = {"address": self._address, "answer": self._told.answer, **self._told.record}
        if not self.is_answered and self._seen is not None:
            record["machine"] = asdict(self._seen)
        return record

    def _look_around(self) -> "MachineStatus":
        from emotion.monitor import MachineWatch

        if self._machine is None:
            self._machine = MachineWatch()
            time.sleep(_FIRST_LOOK_S)
        status: MachineStatus = self._machine.read()
        return status


def _watch(eye: _Eye, every_s: float, as_json: bool) -> None:
    """Look again and again, in place on a terminal, line after line elsewhere."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if as_json or not console.is_terminal:
        while True:
            eye.look()
            _show(eye, as_json)
            time.sleep(every_s)
    eye.look()
    with Live(eye.picture(), console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(eye.picture(), refresh=True)
            time.sleep(every_s)
            eye.look()


def _show(eye: _Eye, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        terminal.show(json.dumps(eye.record(), ensure_ascii=False))
    else:
        Console().print(eye.picture())


def _own_address() -> str:
    from emotion.settings import load_settings

    settings = load_settings()
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared only
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
