"""Names that every file system takes, made from the names of recordings."""

import itertools
import re
import unicodedata
from collections.abc import Iterator

# Four times below the 255 bytes of common file systems: encrypted ones allow 143, and zip tools prefix a path.
MAX_NAME_BYTES = 100
FALLBACK_NAME = "clip"
_FORBIDDEN = frozenset('<>:"|?*')
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")
# "Naming Files, Paths, and Namespaces", Microsoft: reserved with any extension, superscript digits included.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [port + digit for port in ("com", "lpt") for digit in "0123456789¹²³"]
)


def printable(text: str) -> str:
    """The text with what UTF-8 cannot hold (half characters of undecodable file names) shown as `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def safe_name(clip_name: str) -> str:
    """A folder name for a recording: its last part without extension, safe on Linux, macOS and Windows.

    Letters of every script stay. The result is never hidden, never empty and at most MAX_NAME_BYTES long in UTF-8.
    """
    last_part = re.split(r"[/\\]", unicodedata.normalize("NFC", printable(clip_name)))[-1]
    stem = _SUFFIX.sub("", last_part)
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
