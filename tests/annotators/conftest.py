"""Folders of tiny models, written once per run."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model by kind; not to be written to."""
    import torch

    from tests.annotators.models.tiny_models import save

    torch.set_num_threads(1)  # threads cost a tiny model many times what it computes
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = save(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder
