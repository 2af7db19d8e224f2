"""What does not go together in the settings: open addresses, keys, disks without bounds, a Redis that is away."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from emotion.access.keys import Keyring
from emotion.access.limits import RateLimiter
from emotion.access.origins import LOOPBACK, known_origins
from emotion.doctor.finding import Finding
from emotion.errors import SettingsInvalid, command_line
from emotion.settings import Settings

_REDIS_PORT = 6379
_ANSWER_S = 1.0


def findings(settings: Settings) -> Iterator[Finding]:
    yield changed(settings)
    yield from access(settings)
    yield from _limit(settings)
    yield from keeping(settings)
    if settings.cache.startswith(("redis://", "rediss://")):
        yield redis(settings.cache)


def changed(settings: Settings) -> Finding:
    """Which settings differ from the defaults, by name: a value may be a secret."""
    names = [name for name, field in Settings.model_fields.items() if getattr(settings, name) != field.default]
    return Finding("settings", f"differing from the defaults: {', '.join(names)}" if names else "the defaults")


def access(settings: Settings) -> Iterator[Finding]:
    """Who can reach the server, and what they are asked for."""
    try:
        asks = Keyring.of(settings).asks
        known_origins(settings, asks)
    except SettingsInvalid as error:
        is_origin = error.details.get("key") == "cors_origins"
        remedy = 'cors_origins = "https://example.org"' if is_origin else command_line("keys new NAME")
        yield Finding("access", str(error), "failure", remedy)
        return
    is_open = settings.host not in LOOPBACK
    if is_open and not asks:
        yield _open_door(settings)
    elif is_open:
        remedy = 'Keep host = "127.0.0.1", and put config/nginx.conf with a certificate in front of it.'
        yield Finding("access", f"keys travel in clear to {settings.host}", "warning", remedy)
    else:
        yield Finding("access", "a key or a login is asked for" if asks else "only this machine, without a key")


def _open_door(settings: Settings) -> Finding:
    remedy = f'{command_line("keys new NAME")}, and the hash it prints into api_keys; or keep host = "127.0.0.1".'
    if settings.insecure:
        text = f"insecure is set: whoever reaches {settings.host} sees every recording"
        return Finding("access", text, "warning", remedy)
    return Finding("access", f"the server refuses to listen on {settings.host} without a key", "failure", remedy)


def _limit(settings: Settings) -> Iterator[Finding]:
    try:
        RateLimiter(settings.rate_limit)
    except SettingsInvalid as error:
        yield Finding("limits", str(error), "failure", 'rate_limit = "600/minute"')
        return
    serves_others = bool(settings.api_keys or settings.page_logins)
    if serves_others and not settings.rate_limit:
        text = "one client may ask as often as it likes"
        yield Finding("limits", text, "warning", 'rate_limit = "600/minute", and jobs_per_client = 32')
    if 0 < settings.jobs_per_client > settings.queue_size:
        text = f"jobs_per_client ({settings.jobs_per_client}) is more than queue_size ({settings.queue_size})"
        remedy = f"jobs_per_client = {settings.queue_size // 2}"
        yield Finding("limits", f"{text}, so it limits nobody", "warning", remedy)


def keeping(settings: Settings) -> Iterator[Finding]:
    """Whether runs of other people may fill the disk, because nothing deletes them."""
    serves_others = bool(settings.api_keys or settings.page_logins) or settings.host not in LOOPBACK
    if serves_others and not settings.keep_days and not settings.keep_gb:
        text = "runs stay for ever, and clients make more of them"
        yield Finding("keeping", text, "warning", "keep_days = 30.0, and keep_gb = 50.0")


def redis(url: str) -> Finding:
    """Whether somebody listens where the cache should be; the address may hold a password, so it is not said whole."""
    parts = urlsplit(url)
    host, number = parts.hostname or "127.0.0.1", parts.port or _REDIS_PORT
    try:
        with socket.create_connection((host, number), timeout=_ANSWER_S):
            return Finding("redis", f"{host}:{number} answers")
    except OSError:
        text = f"nobody answers at {host}:{number}; analyses are kept in memory only"
        return Finding("redis", text, "warning", 'Start it (sudo systemctl start redis-server), or cache = "disk".')
