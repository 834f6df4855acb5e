"""Tiny IVM models and discriminators over a tiny LLaVA and a tiny SAM, and the names of the published file."""

from pathlib import Path
from typing import Any

import torch

from tests.annotators.sam.tiny_sam import tiny_sam
from trainer.models.frozen.image import FrozenImage
from trainer.models.frozen.sam import FrozenSam
from trainer.models.ivm.composite import Composite
from trainer.models.ivm.llava import Llava, LlavaParts, load_llava, load_llava_tokens, twin
from trainer.models.ivm.model import IvmModel
from trainer.models.ivm.prompt import JUDGE, LlavaTokens, Question

SIZES: dict[str, Any] = {"hidden": 24, "heads": 4, "mlp": 48}
SIDE = 64


def tokens_of(folder: Path) -> LlavaTokens:
    return load_llava_tokens(str(folder))


def model_of(folder: Path, *, parts: LlavaParts | None = None, **lora: Any) -> IvmModel:
    """A generator; the same one each time."""
    seen = FrozenSam(tiny_sam(side=SIDE).image_encoder)
    parts = parts or load_llava(str(folder))
    torch.manual_seed(4)
    return IvmModel(
        image=FrozenImage(seen, rounded=torch.float32),
        lmm=Llava(parts, **lora),
        pad=tokens_of(folder).pad,
        **SIZES,
    )


def composite_of(folder: Path, *, parts: LlavaParts | None = None, **lora: Any) -> Composite:
    policy = tokens_of(folder)
    judge = LlavaTokens(
        tokenizer=policy.tokenizer, image_tokens=policy.image_tokens, template=JUDGE
    )
    parts = parts or load_llava(str(folder))
    torch.manual_seed(5)
    return Composite(lmm=Llava(parts, **lora), question=Question.between(policy, judge), hidden=16)


def pair_of(folder: Path, **lora: Any) -> tuple[IvmModel, Composite]:
    """Generator and discriminator over one frozen LLaVA."""
    parts = load_llava(str(folder))
    other = twin(parts)
    return model_of(folder, parts=parts, **lora), composite_of(folder, parts=other, **lora)


def published_shapes(
    *, layers: int = 32, width: int = 4096, hidden: int = 2048, dim: int = 256, mlp: int = 2048,
    depth: int = 2, rank: int = 8,
) -> dict[str, tuple[int, ...]]:  # fmt: skip
    """Names and shapes of IVM-V1.0.bin, written down from the released classes, not derived from ours."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(layers):
        attention = (
            f"prompt_encoder.model.base_model.model.language_model.model.layers.{i}.self_attn"
        )
        for which in ("q_proj", "v_proj"):
            shapes[f"{attention}.{which}.lora_A.default.weight"] = (rank, width)
            shapes[f"{attention}.{which}.lora_B.default.weight"] = (width, rank)

    def affine(name: str, *weight: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = weight, weight[:1]

    affine("prompt_encoder.text_proj.fc1", hidden, width)
    affine("prompt_encoder.text_proj.fc2", dim, hidden)
    shapes["mask_decoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, dim // 2)
    shapes["mask_decoder.mask_tokens.weight"] = (1, dim)
    attentions = {"mask_decoder.transformer.final_attn_token_to_image": dim // 2}
    for i in range(depth):
        layer = f"mask_decoder.transformer.layers.{i}"
        attentions[f"{layer}.self_attn"] = dim
        attentions[f"{layer}.cross_attn_token_to_image"] = dim // 2
        attentions[f"{layer}.cross_attn_image_to_token"] = dim // 2
        for n in (1, 2, 3, 4):
            affine(f"{layer}.norm{n}", dim)
        affine(f"{layer}.mlp.lin1", mlp, dim)
        affine(f"{layer}.mlp.lin2", dim, mlp)
    affine("mask_decoder.transformer.norm_final_attn", dim)
    for name, inner in attentions.items():
        for which in "qkv":
            affine(f"{name}.{which}_proj", inner, dim)
        affine(f"{name}.out_proj", dim, inner)
    shapes["mask_decoder.output_upscaling.0.weight"] = (dim, dim // 4, 2, 2)
    shapes["mask_decoder.output_upscaling.0.bias"] = (dim // 4,)
    affine("mask_decoder.output_upscaling.1", dim // 4)
    shapes["mask_decoder.output_upscaling.3.weight"] = (dim // 4, dim // 8, 2, 2)
    shapes["mask_decoder.output_upscaling.3.bias"] = (dim // 8,)
    for i, outputs in enumerate((dim, dim, dim // 8)):
        affine(f"mask_decoder.output_hypernetworks_mlps.layers.{i}", outputs, dim)
    return shapes
