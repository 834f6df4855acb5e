"""A trained model as people and pipelines use it: `Predictor.predict` takes numpy, `predict_logits` tensors.

Images are squashed to the training frame and the probabilities stretched back bilinearly, so the answer has the
size of the question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.table import resize_image
from trainer.models.saved_model import SavedModel, load_model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictor:
    """Instruction -> mask over any image."""

    model: SavedModel

    @classmethod
    def from_folder(cls, folder: Path) -> "Predictor":
        """The model of a finished run.

        Raises:
            ValueError: the folder holds none, or it is damaged.
        """
        return cls(model=load_model(folder))

    def predict(self, image: NDArray[np.uint8], instruction: str) -> NDArray[np.float32]:
        """Probability that each pixel is relevant.

        Args:
            image: RGB uint8 (h, w, 3), upright.
            instruction: any text that is not blank; words beyond the model's `max_tokens` are not read.

        Returns:
            float32 (h, w) in [0, 1].

        Raises:
            ValueError: the image is of another shape or type, or the instruction is blank.
        """
        return self.predict_all(image, [instruction])[0]

    def predict_all(
        self, image: NDArray[np.uint8], instructions: Sequence[str]
    ) -> NDArray[np.float32]:
        """As `predict` for several instructions about one image: float32 (n, h, w)."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f"image is {image.dtype} {image.shape}; expected RGB uint8 (h, w, 3): convert grey or RGBA first"
            )
        if not instructions or any(not text.strip() for text in instructions):
            raise ValueError(
                f"instructions {list(instructions)}; expected at least one, none of them blank"
            )
        small = torch.from_numpy(resize_image(image, self.model.size_hw)).permute(2, 0, 1)
        batch = (small.float() / 255.0).expand(len(instructions), -1, -1, -1).contiguous()
        logits = self.predict_logits(batch, self.model.tokenizer.encode(instructions))
        height, width = image.shape[:2]
        return np.stack([stretch(p, (height, width)) for p in logits.sigmoid().numpy()[:, 0]])

    @torch.inference_mode()
    def predict_logits(self, image: Tensor, tokens: Tensor) -> Tensor:
        """image float32 b3hw in [0, 1] in the training frame, tokens int64 bt -> mask logits b1hw."""
        return self.model.segmenter(image, tokens)


def stretch(probability: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """float32 (h, w) from the training frame to `size_hw`, bilinear, pixel centres aligned, within [0, 1]."""
    wide = cv2.resize(probability, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(wide, 0.0, 1.0), np.float32)
