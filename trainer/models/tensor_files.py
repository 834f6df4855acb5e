"""What was trained as two files in a folder: tensors in safetensors, and a JSON beside them that commits them.

Both come into being under another name and are renamed; the JSON is written last and holds the sha256 of the tensors,
so its existence means that both are whole, and tensors of another run are noticed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from pipeline.shards import write_atomic

FORMAT = 1


def write_pair(
    folder: Path, stem: str, tensors: Mapping[str, Tensor], *, facts: Mapping[str, Any]
) -> None:
    """Write `stem`.safetensors and then `stem`.json: `facts`, the format and the sha256 of the tensors."""
    data = save({k: v.detach().cpu().contiguous() for k, v in sorted(tensors.items())})
    told = {**facts, "format": FORMAT, "sha256": hashlib.sha256(data).hexdigest()}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{stem}.safetensors", data)
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(folder / f"{stem}.json", text.encode() + b"\n")


def read_facts(folder: Path, stem: str, *, expected: str) -> dict[str, Any]:
    """What `stem`.json says; the tensors are not looked at.

    Args:
        folder: where both lie.
        stem: of both files' names.
        expected: what the folder should be, for the message where there is no such file.

    Raises:
        ValueError: there is none, or it is not readable or of another format.
    """
    path = folder / f"{stem}.json"
    if not path.exists():
        raise ValueError(f"{folder} holds no {path.name}; expected {expected}")
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        known = facts["format"] == FORMAT and isinstance(facts["sha256"], str)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}: {stem} files are not readable: {error!r}") from error
    if not known:
        raise ValueError(
            f"{path} is of format {facts['format']!r}; this version reads {FORMAT}: train again"
        )
    return facts


def read_pair(folder: Path, stem: str, *, expected: str) -> tuple[dict[str, Any], bytes]:
    """What `stem`.json says, and the bytes of the tensors, proven to belong together.

    Raises:
        ValueError: as `read_facts`, or the tensors are not those that were committed.
    """
    facts = read_facts(folder, stem, expected=expected)
    try:
        data = (folder / f"{stem}.safetensors").read_bytes()
    except OSError as error:
        raise ValueError(f"{folder}: {stem} files are not readable: {error!r}") from error
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise ValueError(
            f"{folder}: {stem}.safetensors is not what {stem}.json says; train again or restore it"
        )
    return facts, data
