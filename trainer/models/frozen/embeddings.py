"""Embeddings of photographs on disk, so that a frozen image encoder sees each of them once in its life.

With `model.cache: disk` a training first makes the embeddings that are not there, then reads them with its batches. One
file a photograph, `$MASKMIX_HOME/embeddings/ENCODER/ab/abcd....safetensors`: ENCODER is a hash of all that decides an
embedding beside the photograph (weights, side, dtypes, training frame, how the dataset stores images), and ENCODER.json
beside the folder says it in words; so trainings of other datasets, recipes and seeds share files, and no
file is ever wrong for its place. Files are written whole or not at all and hold the sha256 of what is in them. One that
was damaged later is told about and deleted; its batch is encoded afresh, and the next training makes the file again. A
frame of 1024 x 1024 pixels takes 2 MiB in float16. Folders may be deleted at any time.
"""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.reader import iterate_members
from pipeline.shards import write_atomic
from trainer.config import TrainRecipe, check_cache
from trainer.data.batch import Batch
from trainer.data.protocol import Store
from trainer.models.frozen.image import name_image, products

LOG = logging.getLogger(__name__)
FORMAT = 1
TENSOR = "embedding"
AT_ONCE = 8
"""Photographs encoded together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingCache:
    """The embeddings of one encoder in one training frame: files in `folder`, found by the photograph's sha256."""

    folder: Path

    def path(self, sha: str) -> Path:
        """Where the embedding of a photograph lies, or would."""
        return self.folder / sha[:2] / f"{sha}.safetensors"

    def has(self, sha: str) -> bool:
        """Whether there is a file; whether it is whole is seen when it is read."""
        return self.path(sha).exists()

    def read(self, sha: str) -> Tensor | None:
        """An embedding crs; None when there is none, or none that is whole: then it is deleted."""
        path = self.path(sha)
        try:
            with safe_open(path, framework="pt") as file:
                wanted = (file.metadata() or {}).get("sha256")
                embedding = file.get_tensor(TENSOR)
            if wanted == _digest(embedding):
                return embedding
            reason = "its sha256 is not what was written"
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError) as error:
            reason = str(error)
        LOG.warning("embedding %s is damaged (%s); it is deleted, to be made again", path, reason)
        path.unlink(missing_ok=True)
        return None

    def write(self, sha: str, embedding: Tensor) -> None:
        """Keep an embedding crs."""
        kept = embedding.cpu().contiguous()
        path = self.path(sha)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save({TENSOR: kept}, metadata={"sha256": _digest(kept)}))

    def size(self) -> tuple[int, int]:
        """Files and bytes, of this and any other training that shares them."""
        sizes = [file.stat().st_size for file in self.folder.rglob("*.safetensors")]
        return len(sizes), sum(sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WithEmbeddings:
    """Batches of `batch_at` with the embeddings of their photographs; those of which one is missing, without.

    shas: of each row of the dataset.
    """

    batch_at: Callable[[int], Batch]
    shas: Sequence[str]
    cache: EmbeddingCache

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        batch = self.batch_at(step)
        rows: list[int] = batch.rows.tolist()
        found = read_all(self.cache, [self.shas[row] for row in rows])
        return batch if found is None else replace(batch, embedding=found)


def read_all(cache: EmbeddingCache, shas: Sequence[str]) -> Tensor | None:
    """Embeddings bcrs, or None when one is missing; a photograph that comes twice is read once."""
    found = {sha: cache.read(sha) for sha in dict.fromkeys(shas)}
    kept = [found[sha] for sha in shas]
    whole = [embedding for embedding in kept if embedding is not None]
    return torch.stack(whole) if len(whole) == len(kept) else None


def through_cache(
    batch_at: Callable[[int], Batch],
    *,
    root: Path,
    recipe: TrainRecipe,
    store: Store,
    model: Any,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
) -> Callable[[int], Batch]:
    """`batch_at` with embeddings, all of them made before this returns; itself when the recipe asks for no cache.

    Args:
        batch_at: the batch of a step, of rows of `store`.
        root: the dataset folder behind `store`.
        recipe: whose model it is.
        store: the dataset.
        model: has `embed` (`trainer.models.base.model.BaseModel`); it is moved to `device`.
        device: where to make embeddings.
        rank: number of this process among those that train together.
        world: how many they are.

    Raises:
        ValueError: as `open_cache`.
    """
    cache = open_cache(root, recipe)
    if cache is None:
        return batch_at
    tell = _tell_terminal if recipe.run.progress is not False and rank == 0 else LOG.info
    fill_cache(
        cache, store, model.to(device).embed, device=device, rank=rank, world=world, tell=tell
    )
    return WithEmbeddings(batch_at=batch_at, shas=store.shas, cache=cache)


def open_cache(root: Path, recipe: TrainRecipe) -> EmbeddingCache | None:
    """The cache that a recipe's model asks for, in the user's folder; None when it asks for none.

    Raises:
        ValueError: augmentation would move pixels, or the encoder's weights are not to be had.
    """
    config: Any = recipe.model
    if getattr(config, "cache", "none") == "none":
        return None
    check_cache(recipe)
    named = name_image(config.image)
    _, members = next(iterate_members(root))
    facts = {
        "dtype": str(products(config.image.dtype)),
        "embedding": config.image.embedding,
        "format": FORMAT,
        "images": sorted(members.keys() & {"png", "jpg", "jpeg", "webp"}),
        "revision": named.revision,
        "side": config.image.side,
        "size_hw": list(recipe.data.size_hw),
    }
    text = json.dumps(facts, sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    home = Path(os.environ.get("MASKMIX_HOME") or Path.home() / ".cache" / "maskmix")
    folder = home / "embeddings" / name
    folder.mkdir(parents=True, exist_ok=True)
    said = {**facts, "model": named.model}
    write_atomic(folder.with_suffix(".json"), json.dumps(said, indent=1, sort_keys=True).encode())
    return EmbeddingCache(folder=folder)


@torch.no_grad()
def fill_cache(
    cache: EmbeddingCache,
    store: Store,
    embed: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    tell: Callable[[str], None] = LOG.info,
) -> int:
    """Make the embeddings of a dataset's photographs that are not there; how many this process made.

    Processes that train together start at different places and meet files that others have made by then: they share
    the work without talking. What two of them make at once is the same.

    Args:
        cache: where they go.
        store: the dataset.
        embed: float b3hw in [0, 1] on `device` -> bcrs.
        device: where the encoder is.
        rank: number of this process.
        world: how many there are.
        tell: called with a line of progress now and then.
    """
    row_of: dict[str, int] = {}
    for row, sha in enumerate(store.shas):
        row_of.setdefault(sha, row)
    start = len(row_of) * rank // world
    turned = [*list(row_of)[start:], *list(row_of)[:start]]
    made = 0
    for first in range(0, len(turned), AT_ONCE):
        missing = [sha for sha in turned[first : first + AT_ONCE] if not cache.has(sha)]
        if missing:
            rows = np.array([row_of[sha] for sha in missing], np.int64)
            image = store.frames(rows).image.float() / 255.0
            for sha, embedding in zip(missing, embed(image.to(device)), strict=True):
                cache.write(sha, embedding)
            made += len(missing)
            tell(f"embedding photographs: {first + len(missing)}/{len(turned)}")
    if made:
        files, total = cache.size()
        tell(f"embeddings: {files} files, {total / 2**20:.0f} MiB in {cache.folder}")
    return made


def _tell_terminal(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _digest(embedding: Tensor) -> str:
    """sha256 of dtype, shape and bytes."""
    said = f"{embedding.dtype} {tuple(embedding.shape)}\n".encode()
    return hashlib.sha256(said + embedding.numpy().tobytes()).hexdigest()
