"""Segment-anything models of transformers, tiny and random, saved as a user's folders are: weights and processor.

Every parameter is drawn anew: position and relative-position tables and layer scales are zero or one at the start,
and a path that left them out would not be noticed. What the random masks look like means nothing.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

SIDE = 64
"""Pixels of the square that the models see."""
KINDS = ("sam", "sam_hq", "sam2", "sam2_video", "sam3_tracker", "sam3_video")
"""Model types with box prompts; the two video types are how the hub stores SAM 2 and SAM 3."""


SEEDS = {"sam2": 3, "sam2_video": 1, "sam3_tracker": 3, "sam3_video": 3}
"""Where 0 gives masks that hardly heed the prompt, or are all empty or full."""


def save_tiny(kind: str, folder: Path) -> Path:
    """A tiny random model of `kind` (one of `KINDS`, or "sam3") with its processor, saved in `folder`."""
    net, processor = {"sam": sam, "sam_hq": sam_hq, "sam2": sam2, "sam2_video": sam2_video,
                      "sam3": sam3, "sam3_tracker": sam3_tracker, "sam3_video": sam3_video}[kind]()  # fmt: skip
    randomise(net, SEEDS.get(kind, 0))
    net.save_pretrained(folder)
    # transformers doubles a prefix on saving; the hub's file has the names as they are.
    if kind == "sam3_video":
        weights = {name: value.contiguous() for name, value in net.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    processor.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


def randomise(net: torch.nn.Module, seed: int) -> None:
    """Draw all floating parameters: wide for tables, of the size that keeps signals alive for matrices."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            if "positional_embedding" in name:
                parameter.copy_(drawn)
            elif "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * drawn)
            elif parameter.ndim > 1 and ("embed" not in name or "patch" in name):
                parameter.copy_(drawn * (2 / max(fan_in, 1)) ** 0.5)
            else:
                parameter.copy_(0.2 * drawn)


def _parts(config_of, *, patch: int, **extra):
    """Prompt encoder and mask decoder, the same in all of them."""
    size = {"hidden_size": 16, "image_size": SIDE, "patch_size": patch}
    prompt = {**size, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
               "iou_head_depth": 3, "iou_head_hidden_dim": 16, **extra}  # fmt: skip
    return {"prompt_encoder_config": prompt, "mask_decoder_config": decoder}


def _vision():
    return {"hidden_size": 24, "output_channels": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
            "image_size": SIDE, "patch_size": 8, "window_size": 3, "global_attn_indexes": [0, 2],
            "num_pos_feats": 8, "mlp_dim": 32}  # fmt: skip


def _padding(processor):
    return processor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE},
        mask_size={"longest_edge": SIDE // 4}, mask_pad_size={"height": SIDE // 4, "width": SIDE // 4},
    )  # fmt: skip


def _squash(processor):
    side = {"height": SIDE, "width": SIDE}
    return processor(size=side, mask_size={"height": SIDE // 4, "width": SIDE // 4})


def sam():
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    config = SamConfig(vision_config=_vision(), **_parts(SamConfig, patch=8))
    return SamModel(config), SamProcessor(_padding(SamImageProcessor))


def sam_hq():
    from transformers import SamHQConfig, SamHQModel, SamHQProcessor, SamImageProcessor

    config = SamHQConfig(vision_config=_vision(), **_parts(SamHQConfig, patch=8, vit_dim=24))
    return SamHQModel(config), SamHQProcessor(_padding(SamImageProcessor))


def _hiera():
    backbone = {
        "model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 1, 1, 1], "window_size_per_stage": [4, 2, 4, 2],
        "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
    }  # fmt: skip
    return {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "fpn_hidden_size": 16,
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
    }  # fmt: skip


def sam2():
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    config = Sam2Config(vision_config=_hiera(), **_parts(Sam2Config, patch=16))
    return Sam2Model(config), Sam2Processor(_squash(Sam2ImageProcessor))


def sam2_video():
    from transformers import (
        Sam2ImageProcessor,
        Sam2VideoConfig,
        Sam2VideoModel,
        Sam2VideoProcessor,
        Sam2VideoVideoProcessor,
    )

    config = Sam2VideoConfig(
        vision_config=_hiera(), image_size=SIDE, num_maskmem=2,
        memory_attention_hidden_size=16, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16, memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=16, memory_encoder_output_channels=8, mask_downsampler_embed_dim=16,
        memory_fuser_num_layers=1, memory_fuser_embed_dim=16, memory_fuser_intermediate_dim=16,
        **_parts(Sam2VideoConfig, patch=16),
    )  # fmt: skip
    video = Sam2VideoVideoProcessor(size={"height": SIDE, "width": SIDE})
    return Sam2VideoModel(config), Sam2VideoProcessor(_squash(Sam2ImageProcessor), video)


def _vit(levels=(4.0, 2.0, 1.0, 0.5)):
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": SIDE, "patch_size": 8, "window_size": 4,
        "global_attn_indexes": [1], "pretrain_image_size": SIDE // 2,
    }  # fmt: skip
    return {
        "model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 16,
        "backbone_feature_sizes": [[SIDE // 2] * 2, [SIDE // 4] * 2, [SIDE // 8] * 2],
        "scale_factors": [*levels],
    }  # fmt: skip


def sam3_tracker():
    from transformers import (
        Sam3ImageProcessor,
        Sam3TrackerConfig,
        Sam3TrackerModel,
        Sam3TrackerProcessor,
    )

    config = Sam3TrackerConfig(
        vision_config=_vit((4.0, 2.0, 1.0)), **_parts(Sam3TrackerConfig, patch=8)
    )
    return Sam3TrackerModel(config), Sam3TrackerProcessor(_squash(Sam3ImageProcessor))


def _concepts():
    width = {"hidden_size": 16, "num_attention_heads": 2, "dropout": 0.0}
    deep = {**width, "num_layers": 1, "intermediate_size": 32}
    text = {"model_type": "clip_text_model", "vocab_size": 514, "hidden_size": 16, "intermediate_size": 32,
            "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "max_position_embeddings": 32, "bos_token_id": 512, "eos_token_id": 513}  # fmt: skip
    return {
        "vision_config": _vit(), "text_config": text, "geometry_encoder_config": {**deep, "roi_size": 3},
        "detr_encoder_config": deep, "detr_decoder_config": {**deep, "num_queries": 12},
        "mask_decoder_config": width,
    }  # fmt: skip


def letters():
    """A CLIP tokenizer without merges: one token a byte."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(f"{c}</w>" for c in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])


def sam3():
    from transformers import Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

    return Sam3Model(Sam3Config(**_concepts())), Sam3Processor(
        _squash(Sam3ImageProcessor), letters()
    )


def sam3_video():
    from transformers import (
        Sam2VideoVideoProcessor,
        Sam3ImageProcessor,
        Sam3VideoConfig,
        Sam3VideoModel,
        Sam3VideoProcessor,
    )

    tracker = {
        "model_type": "sam3_tracker_video", "vision_config": _vit((4.0, 2.0, 1.0)), "image_size": SIDE,
        "num_maskmem": 2, "memory_attention_hidden_size": 16, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 16, "memory_attention_rope_feat_sizes": [8, 8],
        "memory_encoder_hidden_size": 16, "memory_encoder_output_channels": 8,
        "mask_downsampler_embed_dim": 16, "memory_fuser_num_layers": 1, "memory_fuser_embed_dim": 16,
        "memory_fuser_intermediate_dim": 16, **_parts(None, patch=8),
    }  # fmt: skip
    config = Sam3VideoConfig(
        detector_config={"model_type": "sam3", **_concepts()},
        tracker_config=tracker,
        low_res_mask_size=SIDE // 2,
    )
    video = Sam2VideoVideoProcessor(size={"height": SIDE, "width": SIDE})
    return Sam3VideoModel(config), Sam3VideoProcessor(_squash(Sam3ImageProcessor), video, letters())
