"""Asks an OpenAI-compatible endpoint."""

from collections.abc import Sequence

from annotators.chat.asker import Question
from annotators.chat.ledger import Ledger


class Endpoint:
    """An asker over the chat completions of an OpenAI-compatible server."""

    def __init__(
        self,
        expert: str,
        *,
        profile: str = "chat",
        concurrency: int = 8,
        timeout: float = 60.0,
        patience: float = 300.0,
        image_side: int = 1024,
        cache: bool = True,
    ) -> None:
        self.expert, self.profile, self.concurrency = expert, profile, concurrency
        self.timeout, self.patience, self.image_side = timeout, patience, image_side
        self.cache = cache

    @property
    def model(self) -> str:
        """What the environment calls the model."""
        raise NotImplementedError

    def bill(self, ledger: Ledger) -> None:
        """Charge all later calls to `ledger`."""
        raise NotImplementedError

    def ask(self, questions: Sequence[Question]) -> list[str | Exception]:
        """See `annotators.chat.asker.Asker`."""
        raise NotImplementedError
