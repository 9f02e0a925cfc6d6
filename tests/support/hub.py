"""A Hugging Face Hub on loopback: model repositories out of directories, with the routes that downloads use."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

INFO = re.compile(r"/api/models/(?P<id>[^/]+/[^/?]+)(/revision/[^?]+)?(\?.*)?")
TREE = re.compile(r"/api/models/(?P<id>[^/]+/[^/]+)/tree/.*")
FILE = re.compile(r"/(?P<id>[^/]+/[^/]+)/resolve/[^/]+/(?P<file>[^?]+)(\?.*)?")


@dataclass
class Hub:
    """The server's side of the story.

    Attributes:
        models: id → directory of its files.
        gated: ids that need a token.
        commit: of every repository.
        sent: files whose content was sent, and from which byte.
        base_url: the server's address.
    """

    models: Mapping[str, Path]
    gated: frozenset[str] = frozenset()
    commit: str = "c" * 40
    sent: list[tuple[str, int]] = field(default_factory=list)
    base_url: str = ""


class _Handler(BaseHTTPRequestHandler):
    """Answers for one Hub; `serve_hub` gives it to a subclass."""

    hub: ClassVar[Hub]

    def do_HEAD(self) -> None:
        self._file(has_body=False)

    def do_GET(self) -> None:
        if match := INFO.fullmatch(self.path):
            self._info(match["id"])
        elif match := TREE.fullmatch(self.path):
            self._tree(match["id"])
        else:
            self._file(has_body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _info(self, name: str) -> None:
        if name not in self.hub.models:
            self._refuse(404, "RepoNotFound", "Repository not found")
            return
        files = [{"rfilename": p.name, "size": p.stat().st_size} for p in sorted(self.hub.models[name].iterdir())]
        body = json.dumps({"id": name, "modelId": name, "sha": self.hub.commit, "siblings": files, "private": False})
        self._send(200, {"Content-Type": "application/json"}, body.encode())

    def _tree(self, name: str) -> None:
        paths = sorted(self.hub.models[name].iterdir()) if name in self.hub.models else []
        files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name} for p in paths]
        self._send(200, {"Content-Type": "application/json"}, json.dumps(files).encode())

    def _file(self, *, has_body: bool) -> None:
        match = FILE.fullmatch(self.path)
        path = self.hub.models[match["id"]] / match["file"] if match and match["id"] in self.hub.models else None
        if match is None or path is None or not path.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
        elif match["id"] in self.hub.gated:
            self._refuse(403, "GatedRepo", f"Access to model {match['id']} is restricted")
        else:
            self._content(path, has_body=has_body)

    def _content(self, path: Path, *, has_body: bool) -> None:
        content = path.read_bytes()
        headers = {"X-Repo-Commit": self.hub.commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if not has_body:
            self._send(200, headers | {"Content-Length": str(len(content))}, b"")
            return
        asked = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.hub.sent.append((path.name, start))
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206 if asked else 200, headers, content[start:])

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, {"X-Error-Code": code, "X-Error-Message": message}, b"{}")

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Serve it on a free port of 127.0.0.1."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
