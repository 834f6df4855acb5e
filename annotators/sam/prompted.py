"""SAM from an original checkpoint: images are encoded, then prompts in pixels of the image are answered.

What segment-anything's SamPredictor does, with the faster encoder and without its state: an encoding is a value, so
prompts of many images may be answered in any order. On a CPU images are encoded and prompts answered one at a time:
batches gain nothing there (the repeated image embedding leaves the cache), and so a batch gives to the bit what single
calls give. On a GPU they are batched, equal up to rounding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from annotators.models.torch_model import in_chunks, pick_device, pick_dtype
from annotators.protocols import Image
from annotators.sam.checkpoint import load_parts
from annotators.sam.encoder import SamEncoder
from annotators.sam.encodings import Encoding
from annotators.sam.masks_from_logits import Frame

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the training images, red, green, blue in [0, 255]."""
AT_ONCE = {"cpu": 1, "cuda": 64}
"""Prompts answered together when the number is left to the device."""
Floats = NDArray[np.floating[Any]] | Tensor


class PromptedSam:
    """A loaded SAM.

    Args:
        path: checkpoint file.
        device: "auto" (cuda if present), "cpu", "cuda".
        dtype: of the encoder's products: "auto" (float32 on a CPU, bfloat16 on CUDA), "float32", "bfloat16",
            "float16". Prompts are answered in float32.
        compiled: whether the encoder is compiled at its first image.
        prompts_per_batch: prompts answered together; "auto" is 1 on a CPU and 64 on a GPU.
        batch_size: images encoded together on a GPU; on a CPU always one.

    Raises:
        ValueError: the file is no SAM checkpoint, or an option is not what it may be.
    """

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        compiled: bool = False,
        prompts_per_batch: int | Literal["auto"] = "auto",
        batch_size: int = 4,
    ) -> None:
        self.device = pick_device(device)
        kind = pick_dtype(dtype, self.device)
        parts = load_parts(path)
        self.side = parts.side
        self.encoder = SamEncoder(parts.encoder.to(self.device), dtype=kind, compiled=compiled)
        self.prompts, self.decoder = parts.prompts.to(self.device), parts.decoder.to(self.device)
        self.batch_size = batch_size if self.device.type == "cuda" else 1
        self.prompts_per_batch = (
            AT_ONCE.get(self.device.type, 1) if prompts_per_batch == "auto" else prompts_per_batch
        )
        with torch.inference_mode():
            self._places = self.prompts.get_dense_pe()

    def encode(self, images: Sequence[Image]) -> list[Encoding]:
        """Encode RGB uint8 images (h, w, 3) of any sizes; features are float32 (1, channels, side / 16, side / 16)."""
        return in_chunks(images, self._encode, most=self.batch_size)

    def _encode(self, images: list[Image]) -> list[Encoding]:
        frames = [frame_of(image, self.side) for image in images]
        pixels = [prepared(i, f, self.device) for i, f in zip(images, frames, strict=True)]
        with torch.inference_mode():
            features = self.encoder(torch.stack(pixels))
        return [
            Encoding(features=one[None], frame=frame)
            for one, frame in zip(features, frames, strict=True)
        ]

    def decode(
        self,
        encoding: Encoding,
        *,
        boxes: Floats | None = None,
        points: Floats | None = None,
        labels: NDArray[np.integer[Any]] | Tensor | None = None,
        mask_inputs: Floats | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Answer n prompts about one image; at least one kind of prompt, kinds may be combined.

        Args:
            encoding: of the image.
            boxes: (n, 4) XYXY pixels of the image.
            points: (n, k, 2) x, y pixels of the image; needs `labels`.
            labels: (n, k): 1 the thing, 0 the background.
            mask_inputs: (n, 1, s, s) logits of an earlier answer.
            multimask: three masks for a prompt that may mean several things, else one.

        Returns:
            Low-resolution logits float32 (n, 3 or 1, s, s), s a quarter of the padded input, and the predicted IoUs
            float32 (n, 3 or 1).
        """
        given = [kind for kind in (boxes, points, mask_inputs) if kind is not None]
        assert given, "a prompt without content"
        assert (points is None) == (labels is None), "points and labels go together"
        assert len({len(kind) for kind in given}) == 1, [len(kind) for kind in given]

        def answer(rows: list[int]) -> list[tuple[Tensor, Tensor]]:
            return self._answer(
                encoding,
                boxes=None if boxes is None else boxes[rows],
                points=None if points is None or labels is None else (points[rows], labels[rows]),
                masks=None if mask_inputs is None else mask_inputs[rows],
                multimask=multimask,
            )

        answers = in_chunks(range(len(given[0])), answer, most=self.prompts_per_batch)
        if not answers:
            low, count = self.prompts.mask_input_size, self.decoder.num_multimask_outputs
            shape = (0, count if multimask else 1)
            return torch.empty(*shape, *low), torch.empty(shape)
        return torch.stack([a[0] for a in answers]), torch.stack([a[1] for a in answers])

    def _answer(
        self,
        encoding: Encoding,
        *,
        boxes: Floats | None,
        points: tuple[Floats, NDArray[np.integer[Any]] | Tensor] | None,
        masks: Floats | None,
        multimask: bool,
    ) -> list[tuple[Tensor, Tensor]]:
        device, frame = self.device, encoding.frame
        with torch.inference_mode():
            sparse, dense = self.prompts(
                points=None
                if points is None
                else (
                    in_input(points[0], frame).to(device),
                    torch.as_tensor(points[1], dtype=torch.int, device=device),
                ),
                boxes=None if boxes is None else in_input(boxes, frame).to(device),
                masks=None
                if masks is None
                else torch.as_tensor(masks, dtype=torch.float32, device=device),
            )
            logits, ious = self.decoder(
                image_embeddings=encoding.features,
                image_pe=self._places,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
        return list(zip(logits, ious, strict=True))


def frame_of(image: Image, side: int) -> Frame:
    """The longest side of the image becomes `side`, the other keeps the ratio, rounded, and at least one pixel."""
    height, width = int(image.shape[0]), int(image.shape[1])
    scale = side / max(height, width)
    fitted = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    return Frame(size_hw=(height, width), input_hw=fitted, padded=side)


def prepared(image: Image, frame: Frame, device: torch.device) -> Tensor:
    """Pixels float32 (3, side, side): resized by Pillow's antialiased bilinear filter, normalised, padded with 0."""
    from PIL import Image as pil

    assert frame.input_hw is not None
    assert frame.padded is not None
    height, width = frame.input_hw
    small = pil.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), pil.Resampling.BILINEAR
    )
    pixels = torch.from_numpy(np.array(small)).to(device).permute(2, 0, 1)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (MEAN, STD))
    return pad((pixels - mean) / std, (0, frame.padded - width, 0, frame.padded - height))


def in_input(places: Floats, frame: Frame) -> Tensor:
    """x, y pairs (..., 2 k) in pixels of the image to pixels of the model's input, float32.

    The ratio of sizes is taken for each axis, in float64, as segment-anything does.
    """
    assert frame.input_hw is not None
    (height, width), (to_height, to_width) = frame.size_hw, frame.input_hw
    pairs = torch.as_tensor(places, dtype=torch.float64).cpu()
    ratio = torch.tensor([to_width / width, to_height / height], dtype=torch.float64)
    moved = pairs.reshape(*pairs.shape[:-1], -1, 2) * ratio
    return moved.reshape(pairs.shape).float()
