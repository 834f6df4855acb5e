"""Steps of our pre-training against those of the library transformers: MIM and ViTMAE, plain contrast and CLIP.

Run: python -m benchmarks.vit_step (some minutes). On a GPU: ViT-B/16 at 224 pixels in bfloat16, batches of 256 and the
decoder that MAE was published with. Without one: the same pairs with ViT-Ti in float32, batches of 8, the recipes'
decoder and one thread. Parameters are random, and the text encoder has one block on both sides. The peers have a class
token where ours has none.

A step is forward, backward, clipping and AdamW, on batches that lie on the device; no loader is measured. The losses
must be finite; what else two sides compute differs by design. Salience is also held against random masks and CFM
against plain contrast, ours both. Targets: no slower than a peer by more than a twentieth; salience at most 2 % of a
step; CFM at most 1.1 times plain contrast.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.made_batch import made_batch
from benchmarks.ratio import compare, run, say
from trainer.data.batch import Batch
from trainer.engine.config import OptimConfig, RunConfig
from trainer.engine.distributed import World
from trainer.engine.loop import Training
from trainer.masking.protocol import Masking
from trainer.masking.ratios import FixedRatio
from trainer.masking.salience import Salience
from trainer.masking.uniform import Uniform
from trainer.models.saved_model import seeded
from trainer.models.vit.autoencoder import Autoencoder
from trainer.models.vit.config import VitConfig
from trainer.models.vit.dual import Dual
from trainer.objectives.cfm import Cfm
from trainer.objectives.config import CfmConfig, MimConfig
from trainer.objectives.mim import Mim

RATIO, WORDS, VOCABULARY = 0.75, 32, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Of both sides."""

    dim: int
    heads: int
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int
    text_dim: int
    text_heads: int
    joint_dim: int
    batch: int
    precision: Literal["float32", "bfloat16"]
    steps: int
    """In a round."""
    rounds: int
    depth: int = 12
    side: int = 224

    @property
    def vit(self) -> VitConfig:
        """Our encoder."""
        grid = self.side // 16
        return VitConfig(
            patch=16, dim=self.dim, depth=self.depth, heads=self.heads, table_hw=(grid, grid)
        )

    def batches(self, device: torch.device) -> list[Batch]:
        """Noise, and texts of random words with CLIP's start and end."""
        made = []
        for number in range(2):
            generator = torch.Generator().manual_seed(number)
            tokens = torch.randint(1, 900, (self.batch, WORDS), generator=generator)
            tokens[:, 0], tokens[:, -1] = 998, 999
            image = torch.rand(self.batch, 3, self.side, self.side, generator=generator)
            made.append(made_batch(image.to(device), tokens=tokens.to(device), seed=number))
        return made


VIT_B = Sizes(dim=768, heads=12, decoder_dim=512, decoder_depth=8, decoder_heads=16, text_dim=512, text_heads=8,
              joint_dim=512, batch=256, precision="bfloat16", steps=10, rounds=11)  # fmt: skip
VIT_TI = Sizes(dim=192, heads=3, decoder_dim=96, decoder_depth=2, decoder_heads=4, text_dim=192, text_heads=3,
               joint_dim=128, batch=8, precision="float32", steps=1, rounds=15)  # fmt: skip


class Ours:
    """Steps of our training loop at each call; whether all were finite."""

    def __init__(
        self, model: nn.Module, objective: Any, *, sizes: Sizes, device: torch.device
    ) -> None:
        self.sizes = sizes
        self.training = Training(
            model,
            objective,
            optim=OptimConfig(steps=10**6, warmup=100, lr=1.5e-4, precision=sizes.precision),
            run=RunConfig(device="cpu" if device.type == "cpu" else "cuda"),
            world=World(device=device),
            seed=0,
        )
        self.training.resume(None)
        self.batches = sizes.batches(device)
        self.done = 0

    def __call__(self) -> bool:
        for _ in range(self.sizes.steps):
            self.training.step(self.done, self.batches[self.done % len(self.batches)])
            self.done += 1
        return self.training.bad_steps() == 0


class Peer:
    """Steps of a model of transformers at each call, as a plain loop takes them; whether the last loss is finite."""

    def __init__(
        self,
        model: nn.Module,
        loss_of: Callable[[Any, Batch], torch.Tensor],
        *,
        sizes: Sizes,
        device: torch.device,
    ) -> None:
        self.sizes, self.device, self.loss_of = sizes, device, loss_of
        self.model = model.to(device).train()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=1.5e-4, weight_decay=0.02, fused=True
        )
        self.batches = sizes.batches(device)
        self.done = 0

    def __call__(self) -> bool:
        loss = torch.zeros(())
        for _ in range(self.sizes.steps):
            batch = self.batches[self.done % len(self.batches)]
            lower = self.sizes.precision == "bfloat16"
            with torch.autocast(self.device.type, torch.bfloat16, enabled=lower):
                loss = self.loss_of(self.model, batch)
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimiser.step()
            self.done += 1
        return bool(loss.detach().isfinite())


def make_mim(masking: Masking, *, sizes: Sizes, device: torch.device) -> Ours:
    config = MimConfig(
        decoder_dim=sizes.decoder_dim,
        decoder_depth=sizes.decoder_depth,
        decoder_heads=sizes.decoder_heads,
    )
    with seeded(0):
        model = Autoencoder(sizes.vit, config=config)
    return Ours(model, Mim(config, masking=masking), sizes=sizes, device=device)


def make_cfm(*, plain: bool, sizes: Sizes, device: torch.device) -> Ours:
    """CFM, or plain contrast."""
    less: dict[str, Any] = {"reconstruct": "none", "contrast": "all", "ped": 0.0} if plain else {}
    config = CfmConfig(
        joint_dim=sizes.joint_dim, text_dim=sizes.text_dim, text_heads=sizes.text_heads, **less
    )
    with seeded(0):
        model = Dual(sizes.vit, config=config, vocabulary=VOCABULARY, max_tokens=WORDS)
    objective = Cfm(config, masking=Uniform(ratio=RATIO))
    return Ours(model, objective, sizes=sizes, device=device)


def make_mae(*, sizes: Sizes, device: torch.device) -> Peer:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=sizes.dim, num_hidden_layers=sizes.depth, num_attention_heads=sizes.heads,
        intermediate_size=4 * sizes.dim, image_size=sizes.side, patch_size=16, mask_ratio=RATIO, norm_pix_loss=True,
        decoder_hidden_size=sizes.decoder_dim, decoder_num_hidden_layers=sizes.decoder_depth,
        decoder_num_attention_heads=sizes.decoder_heads, decoder_intermediate_size=4 * sizes.decoder_dim,
    )  # fmt: skip
    with seeded(0):
        model = ViTMAEForPreTraining(config)
    return Peer(
        model, lambda net, batch: net(pixel_values=batch.image).loss, sizes=sizes, device=device
    )


def make_clip(*, sizes: Sizes, device: torch.device) -> Peer:
    from transformers import CLIPConfig, CLIPModel

    vision = {
        "hidden_size": sizes.dim, "num_hidden_layers": sizes.depth, "num_attention_heads": sizes.heads,
        "intermediate_size": 4 * sizes.dim, "image_size": sizes.side, "patch_size": 16,
    }  # fmt: skip
    text = {
        "hidden_size": sizes.text_dim, "num_hidden_layers": 1, "num_attention_heads": sizes.text_heads,
        "intermediate_size": 4 * sizes.text_dim, "vocab_size": VOCABULARY, "max_position_embeddings": WORDS,
        "bos_token_id": 998, "eos_token_id": 999, "pad_token_id": 0,
    }  # fmt: skip
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=sizes.joint_dim)  # pyright: ignore[reportCallIssue]
    with seeded(0):
        model = CLIPModel(config)
    return Peer(
        model,
        lambda net, batch: (
            net(input_ids=batch.tokens, pixel_values=batch.image, return_loss=True).loss
        ),
        sizes=sizes,
        device=device,
    )


def measure(what: str, ours: Ours, peer: Ours | Peer, *, peer_name: str, target: float) -> bool:
    sizes = ours.sizes
    return compare(
        what, ours=ours, peer=peer, peer_name=peer_name, same=lambda a, b: a is True and b is True,
        target=target, units=sizes.batch * sizes.steps, unit="images", rounds=sizes.rounds,
        on_gpu=ours.batches[0].image.is_cuda,
    )  # fmt: skip


def main() -> None:
    """Measure four pairs."""
    cuda = torch.cuda.is_available()
    sizes, device = (VIT_B, torch.device("cuda")) if cuda else (VIT_TI, torch.device("cpu"))
    name = torch.cuda.get_device_name(device) if cuda else "CPU"
    say(f"ViT of width {sizes.dim}, {sizes.side} px, batch {sizes.batch}, {sizes.precision}")
    say(f"torch {torch.__version__}, {name}")
    on: dict[str, Any] = {"sizes": sizes, "device": device}
    random, salient = Uniform(ratio=RATIO), Salience(ratio=FixedRatio(ratio=RATIO))
    run(
        lambda: measure(
            "MIM, random masks; ViTMAE", make_mim(random, **on), make_mae(**on),
            peer_name="transformers", target=0.95,
        ),
        lambda: measure(
            "MIM, salience; MIM, random masks", make_mim(salient, **on), make_mim(random, **on),
            peer_name="torch", target=0.98,
        ),
        lambda: measure(
            "plain contrast; CLIP", make_cfm(plain=True, **on), make_clip(**on),
            peer_name="transformers", target=0.95,
        ),
        lambda: measure(
            "CFM; plain contrast", make_cfm(plain=False, **on), make_cfm(plain=True, **on),
            peer_name="torch", target=0.909,
        ),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
