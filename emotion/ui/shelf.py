"""Files that the page offers, each folder under an address that only those know to whom it was shown."""

import mimetypes
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, Response, StreamingResponse

from emotion.errors import EmotionError

# A reader who opened a thousand recordings opens the first of them again; its address is new then.
_MOST_FOLDERS = 4_096
_SHOWN_IN_PLACE = frozenset({"audio/x-wav", "audio/wav"})
_CLOSED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
Chunks = Callable[[], Iterator[bytes]]


class Shelf:
    """Hands out addresses of files, and serves what lies behind them; ranges are served, so that sound can be sought.

    Addresses are relative, so that they also hold behind a proxy with a prefix. They end with the program.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[Path, str] = {}
        self._folders: OrderedDict[str, Path] = OrderedDict()
        self._streams: OrderedDict[str, tuple[str, Chunks]] = OrderedDict()

    def address(self, path: Path) -> str:
        """Where a file is served."""
        return f"files/{self._token(path.parent)}/{quote(path.name)}"

    def stream(self, name: str, chunks: Chunks) -> str:
        """Where something is served that is made while it is sent."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._streams[token] = (name, chunks)
            if len(self._streams) > _MOST_FOLDERS:
                self._streams.popitem(last=False)
        return f"streams/{token}/{quote(name)}"

    def mount(self, app: FastAPI) -> None:
        """Serve the addresses."""
        app.add_api_route("/files/{token}/{name}", self._serve_file, methods=["GET", "HEAD"], include_in_schema=False)
        app.add_api_route("/streams/{token}/{name}", self._serve_stream, methods=["GET"], include_in_schema=False)

    def _token(self, folder: Path) -> str:
        with self._lock:
            token = self._tokens.get(folder) or secrets.token_urlsafe(16)
            self._tokens[folder] = token
            self._folders[token] = folder
            self._folders.move_to_end(token)
            if len(self._folders) > _MOST_FOLDERS:
                _, oldest = self._folders.popitem(last=False)
                del self._tokens[oldest]
        return token

    def _serve_file(self, token: str, name: str) -> Response:
        folder = self._folders.get(token)
        path = None if folder is None else folder / name
        # The parent is compared because a name may be `..`; slashes do not get through the route.
        if path is None or path.parent != folder or name == ".." or path.is_symlink() or not path.is_file():
            raise HTTPException(404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        place = "inline" if kind in _SHOWN_IN_PLACE else "attachment"
        return FileResponse(path, media_type=kind, filename=name, content_disposition_type=place, headers=_CLOSED)

    def _serve_stream(self, token: str, name: str) -> Response:
        known = self._streams.get(token)
        if known is None or known[0] != name:
            raise HTTPException(404)
        try:
            chunks = known[1]()
        except EmotionError:  # the run was deleted since
            raise HTTPException(404) from None
        disposition = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return StreamingResponse(chunks, media_type="application/octet-stream", headers=_CLOSED | disposition)
