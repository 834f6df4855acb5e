"""Which part of every global batch one process makes.

The global batch of a step is fixed by (seed, step, lanes) whoever makes it; rank r of w takes its samples r, r + w,
r + 2w, ... Taking turns, not blocks, gives every rank the same mix of gold and machine samples, and since the stream
takes its samples from the lanes in turn too (trainer.data.order), a rank stays with its own lanes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Process `rank` of `world`; the only one of one by default."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(
                f"rank {self.rank} of a world of {self.world}; expected 0 <= rank < world"
            )

    def of(self, count: int) -> range:
        """Which of `count` samples of a global batch are this rank's.

        Raises:
            ValueError: the ranks cannot have equally many.
        """
        if count % self.world:
            raise ValueError(
                f"a batch of {count} does not divide among {self.world} processes; "
                f"set data.batch to a multiple of {self.world}, such as {-(-count // self.world) * self.world}"
            )
        return range(self.rank, count, self.world)
