"""Tiny random encoders in the files that users have: SAM as .pth and as a folder, CLIP and T5 as folders.

Every parameter is drawn anew, so that no term hides in a zero.
"""

from pathlib import Path
from typing import Any

import torch
import transformers as hf

from tests.annotators.models.tiny_models import clip_tokenizer, randomise, text
from tests.annotators.sam.tiny_sam import save, tiny_sam
from trainer.config import TrainRecipe

WORDS = ("the", "red", "blue", "square", "find", "one", "a", "mug", "is", "left")


def save_sam(path: Path, *, side: int = 64) -> Path:
    """A .pth of segment-anything for `side` pixels: 32 channels at a sixteenth."""
    return save(tiny_sam(side=side, window=3), path)


def save_clip(folder: Path, *, whole: bool = False, seed: int = 0) -> Path:
    """A CLIP text encoder that reads up to 16 tokens; `whole` saves the vision half with it, as the hub does."""
    words = clip_tokenizer(16)
    torch.manual_seed(seed)
    settings = text(words, 16)
    if whole:
        vision = dict(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
        )
        model: Any = hf.CLIPModel(
            hf.CLIPConfig(text_config=settings, vision_config={**vision, "patch_size": 8}, projection_dim=16)
        )  # fmt: skip
    else:
        model = hf.CLIPTextModel(hf.CLIPTextConfig(**settings))
    return _save(model, words, folder, seed)


def save_t5(folder: Path, *, seed: int = 0) -> Path:
    """A T5 encoder over whole words and letters, with dropout as the published ones have."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS)]
    pieces += [*"abcdefghijklmnopqrstuvwxyz</>"]
    words = hf.T5Tokenizer(
        vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0
    )
    config: Any = hf.T5Config(
        vocab_size=len(words), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, dropout_rate=0.1,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    torch.manual_seed(seed)
    return _save(hf.T5EncoderModel(config), words, folder, seed)


def _save(model: Any, words: Any, folder: Path, seed: int) -> Path:
    randomise(model, seed)
    model.eval().save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return folder


def base_recipe(folder: Path, *, cache: str = "none", steps: int = 6, **image: Any) -> TrainRecipe:
    """A recipe of kind base over encoders that are written into `folder`; nothing in it moves pixels."""
    sam, clip = folder / "sam.pth", folder / "clip"
    if not sam.exists():
        save_sam(sam)
        save_clip(clip)
    optim = {"steps": steps, "checkpoint_every": 2, "log_every": 1, "warmup": 2}
    still = {"hflip": 0, "scale": 0, "shift": 0, "colour": 0}
    return TrainRecipe.model_validate(
        {
            "name": "base-test",
            "data": {"size_hw": (32, 48), "batch": 4, "gold_share": 0.5, "augment": still},
            "model": {
                "kind": "base", "image": {"model": str(sam), **image}, "text": {"model": str(clip)},
                "heads": 4, "mlp": 32, "cache": cache,
            },
            "optim": optim,
            "discriminate": {"folds": 2, "judged": 0.5, "optim": optim},
        }
    )  # fmt: skip
