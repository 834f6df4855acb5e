"""The base model over random encoders: samples a second, MFU, memory; eager, compiled, cached; bf16 against fp32.

Run on a GPU: python -m benchmarks.base_model (some minutes; one line and exit code 0 where there is none). Sizes are
SAM ViT-B at 1024 pixels and CLIP ViT-B/32's text half at 32 tokens, the batch 16: what the recipe `base` trains.
`--tiny` runs the same code at toy sizes on a CPU, to see that it works; its numbers mean nothing.

Every step is a whole training step of trainer.engine.loop's parts: forward under autocast, BCE + Dice at the frame,
backward through the decoder, clipping, AdamW. Batches lie on the device already, so no loader is measured.

FLOP of a step, counted by hand (2 for a multiplication with its addition): matrix products and the two products of
attention, forward once for the frozen encoders and three times (forward, backward twice) for what learns, which is some
8 % too many, since no gradient goes to frozen features. Not counted: norms, softmax, relative positions (an eighth of
ViT-B's work on a GPU, where they are folded into the products), losses, interpolation, the optimiser. MFU is FLOP /
seconds / peak, with the peak of dense bfloat16 products that the maker states; a card that is not in PEAKS gets TFLOP/s
without a share.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from benchmarks.made_batch import made_batch
from benchmarks.ratio import say
from trainer.data.batch import Batch
from trainer.engine.precision import seen_by_objectives
from trainer.models.base.model import BaseModel
from trainer.models.frozen.image import FrozenImage
from trainer.models.frozen.sam import FrozenSam
from trainer.models.frozen.text import FrozenText
from trainer.objectives.config import LossConfig
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.uniform import Uniform

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bfloat16 FLOP/s of the makers' data sheets (SXM where there are several)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of the encoders, the decoder and the batch."""

    side: int = 1024
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 14
    whole: tuple[int, ...] = (2, 5, 8, 11)
    dim: int = 256
    text_width: int = 512
    text_depth: int = 12
    text_heads: int = 8
    tokens: int = 32
    mlp: int = 2048
    batch: int = 16
    steps: int = 20
    curve: int = 200


TINY = Sizes(side=64, width=48, depth=2, heads=3, window=3, whole=(1,), dim=32, text_width=32,
             text_depth=2, text_heads=2, tokens=8, mlp=64, batch=2, steps=3, curve=6)  # fmt: skip


def make_model(
    sizes: Sizes, *, dtype: torch.dtype, compiled: bool, device: torch.device
) -> BaseModel:
    """Random parameters from seed 0, position tables drawn too."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    vit: Any = ImageEncoderViT(
        img_size=sizes.side, patch_size=sizes.patch, embed_dim=sizes.width, depth=sizes.depth,
        num_heads=sizes.heads, out_chans=sizes.dim, norm_layer=partial(nn.LayerNorm, eps=1e-6),  # type: ignore[arg-type]
        use_rel_pos=True, window_size=sizes.window, global_attn_indexes=sizes.whole,
    )  # fmt: skip
    with torch.no_grad():
        vit.pos_embed.normal_(std=0.2)
        for block in vit.blocks:
            block.attn.rel_pos_h.normal_(std=0.2)
            block.attn.rel_pos_w.normal_(std=0.2)
    sam = FrozenSam(vit, dtype=dtype)
    if compiled:
        for block in sam.encoder.blocks:
            block.compile(dynamic=False)
    text: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=1000, hidden_size=sizes.text_width, intermediate_size=4 * sizes.text_width,
            num_hidden_layers=sizes.text_depth, num_attention_heads=sizes.text_heads,
            max_position_embeddings=77, eos_token_id=999, bos_token_id=998, pad_token_id=0,
        )
    )  # fmt: skip
    model = BaseModel(
        image=FrozenImage(sam, rounded=torch.float16),
        text=FrozenText(text.to(dtype), end=999, at_end=True),
        mlp=sizes.mlp,
        heads=8 if sizes.dim % 16 == 0 else 4,
    )
    return model.to(device)


def make_batch(sizes: Sizes, *, seed: int, device: torch.device) -> Batch:
    """Noise with a bright square to find: enough of a task for a loss to fall."""
    rng = torch.Generator().manual_seed(seed)
    b, side = sizes.batch, sizes.side
    image = torch.rand(b, 3, side, side, generator=rng) * 0.5
    mask = torch.zeros(b, 1, side, side)
    for i in range(b):
        y, x = torch.randint(0, side // 2, (2,), generator=rng).tolist()
        mask[i, :, y : y + side // 2, x : x + side // 2] = 1.0
    tokens = torch.randint(1, 900, (b, sizes.tokens), generator=rng)
    tokens[:, 0], tokens[:, -1] = 998, 999
    return made_batch(
        (image + 0.5 * mask).to(device), tokens=tokens.to(device), mask=mask.to(device)
    )


def flop(sizes: Sizes, *, cached: bool) -> float:
    """FLOP of a training step of one batch; see the module."""
    n, c, b = (sizes.side // sizes.patch) ** 2, sizes.width, sizes.batch
    padded = (-(-(sizes.side // sizes.patch) // sizes.window) * sizes.window) ** 2
    image = 2 * n * 3 * sizes.patch**2 * c
    for i in range(sizes.depth):
        seen = n * n if i in sizes.whole else padded * sizes.window**2
        image += 2 * n * 12 * c * c + 4 * seen * c
    image += 2 * n * (c * sizes.dim + 9 * sizes.dim**2)
    t, w = sizes.tokens, sizes.text_width
    text = sizes.text_depth * (2 * t * 12 * w * w + 4 * t * t * w)
    d, q = sizes.dim, t + 1
    half = d // 2

    def attention(keys: int, queries: int, inner: int) -> int:
        return 2 * d * inner * (2 * keys + 2 * queries) + 4 * keys * queries * inner

    block = attention(q, q, d) + 2 * attention(n, q, half) + 4 * q * d * sizes.mlp
    decoder = 2 * block + attention(n, q, half)
    decoder += 2 * n * d * d + 2 * 4 * n * (d // 4) * (d // 8) * 4 + 2 * 16 * n * (d // 8)
    project = 2 * t * (w * d + d * d)
    frozen = text + (0 if cached else image)
    return b * (frozen + 3.0 * (decoder + project))


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One model with its optimiser, a step at a time."""

    model: BaseModel
    seen: Any
    optimiser: torch.optim.AdamW
    objective: Segmentation

    def step(self, batch: Batch) -> Tensor:
        """One whole step; the loss stays on the device."""
        done = self.objective(self.seen, batch, 0.0)
        loss = done.total / done.count
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimiser.step()
        return loss.detach()


def make_training(
    sizes: Sizes, *, device: torch.device, precision: str, compiled: bool = False
) -> Training:
    """A model whose encoders compute in `precision` too, ready to step."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model = make_model(sizes, dtype=dtype, compiled=compiled, device=device).train()
    seen = seen_by_objectives(
        model, device_type=device.type, precision=precision, compiled=compiled
    )
    learns = [p for p in model.parameters() if p.requires_grad]
    return Training(
        model=model,
        seen=seen,
        optimiser=torch.optim.AdamW(learns, lr=3e-4),
        objective=Segmentation(loss=LossConfig(), weigher=Uniform()),
    )


def measure(name: str, sizes: Sizes, *, device: torch.device, cached: bool, **how: Any) -> None:
    """Print one row: the median step."""
    training = make_training(sizes, device=device, **how)
    batch = make_batch(sizes, seed=0, device=device)
    if cached:
        batch = replace(batch, embedding=training.model.embed(batch.image))
    for _ in range(3):
        training.step(batch)
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(sizes.steps):
        start = time.perf_counter()
        training.step(batch)
        _wait(device)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    rate = flop(sizes, cached=cached) / seconds
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    say(
        f"{name:<30}{1e3 * seconds:>10.1f}{sizes.batch / seconds:>12.1f}{rate / 1e12:>10.2f}"
        f"{_share(rate, device):>8}{memory:>10.2f}"
    )


def compare_curves(sizes: Sizes, *, device: torch.device) -> None:
    """Print the loss of bfloat16 beside that of float32: the same parameters, batches and steps."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = make_training(sizes, device=device, precision=precision)
        steps = [
            training.step(make_batch(sizes, seed=i % 16, device=device)) for i in range(sizes.curve)
        ]
        losses[precision] = torch.stack(steps).cpu()
        del training
    tenth = max(1, sizes.curve // 10)
    say(f"\nloss, mean of {tenth} steps     float32  bfloat16")
    for start in range(0, sizes.curve, tenth):
        here = slice(start, start + tenth)
        fp32, bf16 = (float(losses[p][here].mean()) for p in ("float32", "bfloat16"))
        say(f"  steps {start:>4} to {start + tenth:<4}       {fp32:>10.4f}{bf16:>10.4f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes on a CPU")
    tiny = parser.parse_args().tiny
    if not tiny and not torch.cuda.is_available():
        say("no CUDA device: nothing measured (--tiny runs the code at toy sizes)")
        sys.exit(0)
    sizes, device = (TINY, torch.device("cpu")) if tiny else (Sizes(), torch.device("cuda"))
    name = "CPU, toy sizes" if tiny else torch.cuda.get_device_name(device)
    say(f"base model, {sizes.side} px, batch {sizes.batch}, torch {torch.__version__}, {name}")
    trained = make_model(sizes, dtype=torch.float32, compiled=False, device=torch.device("cpu"))
    counts = [
        sum(p.numel() for p in trained.parameters() if p.requires_grad == g) for g in (True, False)
    ]
    say(f"{counts[0]:,} parameters learn, {counts[1]:,} are frozen")
    say(f"{'':<30}{'ms/step':>10}{'samples/s':>12}{'TFLOP/s':>10}{'MFU':>8}{'GiB':>10}")
    rows: dict[str, dict[str, Any]] = {
        "float32, eager": {"precision": "float32", "cached": False},
        "bfloat16, eager": {"precision": "bfloat16", "cached": False},
        "bfloat16, compiled": {"precision": "bfloat16", "cached": False, "compiled": True},
        "bfloat16, cached": {"precision": "bfloat16", "cached": True},
        "bfloat16, cached, compiled": {"precision": "bfloat16", "cached": True, "compiled": True},
    }
    for title, how in rows.items():
        measure(title, sizes, device=device, **how)
    compare_curves(sizes, device=device)


def _share(rate: float, device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    return "-" if peak is None else f"{rate / peak:.1%}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
