"""Which samples make the batch of a step, and the batch itself: pure functions of (table, recipe, seed, step).

Nothing is remembered between steps, so training resumed at step k sees what an uninterrupted run saw. Gold and machine
samples are two streams, each reshuffled once an epoch of its own; a recipe may fix gold's share of every batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.augment import draw_mirrors, drop_words, move, recolour, swap_sides
from trainer.data.batch import Batch
from trainer.data.config import DataConfig
from trainer.data.table import Table
from trainer.data.tokens import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Draws batches from the rows of `table` where `drawn` (bool n) is true."""

    table: Table
    tokenizer: Tokenizer
    config: DataConfig
    seed: int
    drawn: Tensor

    def __post_init__(self) -> None:
        if not bool(self.drawn.any()):
            raise ValueError(
                "no sample counts: the table has no gold (role 'train') or every weight is 0; "
                "build with gold, or choose another weighting"
            )

    def batch_at(self, step: int) -> Batch:
        """The batch of a step, augmented."""
        rows = self.rows_at(step)
        generator = torch.Generator().manual_seed(_mix(self.seed, step))
        return make_batch(
            self.table, rows, tokenizer=self.tokenizer, config=self.config, generator=generator
        )

    def rows_at(self, step: int) -> NDArray[np.int64]:
        """Rows of the table that make the batch of a step."""
        gold = np.flatnonzero((self.drawn & self.table.is_gold).numpy())
        machine = np.flatnonzero((self.drawn & ~self.table.is_gold).numpy())
        share, size = self.config.gold_share, self.config.batch
        if share is None or not len(gold) or not len(machine):
            return _stream(np.sort(np.concatenate([gold, machine])), self.seed, step, size)
        count = round(share * size)
        return np.concatenate(
            [
                _stream(gold, self.seed + 1, step, count),
                _stream(machine, self.seed + 2, step, size - count),
            ]
        )


def make_batch(
    table: Table,
    rows: NDArray[np.int64],
    *,
    tokenizer: Tokenizer,
    config: DataConfig,
    generator: torch.Generator,
) -> Batch:
    """The samples at `rows`, one phrasing each, augmented as `config.augment` says."""
    augment = config.augment
    index = torch.from_numpy(rows)
    choices = torch.rand(len(rows), generator=generator).tolist()
    texts = [
        table.instructions[row][int(u * len(table.instructions[row]))]
        for row, u in zip(rows.tolist(), choices, strict=True)
    ]
    mirror = draw_mirrors(texts, augment, generator)
    texts = [swap_sides(t) if flip else t for t, flip in zip(texts, mirror.tolist(), strict=True)]
    image = table.images[table.image_of[index]].float() / 255.0
    masks = torch.stack([table.target[index], table.label[index]], 1).float() / 255.0
    image, masks, valid, theta = move(
        image, masks, mirror=mirror, config=augment, generator=generator
    )
    return Batch(
        image=recolour(image, augment, generator) * valid,
        tokens=drop_words(tokenizer.encode(texts), augment, generator),
        mask=masks[:, :1],
        label=masks[:, 1:],
        pixel_valid=valid,
        theta=theta,
        weight=table.weight[index],
        p_clean=table.p_clean[index],
        is_gold=table.is_gold[index],
        rows=index,
        ids=tuple(table.ids[row] for row in rows.tolist()),
    )


def plain_batches(
    table: Table, *, tokenizer: Tokenizer, size: int
) -> list[tuple[slice, Tensor, Tensor, Tensor]]:
    """Every sample once, in order, not augmented, first phrasing: (rows, image b3hw, tokens bt, label b1hw)."""
    batches = []
    for start in range(0, len(table), size):
        rows = slice(start, min(start + size, len(table)))
        image = table.images[table.image_of[rows]].float() / 255.0
        tokens = tokenizer.encode([texts[0] for texts in table.instructions[rows]])
        batches.append((rows, image, tokens, table.label[rows, None].float() / 255.0))
    return batches


def _stream(rows: NDArray[np.int64], seed: int, step: int, count: int) -> NDArray[np.int64]:
    """`count` rows from an endless, per-epoch shuffled stream, at the position of `step`."""
    places = np.arange(step * count, (step + 1) * count)
    picked = np.empty(count, np.int64)
    for epoch in np.unique(places // len(rows)):
        order = np.random.default_rng([seed, int(epoch)]).permutation(rows)
        here = places // len(rows) == epoch
        picked[here] = order[places[here] % len(rows)]
    return picked


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
