"""The discriminators' guesses as targets, where a label is not believed.

The fold that judges a sample has a soft mask of its own, made from image and instruction alone by a model that never
saw the image. `maskmix discriminate` leaves these in the sidecar `NAME_guesses` when the recipe says
`discriminate.guesses: true`; a training that corrects labels learns them in place of the labels that it leaves out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.sidecar import GUESSES, guesses_sidecar, read_sidecar, write_sidecar
from trainer.data.protocol import Frames, Store
from trainer.data.table import resize_mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrected:
    """A store whose targets are guesses in some rows; implements `trainer.data.protocol.Store`.

    pngs: one grey PNG each, 0..255 for the chance of 0..1 that a pixel is of the region. at: int64 n, which of `pngs`
    is a row's target; -1: the store's own.
    """

    store: Store
    pngs: pa.Array
    at: Tensor

    @property
    def ids(self) -> Sequence[str]:
        """As of the store."""
        return self.store.ids

    @property
    def instructions(self) -> Sequence[tuple[str, ...]]:
        """As of the store."""
        return self.store.instructions

    @property
    def shas(self) -> Sequence[str]:
        """As of the store."""
        return self.store.shas

    @property
    def shard_of(self) -> Tensor:
        """As of the store."""
        return self.store.shard_of

    @property
    def is_gold(self) -> Tensor:
        """As of the store."""
        return self.store.is_gold

    @property
    def p_clean(self) -> Tensor:
        """As of the store."""
        return self.store.p_clean

    @property
    def weight(self) -> Tensor:
        """As of the store."""
        return self.store.weight

    @property
    def size_hw(self) -> tuple[int, int]:
        """As of the store."""
        return self.store.size_hw

    def __len__(self) -> int:
        return len(self.store)

    def frames(self, rows: NDArray[np.int64]) -> Frames:
        """The pixels of `rows`, in that order; labels are the machine's everywhere.

        Raises:
            ValueError: a guess is no grey PNG, or what the store raises.
        """
        frames = self.store.frames(rows)
        target = frames.target.clone()
        for i, (row, at) in enumerate(zip(rows.tolist(), self.at[rows].tolist(), strict=True)):
            if at >= 0:
                target[i] = torch.from_numpy(self._guess(row, at))
        return replace(frames, target=target)

    def _guess(self, row: int, at: int) -> NDArray[np.uint8]:
        data = np.frombuffer(self.pngs[at].as_buffer(), np.uint8)
        guess = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if guess is None or guess.ndim != 2 or guess.dtype != np.uint8:
            raise ValueError(
                f"the guess for sample {self.ids[row]!r} is no PNG of 8 bit grey; run `maskmix discriminate` again"
            )
        own = np.asarray(guess, np.uint8)
        return own if own.shape == self.size_hw else resize_mask(own, self.size_hw)


def with_guesses(store: Store, root: Path, chosen: Tensor, *, sidecar: str) -> Corrected:
    """`store` with guesses as targets.

    Args:
        store: n samples of the dataset folder.
        root: the folder.
        chosen: bool n, the rows whose target is a guess.
        sidecar: the weights sidecar that the guesses belong to.

    Raises:
        ValueError: there are no guesses, or one that is wanted is missing.
    """
    name = guesses_sidecar(sidecar)
    try:
        table = read_sidecar(root, name)
    except ValueError as error:
        raise ValueError(
            f"{error}; to correct labels run `maskmix discriminate` with discriminate.guesses=true, or fit with "
            "weight.correct=0"
        ) from error
    wanted = chosen.nonzero()[:, 0]
    ids = pa.array([store.ids[row] for row in wanted.tolist()], pa.string())
    found = pc.index_in(ids, value_set=table["sample_id"])  # pyright: ignore[reportAttributeAccessIssue]
    if found.null_count:
        first = ids[found.is_null().index(True).as_py()]
        raise ValueError(
            f"sidecar {name!r} of {root} lacks {found.null_count} samples, first {first.as_py()!r}; it is of another "
            "build: run `maskmix discriminate` again"
        )
    at = torch.full((len(store),), -1, dtype=torch.int64)
    at[wanted] = torch.arange(len(wanted))
    return Corrected(store=store, pngs=table["guess"].take(found).combine_chunks(), at=at)


def write_guesses(root: Path, *, sidecar: str, guesses: Mapping[str, bytes]) -> None:
    """`sidecars/NAME_guesses.parquet` (data_cards/FORMAT.md), by sample id."""
    ids = sorted(guesses)
    columns = {"sample_id": ids, "guess": [guesses[sample_id] for sample_id in ids]}
    write_sidecar(root, guesses_sidecar(sidecar), pa.table(columns, schema=GUESSES))


def encode_guess(guess: NDArray[np.float32]) -> bytes:
    """Chances hw in [0, 1] as a grey PNG."""
    grey = np.rint(guess * 255.0).astype(np.uint8)
    return cv2.imencode(".png", grey)[1].tobytes()
