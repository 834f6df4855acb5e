"""Small SAMs of segment-anything with random parameters that matter, saved as checkpoints of the original format.

Tables of positions are zero in a fresh model, so that no test would see them; here they are drawn. A fresh decoder
gives logits of some hundredths and predicted IoUs near 0; its last layers are enlarged, so that both have the range of
trained ones.
"""

from functools import partial

import numpy as np
import torch
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

SIDE, PATCH = 128, 16


def tiny_sam(*, seed=0, side=SIDE, width=48, depth=3, heads=3, window=3, dim=32, at=(1,)):
    """A SAM of segment-anything for `side` pixels, side / 16 tokens a side; `window` does not divide it: padding."""
    torch.manual_seed(seed)
    grid = side // PATCH
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=side,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            out_chans=dim,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=at,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(side, side),
            mask_in_chans=8,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=dim, mlp_dim=64, num_heads=8),
            transformer_dim=dim,
            iou_head_hidden_dim=dim,
        ),
    )
    return randomised(sam.eval())


def randomised(sam):
    """Draw the tables of positions and enlarge the last layers of the decoder, in place."""
    with torch.no_grad():
        sam.image_encoder.pos_embed.normal_(std=0.5)
        for block in sam.image_encoder.blocks:
            block.attn.rel_pos_h.normal_(std=0.5)
            block.attn.rel_pos_w.normal_(std=0.5)
        for head in sam.mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight *= 40
        sam.mask_decoder.iou_prediction_head.layers[-1].weight *= 4
        sam.mask_decoder.iou_prediction_head.layers[-1].bias += 0.7
    return sam


def save(sam, path):
    """Write the checkpoint as the authors do: a plain table of tensors."""
    torch.save(sam.state_dict(), path)
    return path


def photograph(height, width, seed=0):
    """Smooth colours and some edges: RGB uint8 (h, w, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(7 * rng.random() * x + 9 * rng.random() * y + c) for c in range(3)]
    image = np.stack(waves, axis=-1) * 90 + 128
    top, left = int(rng.integers(height // 2 + 1)), int(rng.integers(width // 2 + 1))
    image[top : top + height // 3, left : left + width // 3] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
