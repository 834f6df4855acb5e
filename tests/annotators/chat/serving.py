"""A scripted server that the environment names, and scripts that look at what a question is about."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.annotators.chat.scripted_server import MODEL, ScriptedServer
from tests.annotators.chat.scripts import Reply, Script, Seen, good


@contextmanager
def served(
    monkeypatch: pytest.MonkeyPatch, home: Path, script: Script = good
) -> Iterator[ScriptedServer]:
    """A server for the profile "chat", and an empty reply cache under `home`."""
    with ScriptedServer(script) as server:
        name_server(monkeypatch, home, server.base_url, MODEL)
        yield server


def name_server(monkeypatch: pytest.MonkeyPatch, home: Path, base_url: str, model: str) -> None:
    """Let the environment name a server for the profile "chat"."""
    monkeypatch.setenv("MASKMIX_CHAT_BASE_URL", base_url)
    monkeypatch.setenv("MASKMIX_CHAT_API_KEY", "none")
    monkeypatch.setenv("MASKMIX_CHAT_MODEL", model)
    monkeypatch.setenv("MASKMIX_HOME", str(home))


def data_of(seen: Seen) -> dict[str, Any]:
    """What stands between <data> and </data> in a question."""
    return json.loads(seen.user.partition("<data>")[2].partition("</data>")[0])


def saying(replies: Mapping[str, str]) -> Script:
    """Answer with the reply whose key the question's data holds; with a good one where there is none."""

    def script(seen: Seen) -> Any:
        data = json.dumps(data_of(seen), ensure_ascii=False)
        found = [reply for key, reply in replies.items() if key in data]
        return Reply(text=found[0]) if found else good(seen)

    return script
