"""What a build has spent on calls, and the limits it may not pass: an append-only file that survives every kill."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one build may spend at most; None is no limit. Prices are money per million tokens, in any one currency."""

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0


class Ledger:
    """The calls of one build, over all its processes and all its runs."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.limits = path, limits
