"""Where recordings and results may lie: this machine, an object store through fsspec, or the web."""

import posixpath
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from emotion.audio import shown_name
from emotion.bulk.errors import PlaceRefused, StorageMissing
from emotion.errors import ClipNotFound, ClipUnreadable, EmotionError

WEB = frozenset({"http", "https"})
# Others that fsspec knows run commands, open sockets or unpack what they read, and none of them stores recordings.
STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "hf", "hdfs", "memory"})
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "oss": "ossfs", "hf": "huggingface_hub"}
_WAITS_S = (0.5, 1.0)
_WEB_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 20
_MODIFIED_KEYS = ("LastModified", "mtime", "updated", "last_modified", "created")


def protocol_of(place: str) -> str:
    """The protocol of a URL, `file` for a path of this machine; raises PlaceRefused for one that is not read."""
    protocol, mark, _ = place.partition("://")
    if not mark or protocol == "file":
        return "file"
    if "::" in place or protocol not in WEB | STORES:
        raise PlaceRefused(
            f"{protocol}:// is not read. Use a path, {', '.join(f'{known}://' for known in sorted(STORES | WEB))}."
        )
    return protocol


def is_local(place: str) -> bool:
    """Whether a place is a path of this machine."""
    return "://" not in place


def canonical(place: str) -> str:
    """One spelling for each place: an absolute path, or a URL."""
    protocol = protocol_of(place)
    if protocol == "file":
        return str(Path(place.removeprefix("file://")).absolute())
    if protocol in WEB:
        return place
    head, _, path = place.partition("://")
    head = {"gcs": "gs", "s3a": "s3"}.get(head, head)
    # Not tidied: two slashes in a key of an object store are two slashes.
    return f"{head}://{path.strip('/')}"


def beside(manifest: str, entry: str) -> str:
    """The place that a line of a manifest names; relative ones start at the manifest.

    Raises PlaceRefused for a manifest from the web that names something of this machine.
    """
    from_web = not is_local(manifest) and protocol_of(manifest) in WEB
    if from_web:
        place = urljoin(manifest, entry)
        if "://" not in place or protocol_of(place) not in WEB:
            raise PlaceRefused("A manifest from the web may only name recordings on the web.")
        return place
    if "://" in entry or entry.startswith("/") or Path(entry).is_absolute():
        return canonical(entry)
    if is_local(manifest):
        return canonical(posixpath.normpath(str(Path(manifest).parent / entry)))
    head, _, folder = manifest.rpartition("/")[0].partition("://")
    return canonical(f"{head}://{posixpath.normpath(f'{folder}/{entry}')}")


def name_of(place: str) -> str:
    """The last part of a place, fit for messages: without folders and without the signature of a URL."""
    return shown_name(place if is_local(place) else urlsplit(place).path, None)


def storage(place: str) -> tuple[Any, str]:
    """The fsspec file system of a store, and the path in it; raises StorageMissing without its package."""
    import fsspec

    protocol = protocol_of(place)
    try:
        # Listings that are kept would grow with the number of recordings.
        system = fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError:
        raise StorageMissing(protocol, _PACKAGES.get(protocol, "adlfs")) from None
    return system, system._strip_protocol(place)


def fetch(place: str, limit_bytes: int) -> bytes:
    """The content of a recording elsewhere, at most one byte more than the limit; three attempts.

    Raises ClipNotFound or ClipUnreadable.
    """
    name = name_of(place)
    for wait_s in (*_WAITS_S, None):
        try:
            if protocol_of(place) in WEB:
                return _read_web(place, limit_bytes)
            system, path = storage(place)
            return cast(bytes, system.cat_file(path, start=0, end=limit_bytes + 1))
        except EmotionError:
            raise
        except FileNotFoundError:
            raise ClipNotFound(name) from None
        except Exception as error:  # every storage has its own
            if isinstance(error, PermissionError) or wait_s is None:
                raise ClipUnreadable(name) from error
            time.sleep(wait_s)
    raise ClipUnreadable(name)


def modified(details: Mapping[str, Any]) -> datetime | None:
    """When a file of a store was written, by whatever key its file system says it."""
    value = next((details[key] for key in _MODIFIED_KEYS if details.get(key) is not None), None)
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return None


def _read_web(url: str, limit_bytes: int) -> bytes:
    import httpx

    content = bytearray()
    with httpx.stream("GET", url, follow_redirects=True, timeout=_WEB_TIMEOUT_S) as answer:
        if answer.status_code in (404, 410):
            raise FileNotFoundError
        if answer.status_code in (401, 403):
            raise PermissionError
        answer.raise_for_status()
        for block in answer.iter_bytes(_BLOCK_BYTES):
            content += block
            if len(content) > limit_bytes:
                break
    return bytes(content[: limit_bytes + 1])
