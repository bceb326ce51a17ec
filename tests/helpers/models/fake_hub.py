"""A Hugging Face hub on localhost that knows what a test gives it, so that downloads are real."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "a" * 40


class FakeHub:
    """Models that can be had, and what the hub answers for any other: name to (status, code)."""

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.endpoint = ""
        self.fetched: list[str] = []

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path such as `/api/models/owner/name`."""
        api = path.removeprefix("/api/models/") if path.startswith("/api/models/") else None
        name = "/".join((api or path.lstrip("/")).split("/")[:2])
        if name in self.refusals:
            status, code = self.refusals[name]
            return status, {"X-Error-Code": code, "X-Error-Message": code}, b""
        if name not in self.models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        rest = (api or path.lstrip("/")).split("/")[2:]
        if rest[1:] and rest[1] not in ("main", "v1", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if api:
            return 200, {"Content-Type": "application/json"}, self._listing(name, rest)
        file = self.models[name] / "/".join(rest[2:])
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        content = file.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self.fetched.append(file.name)
        return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content

    def _listing(self, name: str, rest: list[str]) -> bytes:
        files = [
            {"rfilename": f.name, "path": f.name, "type": "file", "size": f.stat().st_size}
            for f in sorted(self.models[name].iterdir())
        ]
        for file in files:
            file["oid"] = "b" * 40
        if rest[:1] == ["tree"]:
            return json.dumps(files).encode()
        return json.dumps({"id": name, "sha": COMMIT, "siblings": files}).encode()


@contextmanager
def running() -> Iterator[FakeHub]:
    """The hub, listening on `endpoint` until the block is left."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(unquote(urlsplit(self.path).path))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
