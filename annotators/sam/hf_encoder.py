"""SAM's image encoder out of a folder of transformers: the same parameters under other names.

Only the encoder's tensors are read, straight from the safetensors files, so no second network is built. What comes is
segment-anything's `ImageEncoderViT`, whatever it came from (`annotators.sam.encoder` is its fast form).
"""

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from annotators.models.torch_model import kind_of
from annotators.sam.checkpoint import encoder_of

KINDS = ("sam", "sam_vision_model")
"""Model types that hold this encoder; HQ-SAM, SAM 2 and SAM 3 have others."""
RENAMED = (
    ("patch_embed.projection.", "patch_embed.proj."),
    ("layers.", "blocks."),
    (".layer_norm1.", ".norm1."),
    (".layer_norm2.", ".norm2."),
    ("neck.conv1.", "neck.0."),
    ("neck.layer_norm1.", "neck.1."),
    ("neck.conv2.", "neck.2."),
    ("neck.layer_norm2.", "neck.3."),
)
"""Their names for a part, and segment-anything's."""


def load_hf_encoder(folder: Path) -> Any:
    """The image encoder in a folder that `SamModel.save_pretrained` wrote, float32, frozen, on the CPU.

    Raises:
        ValueError: it is of another model, or its files are missing or damaged.
    """
    if (found := kind_of(folder)) not in KINDS:
        what = f"a {found!r} model" if found else "no folder with a config.json of transformers"
        raise ValueError(f"SAM encoder {folder}: it is {what}; expected one of type 'sam'")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ValueError(
            f"SAM encoder {folder}: no .safetensors file; pickled weights are not loaded: save them again with "
            "save_pretrained, or choose a revision that has safetensors"
        )
    state: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - it is no mapping
                    if (name := our_name(key)) is not None:
                        state[name] = tensors.get_tensor(key)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"SAM encoder {file} is not readable: {error}") from error
    return encoder_of(state, folder)


def our_name(key: str) -> str | None:
    """segment-anything's name of a tensor of transformers' SAM; None outside of the image encoder.

    >>> our_name("vision_encoder.layers.3.layer_norm1.weight")
    'image_encoder.blocks.3.norm1.weight'
    """
    found = re.match(r"(?:.*\.)?vision_encoder\.(.+)", key)
    if found is None:
        return None
    name = found.group(1)
    for theirs, ours in RENAMED:
        if name.startswith("neck.") == theirs.startswith("neck."):
            name = name.replace(theirs, ours)
    return f"image_encoder.{name}"
