"""A model hub on the loopback interface that answers as ModelScope and Hugging Face do, for their real clients."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """Files by name of one model; `stall_after` makes the first transfer of model.pt stop after so many bytes.

    One that knows no ranges answers with the whole file, as some proxies between do.
    """

    model_id: str
    files: dict[str, bytes]
    stall_after: int | None = None
    knows_ranges: bool = True
    ranges: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __enter__(self) -> "FakeHub":
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def listing(self) -> dict[str, Any]:
        files = [
            {"Path": name, "Name": name, "Type": "blob", "Size": len(body), "Sha256": hashlib.sha256(body).hexdigest()}
            for name, body in self.files.items()
        ]
        return {"Code": 200, "Success": True, "Data": {"Files": files}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def _answer(self, with_body: bool) -> None:
        address = urlsplit(self.path)
        self.hub.paths.append(address.path)
        if address.path == f"/api/v1/models/{self.hub.model_id}/repo/files":
            self._send(json.dumps(self.hub.listing()).encode(), with_body)
        elif address.path == f"/api/v1/models/{self.hub.model_id}/repo":
            self._send_file(parse_qs(address.query)["FilePath"][0], with_body)
        elif address.path.startswith(f"/{self.hub.model_id}/resolve/"):
            self._send_file(address.path.removeprefix(f"/{self.hub.model_id}/resolve/").split("/", 1)[1], with_body)
        else:
            self._refuse("RepoNotFound")

    def _refuse(self, reason: str) -> None:
        body = json.dumps({"Code": 10010205001, "Success": False, "Message": "not found"}).encode()
        self.send_response(404)
        self.send_header("X-Error-Code", reason)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _send_file(self, name: str, with_body: bool) -> None:
        if name not in self.hub.files:
            return self._refuse("EntryNotFound")
        return self._send(self.hub.files[name], with_body, name)

    def _send(self, body: bytes, with_body: bool, name: str = "") -> None:
        wanted = self.headers.get("Range") if with_body and self.hub.knows_ranges else None
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        if wanted:
            self.hub.ranges.append(wanted)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if with_body:
            self._write(body[start:], stalls=name == "model.pt")

    def _write(self, body: bytes, stalls: bool) -> None:
        limit, self.hub.stall_after = (self.hub.stall_after, None) if stalls else (None, self.hub.stall_after)
        try:
            self.wfile.write(body[:limit])
            if limit is not None:
                self.wfile.flush()
                self.hub.released.wait(30)
                self.close_connection = True
        except OSError:  # the client was stopped, which is what some tests want
            self.close_connection = True
