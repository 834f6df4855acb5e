"""An OpenAI-compatible chat server on 127.0.0.1 that does what a script says: answer, fail, lie, be late, be silent.

A script is a function `(Seen) -> Action`; it is called once per request, from many threads. They are in
`tests.annotators.chat.scripts`.

In a test:

    with ScriptedServer(first(2, Status(500), then=good)) as server:
        monkeypatch.setenv("MASKMIX_CHAT_BASE_URL", server.base_url)
        ...
    assert len(server.seen) == 3          # every request that came, answered or not
    assert len(server.answered()) == 1    # those that got a whole 200
    server.stop(); server.start()         # a crash (open connections die) and a restart on the same port

As a process of its own, for tests that kill it with SIGKILL; `--log` keeps what it saw over kills and restarts:

    python -m tests.annotators.chat.scripted_server --port 8123 --script good --delay 0.05 --log seen.jsonl

It prints its base URL when it listens. Port 0 is any free one. `read_log` reads the log.
"""

import argparse
import hashlib
import json
import socket
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.annotators.chat.scripts import (
    SCRIPTS,
    Action,
    Drop,
    Late,
    Raw,
    Reply,
    Script,
    Seen,
    Status,
    good,
    late,
)

MODEL = "scripted"


class ScriptedServer:
    """The server; a context manager that starts and stops it. `seen` grows over restarts."""

    def __init__(self, script: Script = good, *, port: int = 0, log: Path | None = None) -> None:
        self.script, self.port, self.log = script, port, log
        self.seen: list[Seen] = []
        self.busiest = 0
        """The most requests that were in work at one time."""
        self._lock = threading.Lock()
        self._tries: dict[str, int] = {}
        self._in_work = 0
        self._server: _Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answered(self) -> list[Seen]:
        """Requests that got a whole 200; a client may know before the server has noted it, so that is waited for."""
        until = time.monotonic() + 5
        while self._in_work and time.monotonic() < until:
            time.sleep(0.002)
        with self._lock:
            return [seen for seen in self.seen if seen.answered]

    def start(self) -> Self:
        assert self._server is None
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.owner = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening and cut all connections, as a crash would."""
        if (server := self._server) is not None:
            self._server = None
            server.gone.set()
            server.shutdown()
            server.server_close()
            server.cut()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def enter(self, body: Mapping[str, Any], key: str) -> Seen:
        question = hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()
        with self._lock:
            self._tries[question] = tries = self._tries.get(question, 0) + 1
            seen = Seen(len(self.seen), body, key, question, tries, time.monotonic())
            self.seen.append(seen)
            self._in_work += 1
            self.busiest = max(self.busiest, self._in_work)
        self._write("asked", seen)
        return seen

    def leave(self, seen: Seen) -> None:
        with self._lock:
            self._in_work -= 1
        if seen.answered:
            self._write("answered", seen)

    def _write(self, event: str, seen: Seen) -> None:
        if self.log is not None:
            line = json.dumps({"event": event, "question": seen.question}) + "\n"
            with self._lock, self.log.open("a") as file:
                file.write(line)


def read_log(path: Path) -> list[tuple[str, str]]:
    """(event, question) of a server's log, in order; an event is "asked" or "answered"."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [(entry["event"], entry["question"]) for entry in map(json.loads, lines)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    owner: ScriptedServer

    def __init__(self, *arguments: Any) -> None:
        self.gone = threading.Event()
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for connection in [*self._open]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed already

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._send(404, {"error": {"message": "no such page"}})
        self._send(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self._send(404, {"error": {"message": "no such page"}})
        owner = self.server.owner
        seen = owner.enter(body, self.headers.get("Authorization", "").removeprefix("Bearer "))
        try:
            self._act(owner.script(seen), seen)
        finally:
            owner.leave(seen)

    def _act(self, action: Action, seen: Seen) -> None:
        while isinstance(action, Late):
            if self.server.gone.wait(action.seconds):
                action = Drop()
                break
            action = action.then
        match action:
            case Drop():
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            case Raw():
                self._raw(action)
            case Status():
                seen.status = action.code
                error = {"message": action.message, "param": action.param, "type": "scripted"}
                self._send(action.code, {"error": error}, action.headers)
            case Reply():
                seen.status = 200
                self._send(200, _completion(action, seen))
                seen.answered = True

    def _raw(self, raw: Raw) -> None:
        self.send_response(200)
        self.send_header("Content-Type", raw.kind)
        self.send_header("Content-Length", str(len(raw.data) + raw.promise))
        self.end_headers()
        if not raw.pause:
            self.wfile.write(raw.data)
        else:
            for byte in raw.data:
                self.wfile.write(bytes([byte]))
                time.sleep(raw.pause)
        self.close_connection = bool(raw.promise)

    def _send(self, code: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def _completion(reply: Reply, seen: Seen) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, **reply.extra}
    whole: dict[str, Any] = {
        "id": f"chatcmpl-{seen.number}",
        "object": "chat.completion",
        "created": 0,
        "model": seen.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish}],
    }
    if reply.usage is not None:
        prompt, completion = reply.usage
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        whole["usage"] = usage | {"total_tokens": prompt + completion}
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description="a scripted chat server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", choices=sorted(SCRIPTS), default="good")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--log", type=Path)
    args = parser.parse_args()
    script = SCRIPTS[args.script]
    server = ScriptedServer(
        late(args.delay, then=script) if args.delay else script, port=args.port, log=args.log
    )
    server.start()
    print(server.base_url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
