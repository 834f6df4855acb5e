"""A training step with DWSL against a plain supervised one, on the same batches: what does weighting cost?

Run: python -m benchmarks.dwsl_step (about three minutes). Targets: weights from the sidecar cost at most 2 % (a ratio
of 0.98), a light head that learns beside the segmenter at most 5 % (0.952), and the loop with all it watches over at
most 2 % more than the dozen lines that anybody would write. The peer's loss is the mean of BCE and Dice, without
weights; model and frame are the recipe tiny's, batches are made before the clock starts. Verdicts are made such that
every weight is 1, which costs the same as any other, so that both sides must end with the same parameters.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.ratio import compare, run
from trainer.config import TrainRecipe, load
from trainer.data.batch import Batch
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.loop import train
from trainer.engine.schedule import learning_rate
from trainer.losses import bce_per_sample, dice_per_sample
from trainer.models.light_head import LightHead
from trainer.models.saved_model import seeded
from trainer.models.segmenter import Segmenter
from trainer.objectives.joint import Joint
from trainer.objectives.protocol import Step
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.uniform import Uniform

STEPS, ROUNDS = 8, 25
OPTIM = OptimConfig(steps=STEPS, warmup=2, clip_norm=1e6, log_every=STEPS)
"""No clipping: the norm of a head's gradients would reach the segmenter's."""
Parameters = list[Tensor]


def plain(model: nn.Module, batch: Batch, progress: float) -> Step:
    """Supervised learning as it is without weights."""
    logits: Tensor = model(batch.image, batch.tokens)
    losses = bce_per_sample(logits, batch.mask, batch.pixel_valid)
    losses = losses + dice_per_sample(logits, batch.mask, batch.pixel_valid)
    count = torch.tensor(float(len(losses)))
    return Step(total=losses.sum(), count=count, parts={})


def measure_sidecar() -> bool:
    recipe, batches = load("tiny"), make_batches(load("tiny"))
    weighted = Segmentation(loss=recipe.loss, weigher=Dwsl(f="identity"))
    return _against(
        "a step with DWSL's weights of the sidecar; plain supervised",
        ours=lambda: _trained(weighted, batches),
        peer=lambda: _trained(plain, batches),
        target=0.98,
    )


def measure_joint() -> bool:
    recipe, batches = load("tiny"), make_batches(load("tiny"))

    def ours() -> Parameters:
        model = fresh()
        with seeded(1):
            head = LightHead(channels=model.map_channels[-1], text_dim=model.text_dim)
        joint = Joint(
            loss=recipe.loss, judge=recipe.discriminate, head=head, weigher=Uniform(), warmup=0.0
        )
        return _trained(joint, batches, model=model)

    return _against(
        "a step with a light head that learns beside the segmenter; plain supervised",
        ours=ours,
        peer=lambda: _trained(plain, batches),
        target=0.952,
    )


def measure_loop() -> bool:
    batches = make_batches(load("tiny"))

    def peer() -> Parameters:
        model = fresh().train()
        groups = [
            [p for p in model.parameters() if (p.ndim >= 2) == heavy] for heavy in (True, False)
        ]
        optimiser = torch.optim.AdamW(
            [
                {"params": groups[0], "weight_decay": OPTIM.weight_decay},
                {"params": groups[1], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        for step, batch in enumerate(batches):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps=STEPS, peak=OPTIM.lr, warmup=OPTIM.warmup)
            result = plain(model, batch, 0.0)
            optimiser.zero_grad()
            (result.total / result.count).backward()
            nn.utils.clip_grad_norm_(model.parameters(), OPTIM.clip_norm)
            optimiser.step()
        return [p.detach() for p in model.parameters()]

    return _against(
        "a step of the loop; a loop written down in PyTorch",
        ours=lambda: _trained(plain, batches),
        peer=peer,
        target=0.98,
    )


def make_batches(recipe: TrainRecipe) -> list[Batch]:
    """Batches of noise with squares as masks, a quarter of them gold, p_clean 1."""
    generator = torch.Generator().manual_seed(0)
    size, (h, w) = recipe.data.batch, recipe.data.size_hw
    mask = torch.zeros(size, 1, h, w)
    mask[:, :, h // 4 : h // 2, w // 4 : w // 2] = 1.0
    return [
        Batch(
            image=torch.rand(size, 3, h, w, generator=generator),
            tokens=torch.randint(2, 40, (size, 8), generator=generator),
            mask=mask,
            label=mask.roll(step, 3),
            pixel_valid=torch.ones(size, 1, h, w),
            theta=torch.eye(2, 3).expand(size, 2, 3),
            weight=torch.ones(size),
            p_clean=torch.ones(size),
            is_gold=torch.arange(size) % 4 == 0,
            rows=torch.arange(size),
            ids=tuple(str(i) for i in range(size)),
        )
        for step in range(STEPS)
    ]


def fresh() -> Segmenter:
    """The recipe's model with a vocabulary of 40 words."""
    with seeded(0):
        return Segmenter(vocabulary=40, max_tokens=24, width=16, dim=48, depth=1, heads=4)


def _trained(
    objective: object, batches: list[Batch], *, model: Segmenter | None = None
) -> Parameters:
    model = model or fresh()
    train(
        model,
        objective=objective,  # type: ignore[arg-type]
        batch_at=batches.__getitem__,
        optim=OPTIM,
        run=RunConfig(device="cpu"),
    )
    return [p.detach() for p in model.parameters()]


def _against(
    what: str, *, ours: Callable[[], Parameters], peer: Callable[[], Parameters], target: float
) -> bool:
    return compare(
        what, ours=ours, peer=peer, peer_name="torch", same=_same, target=target, units=STEPS, unit="steps",
        rounds=ROUNDS,
    )  # fmt: skip


def _same(ours: object, theirs: object) -> bool:
    assert isinstance(ours, list)
    assert isinstance(theirs, list)
    return all(
        torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(ours, theirs, strict=True)
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(measure_sidecar, measure_joint, measure_loop)
