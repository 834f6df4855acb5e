"""Hiding hard patches: as many as the training has come to, the rest by chance."""

from dataclasses import replace

import pytest
import torch

from trainer.data.chance import keys
from trainer.masking.loss_guided import LossGuided
from trainer.masking.protocol import Patches


def asked(b: int = 500) -> Patches:
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(b, 16, generator=generator)
    return Patches(
        tokens=torch.zeros(b, 16, 1), grid_hw=(4, 4), chance=keys(0, range(b)), losses=losses
    )


@pytest.mark.parametrize(("progress", "guided"), [(0.0, 0), (0.5, 3), (0.999, 6)])
def test_a_growing_share_of_what_is_hidden_is_what_is_hard(progress: float, guided: int):
    masking, patches = LossGuided(ratio=0.75), replace(asked(), progress=progress)
    assert masking.guided(16, progress) == guided
    hidden = masking(patches)
    assert hidden.sum(1).eq(12).all()
    assert patches.losses is not None
    order = patches.losses.argsort(dim=1, descending=True)
    sorted_hidden = hidden.gather(1, order).float()
    assert sorted_hidden[:, :guided].eq(1).all()
    rest = sorted_hidden[:, guided:].mean(0)
    assert (rest - (12 - guided) / (16 - guided)).abs().max() < 0.08


def test_at_the_start_it_is_random_masking_and_whole_guidance_leaves_no_chance():
    patches = asked()
    other = replace(patches, losses=torch.rand(500, 16))
    start = LossGuided(ratio=0.5)
    assert torch.equal(start(patches), start(other))
    whole = LossGuided(ratio=0.5, start=1.0, end=1.0)
    assert torch.equal(whole(patches), whole(replace(patches, chance=keys(9, range(500)))))


def test_without_expected_losses_it_says_what_to_set():
    with pytest.raises(ValueError, match="set objective"):
        LossGuided(ratio=0.5)(replace(asked(), losses=None))
