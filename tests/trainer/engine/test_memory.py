"""Buffers: undone on the device when a step is skipped, and copied only when they were written."""

import torch
from torch import nn

from trainer.engine.distributed import World
from trainer.engine.memory import Memory


class Keeps(nn.Module):
    row_buffers = ("by_row",)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("by_row", torch.zeros(5, 2))
        self.register_buffer("whole", torch.zeros(3))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("constant", torch.full((4,), torch.nan))


def written(finite: bool) -> Keeps:
    module = Keeps()
    memory = Memory(module, World())
    rows = torch.tensor([1, 3])
    memory.keep(rows)
    module.by_row[rows] = torch.nan if not finite else 1.0
    module.whole += torch.tensor([1.0, torch.inf, 2.0])
    module.count += 1
    memory.settle(torch.tensor(finite))
    return module


def test_what_a_skipped_step_wrote_is_undone():
    skipped = written(finite=False)
    assert skipped.by_row.abs().sum() == 0
    assert torch.equal(skipped.whole, torch.zeros(3))
    assert int(skipped.count) == 0
    assert bool(skipped.constant.isnan().all())


def test_what_another_step_wrote_stays():
    taken = written(finite=True)
    assert taken.by_row.sum(1).tolist() == [0, 2, 0, 2, 0]
    assert taken.whole.tolist() == [1, torch.inf, 2]
    assert int(taken.count) == 1


def test_a_buffer_that_nobody_writes_is_copied_once_and_one_that_was_replaced_anew():
    module = Keeps()
    memory = Memory(module, World())
    memory.keep(torch.tensor([0]))
    before = {key: kept.content for key, kept in memory._kept.items()}
    module.whole = torch.ones(3)
    memory.settle(torch.tensor(True))
    memory.keep(torch.tensor([0]))
    after = {key: kept.content for key, kept in memory._kept.items()}
    assert {key[1] for key in after if after[key] is not before[key]} == {"whole"}
    module.whole = torch.full((3,), torch.nan)
    memory.settle(torch.tensor(False))
    assert module.whole.tolist() == [1, 1, 1]
