"""A hub of models on 127.0.0.1: what huggingface_hub asks to look up and download one, and how the hub refuses.

Repositories are folders. "gated/..." shows its page to all and its files to none; what is not there is 404 to those
with a token, and 401 to others, as on the real hub. No Xet: clients start with HF_HUB_DISABLE_XET=1.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

COMMITS = ("a" * 40, "b" * 40)
"""Every repository has two; "main" is the second, which has one more file."""


@dataclass
class ModelHub:
    endpoint: str = ""
    repos: dict[str, Path] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[ModelHub]:
    """A fresh hub, served until the block ends."""
    hub = ModelHub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: ModelHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `ModelHub.asked` instead."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path))
        for pattern, act in ROUTES:
            if found := re.fullmatch(pattern, path):
                return act(self, **found.groupdict())
        return self.refuse(404, "EntryNotFound")

    do_HEAD = do_GET

    def say(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.say({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})

    def tree(self, repo: str, rev: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files, or None after refusing."""
        if repo not in self.hub.repos:
            token = self.headers.get("Authorization")
            self.refuse(404 if token else 401, "RepoNotFound")
            return None
        commit = COMMITS[1] if rev == "main" else rev
        if commit not in COMMITS:
            self.refuse(404, "RevisionNotFound")
            return None
        files = {p.name: p.read_bytes() for p in sorted(self.hub.repos[repo].iterdir())}
        files |= {"model.bin": b"pickle", "code.py": b"raise SystemExit"}
        if commit == COMMITS[1]:
            files["new.txt"] = b"new\n"
        return commit, files

    def info(self, repo: str, rev: str = "main") -> None:
        if at := self.tree(repo, rev):
            card = at[1]["README.md"].decode().split("---\n")[1]
            names = [{"rfilename": name} for name in at[1]]
            self.say({"id": repo, "sha": at[0], "siblings": names, "tags": [], "private": False, "downloads": 0,
                      "likes": 0, "cardData": yaml.safe_load(card), "gated": repo.startswith("gated/")})  # fmt: skip

    def list(self, repo: str, rev: str) -> None:
        if at := self.tree(repo, rev):
            self.say(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                    for name, data in at[1].items()
                ]
            )

    def resolve(self, repo: str, rev: str, path: str) -> None:
        if not (at := self.tree(repo, rev)):
            return
        if repo.startswith("gated/"):
            return self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo")
        if path not in at[1]:
            return self.refuse(404, "EntryNotFound")
        data = at[1][path]
        self.say(data, 200, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": at[0]})


def _etag(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


REPO = "(?P<repo>[^/]+/[^/]+)"
ROUTES: list[tuple[str, Any]] = [
    (f"/api/models/{REPO}", _Handler.info),
    (f"/api/models/{REPO}/revision/(?P<rev>[^/]+)", _Handler.info),
    (f"/api/models/{REPO}/tree/(?P<rev>[^/]+)", _Handler.list),
    (f"/{REPO}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", _Handler.resolve),
]
