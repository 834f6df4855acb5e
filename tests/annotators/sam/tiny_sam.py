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


def spread(sam, *, times, shift):
    """Multiply the logits of the decoder and then add `shift` to them, in place.

    The shift is a channel of the enlarged features that is 1 everywhere, and each mask's weight for it.
    """
    last = sam.mask_decoder.output_upscaling[3]
    with torch.no_grad():
        last.weight[:, 0] = 0.0
        last.bias[0] = 1.0
        one = torch.nn.functional.gelu(last.bias[0])
        for head in sam.mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight *= times
            head.layers[-1].bias *= times
            head.layers[-1].weight[0] = 0.0
            head.layers[-1].bias[0] = shift / one
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


def hf_sam(sam):
    """The same parameters as a transformers SamModel; its names for them are a fact of its checkpoints."""
    from transformers import (
        SamConfig,
        SamMaskDecoderConfig,
        SamModel,
        SamPromptEncoderConfig,
        SamVisionConfig,
    )

    vit, prompts, decoder = sam.image_encoder, sam.prompt_encoder, sam.mask_decoder
    width, dim = vit.pos_embed.shape[-1], prompts.embed_dim
    blocks = list(vit.blocks)
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=width,
            output_channels=dim,
            num_hidden_layers=len(blocks),
            num_attention_heads=blocks[0].attn.num_heads,
            image_size=vit.img_size,
            patch_size=PATCH,
            window_size=max(block.window_size for block in blocks),
            global_attn_indexes=[i for i, block in enumerate(blocks) if not block.window_size],
            mlp_dim=blocks[0].mlp.lin1.out_features,
            num_pos_feats=dim // 2,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=dim,
            image_size=vit.img_size,
            patch_size=PATCH,
            mask_input_channels=prompts.mask_downscaling[3].out_channels,
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=dim,
            layer_norm_eps=1e-5,  # what segment-anything has; their default is 1e-6
            mlp_dim=decoder.transformer.layers[0].mlp.lin1.out_features,
            iou_head_hidden_dim=decoder.iou_prediction_head.layers[0].out_features,
        ),
    )
    model = SamModel(config).eval()
    renamed = {their_name(key): value for key, value in sam.state_dict().items()}
    gaussian = renamed["prompt_encoder.shared_embedding.positional_embedding"]
    renamed["shared_image_embedding.positional_embedding"] = gaussian
    model.load_state_dict(renamed)
    return model


RENAMED = (
    ("image_encoder.", "vision_encoder."),
    ("patch_embed.proj", "patch_embed.projection"),
    (".blocks.", ".layers."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
    ("neck.0.", "neck.conv1."),
    ("neck.1.", "neck.layer_norm1."),
    ("neck.2.", "neck.conv2."),
    ("neck.3.", "neck.layer_norm2."),
    ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    ("point_embeddings.", "point_embed."),
    ("mask_downscaling.0.", "mask_embed.conv1."),
    ("mask_downscaling.1.", "mask_embed.layer_norm1."),
    ("mask_downscaling.3.", "mask_embed.conv2."),
    ("mask_downscaling.4.", "mask_embed.layer_norm2."),
    ("mask_downscaling.6.", "mask_embed.conv3."),
    ("output_upscaling.0.", "upscale_conv1."),
    ("output_upscaling.1.", "upscale_layer_norm."),
    ("output_upscaling.3.", "upscale_conv2."),
    ("norm_final_attn.", "layer_norm_final_attn."),
)
"""Their names for ours; `their_name` knows the rest."""


def their_name(key):
    """transformers' name for a parameter of segment-anything."""
    if ".transformer." in key:
        for number in "1234":
            key = key.replace(f".norm{number}.", f".layer_norm{number}.")
    for ours, theirs in RENAMED:
        key = key.replace(ours, theirs)
    for head in (".output_hypernetworks_mlps.", ".iou_prediction_head."):
        if head in key:
            start, _, rest = key.rpartition("layers.")
            number, _, last = rest.partition(".")
            key = start + {"0": "proj_in.", "1": "layers.0.", "2": "proj_out."}[number] + last
    return key
