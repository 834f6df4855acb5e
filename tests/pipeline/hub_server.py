"""A hub of datasets and models on 127.0.0.1 for tests: the endpoints that clients call, in one thread each.

It keeps commits as whole trees in memory, checks tokens and parents as the real one does, and can be told to fail:
`fault` sees every request before it is answered and may return a status to answer with, or drop the connection.
No Xet: clients start with HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_loopback"
LFS = re.compile(r".*\.(tar|parquet|safetensors)")
DROP = -1
"""What a fault returns to close the connection without an answer."""

Fault = Callable[[str, str], int | None]


@dataclass(frozen=True)
class File:
    data: bytes
    lfs: bool

    @property
    def blob(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.blob


@dataclass
class Repo:
    private: bool
    commits: list[tuple[str, str, dict[str, File]]] = field(default_factory=list)
    """(id, message, tree), oldest first."""

    def commit(self, message: str, tree: dict[str, File]) -> str:
        names = "".join(f"{path} {tree[path].etag}\n" for path in sorted(tree))
        parent = self.commits[-1][0] if self.commits else ""
        oid = hashlib.sha1(f"{parent}\n{message}\n{names}".encode()).hexdigest()
        self.commits.append((oid, message, tree))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, File]] | None:
        for oid, _, tree in reversed(self.commits):
            if revision in ("main", oid):
                return oid, tree
        return None


@dataclass
class Hub:
    """What the server holds, and what it was asked."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    """Datasets by name, models by "models/" and their name."""
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    fault: Fault = lambda method, path: None

    def puts(self) -> int:
        """How many large objects were sent since `asked` was last cleared."""
        return sum(method == "PUT" for method, _ in self.asked)

    def tree(self, repo: str) -> dict[str, bytes]:
        """The files of a repository's head."""
        return {path: file.data for path, file in self.repos[repo].commits[-1][2].items()}


@contextmanager
def serve() -> Iterator[Hub]:
    """A fresh hub, served until the block ends."""
    hub = Hub()

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
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `Hub.asked` instead."""

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.asked.append((self.command, path))
        status = self.hub.fault(self.command, path)
        if status == DROP:
            self.close_connection = True
            self.connection.close()
            return
        body = self.body()
        if status is not None:
            return self.say({"error": "injected"}, status)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        for method, pattern, act in ROUTES:
            if self.command in method and (match := re.fullmatch(pattern, path)):
                return act(self, body, query, **match.groupdict())
        return self.refuse(404, "EntryNotFound")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def say(
        self,
        answer: Any,
        status: int = 200,
        headers: dict[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Type" not in (headers or {}):
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.say({"error": code}, status, {"X-Error-Code": code, "X-Error-Message": code})

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.say({"error": "Invalid username or password."}, 401)
        return False

    def repo(self, repo: str) -> Repo | None:
        """The repository, or None after saying 401 or 404."""
        found = self.hub.repos.get(self.key(repo))
        if found and (not found.private or self.headers.get("Authorization") == f"Bearer {TOKEN}"):
            return found
        self.refuse(404 if self.headers.get("Authorization") else 401, "RepoNotFound")
        return None

    def tree(self, repo: str, rev: str) -> tuple[str, dict[str, File]] | None:
        found = self.repo(repo)
        if found is None:
            return None
        if (at := found.at(rev)) is None:
            self.refuse(404, "RevisionNotFound")
        return at

    def key(self, repo: str) -> str:
        """What `Hub.repos` calls the repository that the request is about."""
        path = unquote(urlsplit(self.path).path)
        return repo if path.startswith(("/datasets/", "/api/datasets/")) else f"models/{repo}"

    def whoami(self, body: bytes, query: dict) -> None:
        if self.allowed():
            self.say({"name": "tester", "type": "user", "orgs": [{"name": "org"}]})

    def create(self, body: bytes, query: dict) -> None:
        if not self.allowed():
            return
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'tester'}/{asked['name'].split('/')[-1]}"
        dataset = asked.get("type") == "dataset"
        url = f"{self.hub.endpoint}/{'datasets/' if dataset else ''}{name}"
        answer = {"url": url, "name": name, "id": name}
        key = name if dataset else f"models/{name}"
        if key in self.hub.repos:
            return self.say({"error": "You already created this repo", **answer}, 409)
        private = asked.get("private") or asked.get("visibility") == "private"
        repo = self.hub.repos[key] = Repo(private=bool(private))
        repo.commit("initial commit", {".gitattributes": File(b"*.tar filter=lfs\n", False)})
        self.say(answer)

    def validate(self, body: bytes, query: dict) -> None:
        errors: list[dict[str, str]] = []
        parts = json.loads(body)["content"].split("---\n", 2)
        try:
            head = yaml.safe_load(parts[1])
            if head.get("license") == "other" and not head.get("license_name"):
                errors.append({"message": '"license_name" is required for license other'})
        except (yaml.YAMLError, IndexError) as error:
            errors.append({"message": f"head is not YAML: {error}"})
        self.say({"errors": errors, "warnings": []}, 400 if errors else 200)

    def info(self, body: bytes, query: dict, repo: str, rev: str | None = None) -> None:
        if at := self.tree(repo, rev or "main"):
            oid, tree = at
            names = [{"rfilename": path} for path in sorted(tree)]
            private = self.hub.repos[self.key(repo)].private
            self.say({"id": repo, "sha": oid, "private": private, "siblings": names, "tags": [],
                      "downloads": 0, "likes": 0, "lastModified": "2024-01-01T00:00:00.000Z"})  # fmt: skip

    def list(
        self, body: bytes, query: dict, repo: str, rev: str, folder: str | None = None
    ) -> None:
        if not (at := self.tree(repo, rev)):
            return
        prefix = f"{folder}/" if folder else ""
        deep = query.get("recursive", "false").lower() in ("true", "1")
        entries, folders = [], set()
        for path, file in sorted(at[1].items()):
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            folders |= {
                prefix + "/".join(parts[:n]) for n in range(1, len(parts)) if deep or n == 1
            }
            if deep or len(parts) == 1:
                entries.append(_entry(path, file))
        if folder and not entries and not folders:
            return self.refuse(404, "EntryNotFound")
        tops = [
            {"type": "directory", "path": f, "size": 0, "oid": "0" * 40} for f in sorted(folders)
        ]
        self.say(tops + entries)

    def paths(self, body: bytes, query: dict, repo: str, rev: str) -> None:
        if at := self.tree(repo, rev):
            form = self.headers.get("Content-Type", "").startswith("application/x-www-form")
            asked = parse_qs(body.decode()).get("paths", []) if form else json.loads(body)["paths"]
            asked = [asked] if isinstance(asked, str) else asked
            self.say([_entry(path, at[1][path]) for path in asked if path in at[1]])

    def preupload(self, body: bytes, query: dict, repo: str, rev: str) -> None:
        if self.allowed() and (at := self.tree(repo, rev)):
            files = [
                {
                    "path": f["path"],
                    "uploadMode": "lfs" if LFS.fullmatch(f["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": at[1][f["path"]].etag if f["path"] in at[1] else None,
                }
                for f in json.loads(body)["files"]
            ]
            self.say({"files": files})

    def batch(self, body: bytes, query: dict, repo: str) -> None:
        if not self.allowed():
            return
        objects = []
        for item in json.loads(body)["objects"]:
            if item["oid"] not in self.hub.objects:
                item["actions"] = {"upload": {"href": f"{self.hub.endpoint}/lfs/{item['oid']}"}}
            objects.append(item)
        self.say({"transfer": "basic", "objects": objects})

    def put(self, body: bytes, query: dict, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self.say({"error": "content does not match its oid"}, 400)
        self.hub.objects[oid] = body
        self.say(b"")

    def commit(self, body: bytes, query: dict, repo: str, rev: str) -> None:
        if not self.allowed() or (found := self.repo(repo)) is None:
            return
        lines = [json.loads(line) for line in body.splitlines() if line]
        head, _, tree = found.commits[-1]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, head):
            return self.say({"error": "A commit has happened since. Please refresh."}, 412)
        tree = dict(tree)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                tree[value["path"]] = File(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                tree[value["path"]] = File(self.hub.objects[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del tree[value["path"]]
            else:
                return self.say({"error": f"unknown operation {line['key']}"}, 400)
        oid = found.commit(header["summary"], tree)
        folder = "" if self.key(repo).startswith("models/") else "datasets/"
        url = f"{self.hub.endpoint}/{folder}{repo}/commit/{oid}"
        self.say({"success": True, "commitOid": oid, "commitUrl": url})

    def resolve(self, body: bytes, query: dict, repo: str, rev: str, path: str) -> None:
        if not (at := self.tree(repo, rev)):
            return
        oid, tree = at
        if path not in tree:
            return self.refuse(404, "EntryNotFound")
        file = tree[path]
        headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": oid, "Accept-Ranges": "bytes",
                   "Content-Type": "application/octet-stream"}  # fmt: skip
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.data))}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not wanted:
            return self.say(file.data, 200, headers)
        start, stop = int(wanted[1]), min(int(wanted[2] or 1 << 62) + 1, len(file.data))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(file.data)}"
        self.say(file.data[start:stop], 206, headers)


def _entry(path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "path": path,
        "size": len(file.data),
        "oid": file.blob,
    }
    if file.lfs:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.data), "pointerSize": 128}
    return entry


REPO, REV = r"(?P<repo>[^/]+/[^/]+)", r"(?P<rev>[^/]+)"
KIND = "(?:datasets|models)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", _Handler.whoami),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.validate),
    ("GET", f"/api/{KIND}/{REPO}", _Handler.info),
    ("GET", f"/api/{KIND}/{REPO}/revision/{REV}", _Handler.info),
    ("GET", f"/api/{KIND}/{REPO}/tree/{REV}(/(?P<folder>.+))?", _Handler.list),
    ("POST", f"/api/{KIND}/{REPO}/paths-info/{REV}", _Handler.paths),
    ("POST", f"/api/{KIND}/{REPO}/preupload/{REV}", _Handler.preupload),
    ("POST", rf"/(?:datasets/)?{REPO}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]{64})", _Handler.put),
    ("POST", f"/api/{KIND}/{REPO}/commit/{REV}", _Handler.commit),
    ("HEAD GET", f"/(?:datasets/)?{REPO}/resolve/{REV}/(?P<path>.+)", _Handler.resolve),
]
