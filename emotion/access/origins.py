"""Names by which this server may be asked for, and web sites whose scripts may use the API."""

import re

from emotion.errors import SettingsInvalid
from emotion.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ANY_ORIGIN = "*"
_ORIGIN = re.compile(r"https?://[a-z0-9.:\[\]-]+")


def known_hosts(settings: Settings, keys_are_asked_for: bool) -> frozenset[str]:
    """Names under which the server may be asked for, in small letters; none where any name will do.

    Where nobody is asked for a key, the names of this machine and those of `allowed_hosts`. Where keys are asked for,
    a strange name gives a stranger nothing, since a browser sends a cookie to the name that it is from only; so any
    will do unless `allowed_hosts` says which.
    """
    named = {name.lower() for name in _listed(settings.allowed_hosts)}
    if settings.insecure or (keys_are_asked_for and not named):
        return frozenset()
    return frozenset({*LOOPBACK, "[::1]", settings.host.lower(), *named})


def known_origins(settings: Settings, keys_are_asked_for: bool) -> frozenset[str]:
    """Web sites whose scripts may use the API; raises SettingsInvalid for what is none, and for all without a key."""
    origins = frozenset(origin.lower().rstrip("/") for origin in _listed(settings.cors_origins))
    for origin in origins - {ANY_ORIGIN}:
        if not _ORIGIN.fullmatch(origin):
            raise _broken(f"{origin!r} is no web site. Write it as https://example.org, with its port if it has one")
    if ANY_ORIGIN in origins and not keys_are_asked_for:
        raise _broken("* would let every web site use this server, since nobody is asked for a key")
    return origins


def _listed(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _broken(what: str) -> SettingsInvalid:
    return SettingsInvalid(f"The setting 'cors_origins' cannot be used: {what}.", key="cors_origins")
