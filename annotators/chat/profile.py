"""Which server answers, under which name: from the environment alone, so that no recipe, dataset or report holds a key.

A profile is a prefix of variable names: "chat" reads MASKMIX_CHAT_BASE_URL, MASKMIX_CHAT_API_KEY and
MASKMIX_CHAT_MODEL, and falls back to OPENAI_BASE_URL and OPENAI_API_KEY; every other profile falls back to "chat". A
key goes only to the address that it was set beside: a profile with an address of its own needs a key of its own.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

EXAMPLES = {
    "BASE_URL": "http://127.0.0.1:8000/v1",
    "API_KEY": "none (a local server that asks for no key takes any word)",
    "MODEL": "Qwen/Qwen3-VL-8B-Instruct",
}
SECRET = 8
"""A key shorter than this is a word like "none" and no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The address, the key and the model's name on that server."""

    base_url: str
    api_key: str = field(repr=False)
    model: str

    @property
    def shown(self) -> str:
        """The address without user, password and query: for people to read."""
        parts = urlsplit(self.base_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"

    def scrub(self, text: str) -> str:
        """`text` without the key, should a server repeat it."""
        return text.replace(self.api_key, "***") if len(self.api_key) >= SECRET else text


def read_profile(name: str, environment: Mapping[str, str] = os.environ) -> Profile:
    """What the environment says about profile `name`.

    Raises:
        ValueError: a variable is missing or the address is none; the message names it and gives an example.
    """
    prefixes = [f"MASKMIX_{name.upper()}", *(["MASKMIX_CHAT"] if name != "chat" else []), "OPENAI"]
    base_url = api_key = prefix = ""
    for prefix in prefixes:
        base_url = environment.get(f"{prefix}_BASE_URL", "").strip()
        api_key = api_key or environment.get(f"{prefix}_API_KEY", "").strip()
        if base_url:
            break
    if not base_url:
        raise _missing(prefixes[0], "BASE_URL", [f"{p}_BASE_URL" for p in prefixes[1:]])
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"the address of chat profile {name!r} is no http(s) address; give one such as {EXAMPLES['BASE_URL']}"
        )
    if not api_key:
        heard = prefixes[1 : prefixes.index(prefix) + 1]
        raise _missing(prefixes[0], "API_KEY", [f"{p}_API_KEY" for p in heard])
    for prefix in prefixes[:-1]:
        if model := environment.get(f"{prefix}_MODEL", "").strip():
            return Profile(base_url=base_url.rstrip("/"), api_key=api_key, model=model)
    raise _missing(prefixes[0], "MODEL", [f"{p}_MODEL" for p in prefixes[1:-1]])


def _missing(prefix: str, what: str, others: list[str]) -> ValueError:
    other = f" (or {' or '.join(others)})" if others else ""
    return ValueError(
        f"{prefix}_{what}{other} is not set; for example {prefix}_{what}={EXAMPLES[what]}"
    )
