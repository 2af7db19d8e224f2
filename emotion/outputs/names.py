"""Names of runs, and names that every file system takes, made from the names of recordings."""

import itertools
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

# Four times below the 255 bytes of common file systems: encrypted ones allow 143, and zip tools prefix a path.
MAX_NAME_BYTES = 100
FALLBACK_NAME = "clip"
_RUN_FORMAT = "outputs_%Y%m%d_%H%M%S"
_RUN_PATTERN = re.compile(r"(outputs_[0-9]{8}_[0-9]{6})(?:_([1-9][0-9]{0,8}))?")
_FORBIDDEN = frozenset('<>:"|?*')
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
# "Naming Files, Paths, and Namespaces", Microsoft: reserved with any extension, superscript digits included.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [port + digit for port in ("com", "lpt") for digit in "0123456789¹²³"]
)


class RunTime(NamedTuple):
    """When a run began, and its number among those of the same second; sorts as the runs were made."""

    started: datetime
    number: int


def run_name(moment: datetime) -> str:
    """The first name of a run that begins now; further ones of the same second are `numbered`."""
    return moment.strftime(_RUN_FORMAT)


def run_time(name: str) -> RunTime | None:
    """What the name of a run says; None for every other name."""
    match = _RUN_PATTERN.fullmatch(name)
    if match is None:
        return None
    try:
        started = datetime.strptime(match[1], _RUN_FORMAT)
    except ValueError:  # the 30th of February
        return None
    # Other years are no `timestamp` everywhere.
    return RunTime(started, int(match[2] or 1)) if 1970 < started.year < 9999 else None


def is_safe_name(name: str) -> bool:
    """Whether a name could be one of `safe_name`: it stays in its folder and is not hidden."""
    return bool(name) and name[0] not in " .-" and not any(c in "/\\" or _is_unsafe(c) for c in name)


def printable(text: str) -> str:
    """The text with what UTF-8 cannot hold (half characters of undecodable file names) shown as `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def without_extension(name: str) -> str:
    """The name of a file without `.wav` or what else it ends with."""
    return _SUFFIX.sub("", name)


def download_name(clip_name: str, file_name: str) -> str:
    """What a file of a run is saved as, named after its recording: `call.result.json`."""
    return f"{safe_name(clip_name)}.{file_name}"


def safe_name(clip_name: str) -> str:
    """A folder name for a recording: its last part without extension, safe on Linux, macOS and Windows.

    Letters of every script stay. The result is never hidden, never empty and at most MAX_NAME_BYTES long in UTF-8.
    """
    last_part = re.split(r"[/\\]", unicodedata.normalize("NFC", printable(clip_name)))[-1]
    stem = without_extension(last_part)
    safe = "".join("_" if _is_unsafe(character) else character for character in stem)
    # A leading hyphen would read as an option in a shell; Windows drops dots and spaces at the end.
    short = safe.lstrip(" .-").encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore").rstrip(" .")
    if short.split(".")[0].rstrip().casefold() in _DEVICES:
        return f"_{short}"
    return short or FALLBACK_NAME


def numbered(name: str) -> Iterator[str]:
    """The name, then `name_2`, `name_3` and so on without end."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))


def _is_unsafe(character: str) -> bool:
    # Categories C (control, format, half characters, unassigned), Zl and Zp break lines or turn text around.
    category = unicodedata.category(character)
    return character in _FORBIDDEN or category.startswith("C") or category in ("Zl", "Zp")
