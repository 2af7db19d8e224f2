"""Keys of programs and passwords of people, as hashes in the settings."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar

from emotion.access.clients import Client
from emotion.errors import EmotionError, SettingsInvalid
from emotion.settings import Settings

KEY_PREFIX = "emo_"
LEAST_PASSWORD = 8
# Names become folders below the outputs.
_NAME = re.compile(r"[a-z0-9_-]{1,32}")
_KEY_BYTES = 32
# What OWASP asks of scrypt, in the row that takes the least memory: 16 MiB, about 0.2 s.
_N, _R, _P = 2**14, 8, 5
_SALT_BYTES, _HASH_BYTES = 16, 32
# A typing error in a setting must not ask for all memory.
_MOST_N, _MOST_R, _MOST_P = 2**20, 32, 16
_LONGEST_BYTES = 1024
T = TypeVar("T")


@dataclass(frozen=True)
class PasswordHash:
    """The scrypt hash of a password, written as `scrypt$n$r$p$salt$hash`, the last two in base64 for URLs."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> Self:
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(_N, _R, _P, salt, _scrypt(password, salt, _N, _R, _P))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what is no such hash, or takes more memory than is sensible."""
        kind, *numbers, salt, digest = text.split("$")
        n, r, p = (int(number) for number in numbers)
        hashed = cls(n, r, p, _from_base64(salt), _from_base64(digest))
        is_power_of_two = n > 1 and n & (n - 1) == 0
        is_sensible = is_power_of_two and n <= _MOST_N and 0 < r <= _MOST_R and 0 < p <= _MOST_P
        if kind != "scrypt" or not is_sensible or not hashed.salt or len(hashed.digest) != _HASH_BYTES:
            raise ValueError(text)
        return hashed

    def __str__(self) -> str:
        return f"scrypt${self.n}${self.r}${self.p}${_to_base64(self.salt)}${_to_base64(self.digest)}"

    def fits(self, password: str) -> bool:
        """Whether this is the password; takes about 0.2 s of a processor."""
        digest = _scrypt(password, self.salt, self.n, self.r, self.p)
        return hmac.compare_digest(digest, self.digest)


class Keyring:
    """The keys and logins of the settings.

    Several keys may have one name, so that a key can be changed without a pause: they are one client.
    """

    def __init__(self, api_keys: str = "", page_logins: str = "") -> None:
        """Raises SettingsInvalid for a name, a hash or a list that cannot be used."""
        self._keys = tuple(_parse_entries("api_keys", api_keys, "key", _check_key_hash))
        self._logins: dict[str, PasswordHash] = {}
        for name, hashed in _parse_entries("page_logins", page_logins, "password", PasswordHash.parse):
            if name in self._logins:
                raise _broken("page_logins", f"{name!r} stands there twice", "keys password")
            self._logins[name] = hashed
        # A name that is not known takes as long as one that is: nobody learns which names there are.
        self._nobody = next(iter(self._logins.values()), None)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.api_keys, settings.page_logins)

    @property
    def asks(self) -> bool:
        """Whether a key or a login is needed at all."""
        return bool(self._keys or self._logins)

    def client_of_key(self, key: str) -> Client | None:
        """The client with this key, None if it is unknown; compares every hash, so that the time tells nothing."""
        digest, found = hash_key(key), None
        for name, known in self._keys:
            if hmac.compare_digest(digest, known):
                found = name
        return None if found is None else Client.named(found)

    def client_of_login(self, name: str, password: str) -> Client | None:
        """The client with this name and password, None if they are wrong; slow on purpose, so call it on a thread."""
        known = self._logins.get(name)
        hashed = known or self._nobody
        if hashed is None or not hashed.fits(password) or known is None:
            return None
        return Client.named(name)


def new_key() -> str:
    """A key that nobody can guess: `emo_` and 43 letters and digits."""
    return KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def hash_key(key: str) -> str:
    """SHA-256 of a key in hexadecimal; a key is random, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> str:
    """The name if a client may have it; raises EmotionError otherwise."""
    if not _NAME.fullmatch(name):
        raise EmotionError("A name has 1 to 32 of the characters a-z, 0-9, - and _. Choose another.")
    return name


def check_password(password: str) -> str:
    """The password if it may be used; raises EmotionError otherwise."""
    if not LEAST_PASSWORD <= len(password) <= _LONGEST_BYTES // 4:
        raise EmotionError(f"A password has at least {LEAST_PASSWORD} characters. Choose another.")
    return password


def _parse_entries(setting: str, text: str, kind: str, parse: Callable[[str], T]) -> Iterator[tuple[str, T]]:
    """Names and hashes of a setting; what is wrong is told without what stands there, which may be a secret."""
    command = "keys new" if kind == "key" else "keys password"
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        name, colon, hashed = entry.partition(":")
        if not colon or not _NAME.fullmatch(name):
            raise _broken(setting, "each entry is a name of a-z, 0-9, - and _, a colon and a hash", "keys new")
        try:
            parsed = parse(hashed.strip())
        except ValueError:
            raise _broken(setting, f"what stands after {name!r} is no hash of a {kind}", command) from None
        yield name, parsed


def _check_key_hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("no SHA-256 in hexadecimal")
    return text


def _broken(setting: str, what: str, command: str) -> SettingsInvalid:
    said = f"The setting {setting!r} cannot be used: {what}. `emotion {command} NAME` prints what belongs there."
    return SettingsInvalid(said, key=setting)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")[:_LONGEST_BYTES]
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r + 2**20, dklen=_HASH_BYTES)


def _to_base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _from_base64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
