"""`emotion keys`: keys for programs and passwords for the page; the settings get their hashes only."""

import getpass
import sys
from typing import Annotated

import typer

from emotion.cli import terminal

app = typer.Typer(help="Make keys for programs, and passwords for the page.", no_args_is_help=True)
_NAME_HELP = "Whose it is: 1 to 32 of the characters a-z, 0-9, - and _."


@app.command()
def new(name: Annotated[str, typer.Argument(metavar="NAME", help=_NAME_HELP)]) -> None:
    """Print a new key, which is not kept anywhere, and the line for the settings."""
    from emotion.access.keys import check_name, hash_key, new_key

    check_name(name)
    key = new_key()
    terminal.say(f"The key of {name}, shown only now:")
    terminal.show(key)
    _say_where("api_keys", f"{name}:{hash_key(key)}")


@app.command()
def password(name: Annotated[str, typer.Argument(metavar="NAME", help=_NAME_HELP)]) -> None:
    """Ask for a password, or read it from standard input, and print the line for the settings."""
    from emotion.access.keys import PasswordHash, check_name, check_password

    check_name(name)
    typed = check_password(_read_password(name))
    _say_where("page_logins", f"{name}:{PasswordHash.of(typed)}", is_result=True)


def _read_password(name: str) -> str:
    from emotion.errors import EmotionError

    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Again: ") != typed:
        raise EmotionError("The two passwords differ. Begin again.")
    return typed


def _say_where(setting: str, entry: str, is_result: bool = False) -> None:
    line = f'{setting} = "{entry}"'
    terminal.say("The line for the settings file; several entries stand in one line, with commas:")
    (terminal.show if is_result else terminal.say)(line)
    # In single quotes, or a shell would take $ for a variable.
    terminal.say(f"Or in the environment: EMOTION_{setting.upper()}='{entry}'")
