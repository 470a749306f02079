"""A Hugging Face hub on this machine, with the storage it redirects to on a second port. For tests of downloads."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    host: str  # "hub" or "storage"
    method: str
    path: str
    range: str | None
    authorization: str | None
    sent: int = 0  # bytes of content in the answer


@dataclass
class LocalHub:
    """Serves ``files`` (repository, file name) -> bytes at ``endpoint``. Its other fields make it misbehave.

    Use as a context manager. ``requests`` lists what was asked, ``bodies`` the answers that had content.
    """

    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    cut_after: list[int] = field(default_factory=list)  # the next bodies end after so many bytes
    body_status: list[int] = field(default_factory=list)  # statuses of the next bodies; above 299 they have no content
    status: int | None = None  # answer everything so
    token: str | None = None  # content only for this token: a gated repository
    announced_sha256: str | None = None  # instead of the true one
    ignores_range: bool = False
    redirects: bool = True
    before_body: Callable[[], object] | None = None  # called before a body is sent
    looked_up: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))  # counts questions for main
    requests: list[Request] = field(default_factory=list)

    def __enter__(self):
        self._servers = {
            name: ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, name)) for name in ("hub", "storage")
        }
        for server in self._servers.values():
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        return self._address("hub")

    @property
    def bodies(self) -> list[Request]:
        return [request for request in self.requests if "/resolve/" in request.path and request.sent]

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._servers[name].server_port}"


def _handler(hub: LocalHub, host: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            authorization = self.headers.get("Authorization")
            self.seen = Request(host, self.command, self.path, self.headers.get("Range"), authorization)
            hub.requests.append(self.seen)
            if hub.status:
                self.reply(hub.status)
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/main", path):
                hub.looked_up.release()
                self.describe(found[1])
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                repository, revision, filename = found.groups()
                content = hub.files.get((repository, filename))
                if content is None or revision not in ("main", hub.commit):
                    self.reply(404, {"X-Error-Code": "EntryNotFound"})
                elif host == "hub" and hub.token and authorization != f"Bearer {hub.token}":
                    self.reply(403 if authorization else 401, {"X-Error-Code": "GatedRepo"})
                elif host == "hub" and hub.redirects:
                    self.reply(302, {**self.metadata(content), "Location": hub._address("storage") + self.path})
                else:
                    self.send(content)
            else:
                self.reply(404)

        def describe(self, repository: str) -> None:
            names = [filename for owner, filename in hub.files if owner == repository]
            if not names:
                return self.reply(404, {"X-Error-Code": "RepoNotFound"})
            siblings = [{"rfilename": "README.md", "blobId": "0" * 40, "size": 3}]
            for name in names:
                content = hub.files[repository, name]
                lfs = {"sha256": self.sha256(content), "size": len(content), "pointerSize": 134}
                siblings.append({"rfilename": name, "blobId": "0" * 40, "size": len(content), "lfs": lfs})
            if "blobs=" not in self.path:
                siblings = [{"rfilename": sibling["rfilename"]} for sibling in siblings]
            answer = {"_id": "1", "id": repository, "modelId": repository, "sha": hub.commit, "siblings": siblings}
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

        def send(self, content: bytes) -> None:
            start = 0
            if not hub.ignores_range and (wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
                start = int(wanted[1])
            headers = {**self.metadata(content), "Accept-Ranges": "bytes"}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if self.command == "GET":
                if hub.before_body:
                    hub.before_body()
                if hub.body_status and (status := hub.body_status.pop(0)) > 299:
                    return self.reply(status)
            self.reply(206 if start else 200, headers, content[start:])

        def reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD" or not body:
                return
            if "X-Linked-Etag" in (headers or {}) and hub.cut_after:
                body = body[: hub.cut_after.pop(0)]
                self.close_connection = True
            try:
                self.seen.sent = len(body)
                self.wfile.write(body)
            except OSError:  # the client stopped listening
                self.close_connection = True

        def metadata(self, content: bytes) -> dict[str, str]:
            etag = f'"{self.sha256(content)}"'
            linked = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content))}
            return {"X-Repo-Commit": hub.commit, "ETag": etag, **linked}

        def sha256(self, content: bytes) -> str:
            return hub.announced_sha256 or hashlib.sha256(content).hexdigest()

    return Handler
