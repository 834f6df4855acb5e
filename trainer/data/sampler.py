"""Which samples make the batch of a step, and the batch itself: pure functions of (dataset, recipe, seed, step).

Nothing is remembered between steps, so training resumed at step k sees what an uninterrupted run saw, whoever makes the
batches. Gold and machine samples are two streams, each reshuffled once an epoch of its own (trainer.data.order); a
recipe may fix gold's share of every batch. With several processes the global batch of a step stays what it is, and each
makes its share of it: all chance is drawn for the global batch and then taken apart.

A process stays with its own lanes of a stream when the samples that a batch takes from the stream divide among the
processes; where gold_share makes that number odd, it also reads from others' shards, and nothing else changes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from trainer.data.augment import Draws, choose_mirrors, draw, drop_words, move, recolour, swap_sides
from trainer.data.batch import Batch
from trainer.data.config import DataConfig
from trainer.data.order import Stream
from trainer.data.protocol import Frames, Store
from trainer.data.share import Share
from trainer.models.protocol import TextTokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Draws batches from the rows of `table` where `drawn` (bool n) is true.

    share: which part of each global batch `batch_at` makes. width: tokens are padded to at least so many; a compiled
    model wants one width in every batch.
    """

    table: Store
    tokenizer: TextTokens
    config: DataConfig
    seed: int
    drawn: Tensor
    share: Share = field(default_factory=Share)
    width: int = 0
    _streams: tuple[tuple[int, Stream], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not bool(self.drawn.any()):
            raise ValueError(
                "no sample counts: the table has no gold (role 'train') or every weight is 0; "
                "build with gold, or choose another weighting"
            )
        self.share.of(self.config.batch)
        object.__setattr__(self, "_streams", tuple(self._make_streams()))

    def batch_at(self, step: int) -> Batch:
        """This process's share of the batch of a step, augmented."""
        size = self.config.batch
        own = self.share.of(size)
        seed = _mix(self.seed, step)
        batch = make_batch(
            self.table,
            self.rows_at(step)[own.start :: own.step],
            tokenizer=self.tokenizer,
            config=self.config,
            draws=draw(seed, count=size, tokens=self.config.max_tokens, own=own),
        )
        missing = self.width - batch.tokens.shape[1]
        if missing <= 0:
            return batch
        return replace(batch, tokens=pad(batch.tokens, (0, missing), value=self.tokenizer.pad))

    def rows_at(self, step: int) -> NDArray[np.int64]:
        """Rows of the table that make the global batch of a step, gold first where the recipe fixes its share."""
        return np.concatenate([stream.at(step * count, count) for count, stream in self._streams])

    def _make_streams(self) -> Iterator[tuple[int, Stream]]:
        """(samples of a batch, stream they come from)."""
        gold, size = self.config.gold_share, self.config.batch
        drawn, is_gold = self.drawn, self.table.is_gold
        if gold is None or not bool((drawn & is_gold).any()) or not bool((drawn & ~is_gold).any()):
            yield size, self._stream(drawn, 0)
            return
        count = round(gold * size)
        if 0 < gold < 1 and not 0 < count < size:
            raise ValueError(
                f"data.gold_share {gold} of a batch of {size} is {count} gold samples and {size - count} of the "
                "machine's, so one of the two would never be drawn; raise data.batch, or set gold_share to null"
            )
        yield count, self._stream(drawn & is_gold, 1)
        yield size - count, self._stream(drawn & ~is_gold, 2)

    def _stream(self, chosen: Tensor, number: int) -> Stream:
        lanes = self.config.lanes or self.share.world
        if lanes % self.share.world:
            raise ValueError(
                f"data.lanes is {lanes}, which does not divide among {self.share.world} processes; "
                f"set it to a multiple of {self.share.world}"
            )
        return Stream(
            rows=np.flatnonzero(chosen.numpy()),
            shard_of=self.table.shard_of[chosen].numpy(),
            key=(self.seed, number),
            lanes=lanes,
            window=self.config.window,
        )


def make_batch(
    table: Store,
    rows: NDArray[np.int64],
    *,
    tokenizer: TextTokens,
    config: DataConfig,
    draws: Draws,
) -> Batch:
    """The samples at `rows`, one phrasing each, augmented as `config.augment` says and `draws` has it.

    Tokens are padded to the longest of these texts, so a share of a batch may be narrower than the whole.
    """
    augment = config.augment
    index = torch.from_numpy(rows)
    wanted: list[int] = rows.tolist()
    texts = []
    for row, u in zip(wanted, draws.phrasing.tolist(), strict=True):
        phrasings = table.instructions[row]
        texts.append(phrasings[int(u * len(phrasings))])
    mirror = choose_mirrors(texts, augment, draws)
    texts = [swap_sides(t) if flip else t for t, flip in zip(texts, mirror.tolist(), strict=True)]
    frames = table.frames(rows)
    masks = torch.stack([frames.target, frames.label], 1).float() / 255.0
    image, masks, valid, theta = move(
        frames.image.float() / 255.0, masks, mirror=mirror, config=augment, draws=draws
    )
    return Batch(
        image=recolour(image, augment, draws) * valid,
        tokens=drop_words(tokenizer.encode(texts), tokenizer, config=augment, draws=draws),
        mask=masks[:, :1],
        label=masks[:, 1:],
        pixel_valid=valid,
        theta=theta,
        weight=table.weight[index],
        p_clean=table.p_clean[index],
        is_gold=table.is_gold[index],
        rows=index,
        ids=tuple(table.ids[row] for row in wanted),
        chance=draws.keys,
    )


def widest(tokenizer: TextTokens, instructions: Sequence[tuple[str, ...]]) -> int:
    """Tokens of the longest instruction."""
    texts = [text for phrasings in instructions for text in phrasings]
    return max(tokenizer.encode(texts[i : i + 1024]).shape[1] for i in range(0, len(texts), 1024))


def plain_batches(
    table: Store, *, tokenizer: TextTokens, size: int
) -> Iterator[tuple[slice, Frames, Tensor]]:
    """Every sample once, in order, not augmented, first phrasing: (rows, their pixels, tokens bt)."""
    for start in range(0, len(table), size):
        rows = slice(start, min(start + size, len(table)))
        frames = table.frames(np.arange(rows.start, rows.stop))
        yield rows, frames, tokenizer.encode([texts[0] for texts in table.instructions[rows]])


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
