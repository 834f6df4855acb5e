"""Original SAM checkpoints (.pth of segment-anything): read without running anything in them, sized by their shapes.

The files of ViT-B, L and H differ in shapes alone, so a file is measured, not asked for its name; any other size loads
as well. Only the heads of the mask decoder leave no trace in shapes: they are 8 in every published model.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    TwoWayTransformer,
)
from torch import Tensor, nn

from annotators.sam.checkpoint_file import refused

DECODER_HEADS = 8
NORM_EPS = 1e-6
"""Of the encoder's norms; those of the decoder have torch's default."""
State = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamParts:
    """The three networks of a SAM, float32, in evaluation mode, on the CPU."""

    encoder: Any
    prompts: Any
    decoder: Any
    side: int
    """Pixels of the padded square input."""


def load_parts(path: Path) -> SamParts:
    """Read a checkpoint file into segment-anything's networks.

    Raises:
        ValueError: it is not a SAM checkpoint, or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch says "not a checkpoint" with a dozen types
        raise refused(path, f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise refused(path, "it holds no plain table of tensors")
    try:
        with torch.device(
            "meta"
        ):  # parameters come from the file; drawing random ones would cost seconds
            parts = _empty_parts(state)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise refused(path, f"its tensors are not those of a SAM ({error})") from error
    named = {
        "image_encoder": parts.encoder,
        "prompt_encoder": parts.prompts,
        "mask_decoder": parts.decoder,
    }
    if strange := sorted(key for key in state if key.partition(".")[0] not in named):
        raise refused(path, f"it holds {strange[0]!r}, which no SAM has")
    for name, part in named.items():
        own = {
            key.removeprefix(f"{name}."): value.float()
            for key, value in state.items()
            if key.startswith(f"{name}.")
        }
        _fill(part, own, path)
    return parts


def encoder_of(state: State, path: Path) -> Any:
    """segment-anything's image encoder, float32, from tensors named as in its checkpoints; `path` is for messages.

    Raises:
        ValueError: the tensors under `image_encoder.` are not those of one.
    """
    try:
        with torch.device("meta"):
            encoder = _empty_encoder(state)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise refused(path, f"its tensors are not those of a SAM ({error})") from error
    own = {
        key.removeprefix("image_encoder."): value.float()
        for key, value in state.items()
        if key.startswith("image_encoder.")
    }
    _fill(encoder, own, path)
    return encoder


def _fill(part: nn.Module, own: State, path: Path) -> None:
    try:
        part.load_state_dict(own, assign=True)
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise refused(path, f"its tensors are not those of a SAM ({line})") from error
    part.eval().requires_grad_(False)


def _empty_parts(state: State) -> SamParts:
    """Networks of the sizes that the shapes in `state` tell, without storage.

    Raises:
        KeyError, ValueError, ZeroDivisionError: a tensor is missing or of an impossible shape.
    """
    encoder = _empty_encoder(state)
    dim = state["image_encoder.neck.0.weight"].shape[0]
    grid, patch = state["image_encoder.pos_embed"].shape[1], encoder.patch_embed.proj.stride[0]
    prompts = PromptEncoder(
        embed_dim=dim,
        image_embedding_size=(grid, grid),
        input_image_size=(grid * patch, grid * patch),
        mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    )
    attention = "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    decoder = MaskDecoder(
        transformer_dim=dim,
        transformer=TwoWayTransformer(
            depth=_count(state, "mask_decoder.transformer.layers."),
            embedding_dim=dim,
            num_heads=DECODER_HEADS,
            mlp_dim=state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
            attention_downsample_rate=dim // state[attention].shape[0],
        ),
        num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        iou_head_depth=_count(state, "mask_decoder.iou_prediction_head.layers."),
        iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
    )
    return SamParts(encoder=encoder, prompts=prompts, decoder=decoder, side=grid * patch)


def _empty_encoder(state: State) -> Any:
    """The image encoder of the sizes that `image_encoder.*` of `state` tell; raises as `_empty_parts`."""
    _, grid, _, width = state["image_encoder.pos_embed"].shape
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    depth = _count(state, "image_encoder.blocks.")
    tables = [state[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in range(depth)]
    windows = [(len(table) + 1) // 2 for table in tables]
    local = {window for window in windows if window != grid}
    if depth == 0 or len(local) > 1:
        raise ValueError(f"{depth} blocks with windows of {sorted(local)} tokens")
    return ImageEncoderViT(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=width // tables[0].shape[1],
        mlp_ratio=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
        out_chans=state["image_encoder.neck.0.weight"].shape[0],
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),  # type: ignore[arg-type]
        use_rel_pos=True,
        window_size=min(local, default=0),
        global_attn_indexes=tuple(i for i, window in enumerate(windows) if window == grid),
    )


def _count(state: State, prefix: str) -> int:
    """How many numbered layers lie under `prefix`."""
    numbers = {
        key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix)
    }
    return len(numbers)
