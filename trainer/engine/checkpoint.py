"""Training state on disk: one safetensors file per checkpoint and a JSON that commits it.

`step-000250.safetensors` holds parameters, AdamW's moments and the moving average; `step-000250.json` holds its
sha256 and is written last, so its existence means the tensors are whole. The two newest are kept: a checkpoint that
was damaged later is passed over with a warning and the one before it is taken.
"""

import hashlib
import json
import logging
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from pipeline.shards import write_atomic

LOG = logging.getLogger(__name__)
KEEP = 2


def save_checkpoint(folder: Path, *, step: int, tensors: dict[str, Tensor], bad_steps: int) -> None:
    """Commit the state after `step` steps; drops all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.detach().contiguous() for name, tensor in sorted(tensors.items())})
    stem = folder / f"step-{step:06d}"
    write_atomic(stem.with_suffix(".safetensors"), data)
    facts = {"bad_steps": bad_steps, "sha256": hashlib.sha256(data).hexdigest(), "step": step}
    write_atomic(stem.with_suffix(".json"), json.dumps(facts, sort_keys=True).encode() + b"\n")
    for old in sorted(folder.glob("step-*.json"))[:-KEEP]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor], int] | None:
    """(steps done, tensors, bad steps) of the newest whole checkpoint, or None when there is none at all.

    Raises:
        ValueError: there are checkpoints but every one of them is damaged.
    """
    commits = sorted(folder.glob("step-*.json"), reverse=True)
    for commit in commits:
        try:
            facts = json.loads(commit.read_bytes())
            data = commit.with_suffix(".safetensors").read_bytes()
            if hashlib.sha256(data).hexdigest() == facts["sha256"]:
                return facts["step"], load(data), facts["bad_steps"]
            reason = "its sha256 is not what was committed"
        except (OSError, ValueError, KeyError) as error:
            reason = str(error)
        LOG.warning("checkpoint %s is damaged (%s); taking the one before it", commit.stem, reason)
    if commits:
        raise ValueError(
            f"every checkpoint in {folder} is damaged; delete the folder to train from the start"
        )
    return None
