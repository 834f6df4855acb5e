"""Training state on disk: one safetensors file per checkpoint and a JSON that commits it.

`step-000250.safetensors` holds parameters, AdamW's moments, buffers and the moving average; `step-000250.json` holds
its sha256 and is written last, so its existence means the tensors are whole. Both come into being under another name
and are renamed. The two newest are kept: a checkpoint that was damaged later is passed over with a warning and the one
before it is taken. Of several processes the first writes, and all read.
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
    """Commit the state after `step` steps; drops all but the newest two, and what cannot belong to this run any more.

    That is: checkpoints of later steps, which a resumed run has passed over as damaged, and what a kill left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = save({name: tensor.detach().contiguous() for name, tensor in sorted(tensors.items())})
    stem = folder / f"step-{step:06d}"
    write_atomic(stem.with_suffix(".safetensors"), data)
    facts = {"bad_steps": bad_steps, "sha256": hashlib.sha256(data).hexdigest(), "step": step}
    write_atomic(stem.with_suffix(".json"), json.dumps(facts, sort_keys=True).encode() + b"\n")
    kept = [commit.stem for commit in _commits(folder) if _step(commit) <= step][:KEEP]
    for file in sorted(folder.iterdir(), key=lambda file: file.suffix != ".json"):  # commits first
        ours = file.name.startswith(("step-", ".step-"))
        if ours and file.name not in {
            f"{stem}{end}" for stem in kept for end in (".json", ".safetensors")
        }:
            file.unlink()


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor], int] | None:
    """(steps done, tensors, bad steps) of the newest whole checkpoint, or None when there is none at all.

    Raises:
        ValueError: there are checkpoints but every one of them is damaged.
    """
    commits = _commits(folder)
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


def newest_step(folder: Path) -> int:
    """Steps done by the newest checkpoint, 0 without one; its tensors are not looked at."""
    return max((_step(commit) for commit in _commits(folder)), default=0)


def _commits(folder: Path) -> list[Path]:
    """Newest first."""
    found = [path for path in folder.glob("step-*.json") if path.stem[5:].isdigit()]
    return sorted(found, key=_step, reverse=True)


def _step(commit: Path) -> int:
    return int(commit.stem.removeprefix("step-"))
