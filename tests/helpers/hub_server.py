"""As much of the Hugging Face hub's API as a download needs, served on the loopback interface.

Written from the hub's documented API: the list of a repository's files, and its files by revision,
with ETag, X-Repo-Commit and ranges. It can break a connection in the middle of a file.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """Files by path, all of one commit, which `branches` name; those in `lost` are only listed."""

    files: dict[str, bytes]
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    branches: tuple[str, ...] = ("main",)
    is_gated: bool = False
    lost: set[str] = field(default_factory=set)


@dataclass
class Hub:
    """A running server.

    Attributes:
        repositories: "org/name" -> its files.
        cut: path -> after how many bytes the next answer with this file breaks off.
        status: answer everything with this HTTP status instead.
        log: (method, path, the Range header or "") of every request.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    status: int | None = None
    log: list[tuple[str, str, str]] = field(default_factory=list)

    def gets(self, file: str) -> list[str]:
        """The Range header of each GET of one file."""
        return [r for method, path, r in self.log if method == "GET" and path.endswith("/" + file)]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port of 127.0.0.1."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(hub))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self._answer(with_body=False)

        def do_GET(self):
            self._answer(with_body=True)

        def _answer(self, with_body):
            path = unquote(urlsplit(self.path).path)
            hub.log.append((self.command, path, self.headers.get("Range", "")))
            if hub.status is not None:
                self._refuse(hub.status)
            elif path.startswith("/api/models/"):
                self._list(path.removeprefix("/api/models/"))
            else:
                self._file(path.removeprefix("/"), with_body)

        def _repository(self, name, revision):
            """The repository, or None when the refusal has been sent."""
            found = hub.repositories.get(name)
            if found is None:
                self._refuse(404, "RepoNotFound")
            elif revision not in (*found.branches, found.commit):
                self._refuse(404, "RevisionNotFound")
                found = None
            return found

        def _list(self, path):
            name, _, revision = path.partition("/revision/")
            found = self._repository(name, revision or "main")
            if found is not None:
                siblings = [
                    {"rfilename": file, "size": len(body), "blobId": hashlib.sha1(body).hexdigest()}
                    for file, body in found.files.items()
                ]
                body = {"id": name, "modelId": name, "sha": found.commit, "siblings": siblings}
                self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def _file(self, path, with_body):
            name, _, rest = path.partition("/resolve/")
            revision, _, file = rest.partition("/")
            found = self._repository(name, revision)
            if found is None:
                return
            if found.is_gated:
                self._refuse(403, "GatedRepo")
            elif file not in found.files or file in found.lost:
                self._refuse(404, "EntryNotFound", {"X-Repo-Commit": found.commit})
            else:
                self._send_file(found, file, with_body)

        def _send_file(self, found, file, with_body):
            body = found.files[file]
            headers = {
                "ETag": f'"{hashlib.sha256(body).hexdigest()}"',
                "X-Repo-Commit": found.commit,
                "Accept-Ranges": "bytes",
            }
            wanted = self.headers.get("Range")
            status = 200
            if wanted:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[start:]
            n_bytes = hub.cut.pop(file, None) if with_body else None
            self._send(status, body, headers, with_body=with_body, cut=n_bytes)

        def _send(self, status, body, headers, *, with_body=True, cut=None):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True

        def _refuse(self, status, code="", more=None):
            headers = {"X-Error-Code": code} if code else {}
            self._send(status, b"", {**headers, **(more or {})})

    return Handler
