"""A contrastive training that takes a second: halves in four colours, named; run, it is one of two processes."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.objectives.little_batch import little_batch
from trainer.data.batch import Batch
from trainer.data.chance import keys
from trainer.data.share import Share
from trainer.engine.batches import parts
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World, joined
from trainer.engine.loop import train
from trainer.engine.trainee import Trainee
from trainer.masking.protocol import Masking, Patches, hide_highest
from trainer.masking.uniform import Uniform
from trainer.models.vit.config import VitConfig
from trainer.models.vit.dual import Dual
from trainer.objectives.cfm import Cfm
from trainer.objectives.config import CfmConfig

SIZE = 8
COLOURS = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9, 0.9, 0.1]])
PLACES = torch.tensor([2, 3])
"""Tokens: top and bottom; colours are 4 to 7, fillers 8 and 9."""
SMALL: dict[str, Any] = {"joint_dim": 16, "text_dim": 16, "text_heads": 2, "decoder_heads": 2}


class Uneven:
    """Hides from 7 to 12 of 16 patches: the last ones, how many is each sample's chance."""

    def bounds(self, count: int) -> tuple[int, int]:
        return 7, 12

    def __call__(self, patches: Patches) -> Tensor:
        count = patches.tokens.shape[1]
        rising = torch.arange(count, dtype=torch.float32).expand(len(patches.chance), count)
        return hide_highest(rising, 7 + patches.chance % 6)


def dual(config: CfmConfig, *, patch: int = 4, seed: int = 0) -> Dual:
    torch.manual_seed(seed)
    vit = VitConfig(patch=patch, dim=16, depth=2, heads=2, table_hw=(4, 4))
    return Dual(vit, config=config, vocabulary=12, max_tokens=8)


def pictures(step: int, share: Share = Share()) -> Batch:  # noqa: B008 - frozen
    """A coloured half of 16 by 16 pixels, told by place and colour; some texts come twice. A function of the step."""
    generator = torch.Generator().manual_seed(step)
    colour = torch.randint(4, (SIZE,), generator=generator)
    top = torch.randint(2, (SIZE,), generator=generator)
    image = 0.2 * torch.rand(SIZE, 3, 16, 16, generator=generator)
    for i in range(SIZE):
        half = slice(0, 8) if top[i] else slice(8, 16)
        image[i, :, half] += 0.8 * COLOURS[colour[i], :, None, None]
    plain = little_batch(b=SIZE, size=16)
    own = share.of(SIZE)
    tokens = torch.stack([PLACES[top], 4 + colour, torch.zeros_like(colour)], 1)
    whole = Batch(
        image=image, tokens=tokens, mask=plain.mask, label=plain.label, pixel_valid=plain.pixel_valid,
        theta=plain.theta, weight=plain.weight, p_clean=plain.p_clean, is_gold=plain.is_gold,
        rows=torch.randint(60, (SIZE,), generator=generator), ids=plain.ids, chance=keys(step, range(SIZE)),
    )  # fmt: skip
    return parts(whole, share.world)[own.start]


def learn(
    config: CfmConfig,
    folder: Path | None = None,
    *,
    masking: Masking | None = None,
    world: World | None = None,
    stop_at: int | None = None,
    **optim: Any,
) -> Dual:
    model = dual(config)
    world = world or World()
    share = Share(rank=world.rank, world=world.size)
    options: dict[str, Any] = {"steps": 12, "warmup": 2, "log_every": 1, "checkpoint_every": 4}
    train(
        model,
        objective=Cfm(config, masking=masking or Uniform(ratio=0.75), world=world),
        batch_at=partial(pictures, share=share),
        optim=OptimConfig(**{**options, **optim}),
        run=RunConfig(device="cpu"),
        world=world,
        folder=folder,
        stop_at=stop_at,
    )
    return model


def gradients(
    config: CfmConfig, masking: Masking, world: World, *, image_of: Tensor | None = None
) -> dict[str, Tensor]:
    """Of the mean loss over the global batch, as the optimiser would see them; and the loss itself."""
    objective = Cfm(config, masking=masking, world=world, image_of=image_of)
    trainee = Trainee(dual(config), objective)
    wrapped = world.wrap(trainee)
    step = wrapped(pictures(0, Share(rank=world.rank, world=world.size)), 0.0)
    step.total.backward()
    sums = torch.stack([step.total.detach(), step.count, step.parts["negatives"]])
    world.add_up(sums)
    total, count, negatives = sums.unbind()
    found = {
        name: p.grad * world.size / count
        for name, p in trainee.named_parameters()
        if p.grad is not None
    }
    return found | {"loss": total / count, "negatives": negatives / count}


CASES: dict[str, tuple[CfmConfig, Masking, Tensor | None]] = {
    "cfm": (CfmConfig(**SMALL), Uniform(ratio=0.75), torch.arange(60) // 8),
    "uneven": (CfmConfig(contrast="all", **SMALL), Uneven(), None),
    "pixels": (CfmConfig(reconstruct="pixels", repeats="negatives", **SMALL), Uniform(ratio=0.5), None),
}  # fmt: skip

if __name__ == "__main__":
    with joined("cpu") as here:
        for case, (recipe, mask, numbers) in CASES.items():
            grads = gradients(recipe, mask, here, image_of=numbers)
            if here.leads:
                save_file(grads, Path(sys.argv[1]) / f"{case}.safetensors")
        learn(CfmConfig(**SMALL), Path(sys.argv[1]) / "run", world=here, clip_norm=1e6)
