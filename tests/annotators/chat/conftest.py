"""Environment of the chat tests: a home of their own, a way to point at a server, and short waits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from annotators.chat import backoff, breaker
from tests.annotators.chat.scripted_server import ScriptedServer

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def chat_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's cache, or asks the user's endpoint."""
    home = tmp_path / "home"
    monkeypatch.setenv("MASKMIX_HOME", str(home))
    for prefix in ("MASKMIX_CHAT", "MASKMIX_VLM", "OPENAI"):
        for name in ("BASE_URL", "API_KEY", "MODEL"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    return home


@pytest.fixture
def point_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedServer | str], None]:
    """Make the environment name a server, or an address."""

    def point(server: ScriptedServer | str) -> None:
        url = server if isinstance(server, str) else server.base_url
        monkeypatch.setenv("MASKMIX_CHAT_BASE_URL", url)
        monkeypatch.setenv("MASKMIX_CHAT_API_KEY", KEY)
        monkeypatch.setenv("MASKMIX_CHAT_MODEL", "tiny")

    return point


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries a fiftieth of the real ones."""
    monkeypatch.setattr(backoff, "BASE", 0.01)
    monkeypatch.setattr(breaker, "COOL_DOWN", 0.01)
