"""Shared fixtures: the real photographs, and markers that say why they skip."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and no deadline: a busy machine is no defect.
settings.register_profile("maskmix", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("maskmix")

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""One thread for torch here and in what is started: on several, the last bits of a network's answer may move."""

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photographs (not part of the project); the test skips where it is absent."""
    folder = Path(os.environ.get("MASKMIX_SHARED_DATA", ROOT.parent / "shared" / "data")).resolve()
    if not (folder / "coco-instruct").is_dir():
        pytest.skip(f"real photographs absent: {folder} (set MASKMIX_SHARED_DATA)")
    return folder
