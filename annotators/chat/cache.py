"""Replies that were paid for, kept: one plain file per request, named by the request, so that a rerun pays nothing.

The name is the sha256 of the whole request (model, messages with image bytes, schema, sampling), so an entry is never
stale and is never updated; folders may be merged, copied and deleted at any time. A file that is not whole is a miss.
"""

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A reply and what it cost when it was asked for."""

    text: str
    prompt_tokens: int
    completion_tokens: int


def request_key(request: Mapping[str, Any]) -> str:
    """64 hex digits that name a request."""
    text = json.dumps([FORMAT, request], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ReplyCache:
    """A folder of replies, shared by all processes that see it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def at_home(cls) -> "ReplyCache":
        """The one under `$MASKMIX_HOME`, by default `~/.cache/maskmix`."""
        home = os.environ.get("MASKMIX_HOME") or Path.home() / ".cache" / "maskmix"
        return cls(Path(home).expanduser() / "chat")

    def path(self, key: str) -> Path:
        """Where the reply to the request of this key lies, or would lie."""
        return self.folder / key[:2] / key[2:4] / f"{key}.json"

    def get(self, key: str) -> Kept | None:
        """The reply that was kept; None where there is none, or its file is not whole."""
        try:
            stored = json.loads(self.path(key).read_bytes())
            reply = stored["reply"]
            if stored["sha256"] != _digest(key, reply):
                return None
            return Kept(**reply)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, kept: Kept) -> None:
        """Keep a reply: the file is absent or whole at every moment.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        reply = {name: getattr(kept, name) for name in kept.__dataclass_fields__}
        text = json.dumps({"sha256": _digest(key, reply), "reply": reply}, indent=1)
        unique = f"{os.getpid()}.{threading.get_ident()}.{os.urandom(4).hex()}"
        tmp = path.with_name(f".{path.name}.{unique}.tmp")
        try:
            tmp.write_text(text + "\n", encoding="utf-8")
            os.replace(tmp, path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise


def _digest(key: str, reply: Mapping[str, Any]) -> str:
    """Over key and content: notices a flipped bit, and a file that was renamed."""
    text = json.dumps([key, reply], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
