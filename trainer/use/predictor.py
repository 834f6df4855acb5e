"""A trained model as people and pipelines use it: `Predictor.predict` takes numpy, `predict_logits` tensors.

    predictor = Predictor.from_pretrained("RUN")  # or a folder with a saved model, or "org/name" of the hub
    mask = predictor.predict(image, "the red mug") >= predictor.model.threshold

Images are squashed to the training frame and the probabilities stretched back bilinearly, so the answer has the
size of the question. As everywhere in the project, rows run one at a time on a CPU, so that a batch gives single
calls to the bit, and together on a GPU, where it gives them up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotators.models.torch_model import pick_device
from annotators.models.weights import fetch_weights
from trainer.data.table import resize_image
from trainer.models.saved_model import SavedModel, load_model

AT_ONCE = 32
"""Rows that run together on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictor:
    """Instruction -> mask over any image."""

    model: SavedModel

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.segmenter.parameters()).device

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, device: str = "auto"
    ) -> "Predictor":
        """The model of a finished run, of a folder that holds a saved one, or of the hub.

        From the hub only safetensors, JSON and text files are fetched, into its cache; no code of a repository runs.

        Args:
            name: a folder, or `org/name` on the hub.
            revision: commit, branch or tag on the hub; the newest of "main" when None. Of no meaning for a folder.
            device: "auto" (CUDA where there is one), "cpu" or "cuda".

        Raises:
            ValueError: there is no such model, the hub refuses it or is not reached and the cache has none (the
                message says how to get it), its files are damaged, or the device is not there.
        """
        there = pick_device(device)
        folder = Path(name).expanduser()
        if not folder.is_dir():
            folder = fetch_weights(str(name), revision)
        model = load_model(folder)
        model.segmenter.to(there)
        return cls(model=model)

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
        return self.predict_batch([image], [instruction])[0]

    def predict_all(
        self, image: NDArray[np.uint8], instructions: Sequence[str]
    ) -> NDArray[np.float32]:
        """As `predict` for several instructions about one image: float32 (n, h, w)."""
        if not instructions:
            raise ValueError("no instruction; expected at least one")
        return np.stack(self.predict_batch([image] * len(instructions), instructions))

    def predict_batch(
        self, images: Sequence[NDArray[np.uint8]], instructions: Sequence[str]
    ) -> list[NDArray[np.float32]]:
        """As `predict` for pairs of image and instruction; the images may differ in size.

        Returns:
            float32 (h, w) in [0, 1] for each pair, of the size of its image.

        Raises:
            ValueError: there are not as many images as instructions, or one is refused as by `predict`.
        """
        if len(images) != len(instructions):
            raise ValueError(
                f"{len(images)} images and {len(instructions)} instructions; expected one for each"
            )
        for image, text in zip(images, instructions, strict=True):
            _check(image, text)
        answers: list[NDArray[np.float32]] = []
        most = 1 if self.device.type == "cpu" else AT_ONCE
        for at in range(0, len(images), most):
            rows = images[at : at + most]
            small = np.stack([resize_image(image, self.model.size_hw) for image in rows])
            frames = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous().float() / 255.0
            tokens = self.model.tokenizer.encode(instructions[at : at + most])
            found = self.predict_logits(frames, tokens).float().sigmoid().cpu().numpy()[:, 0]
            answers += [stretch(p, im.shape[:2]) for p, im in zip(found, rows, strict=True)]
        return answers

    @torch.inference_mode()
    def predict_logits(self, image: Tensor, tokens: Tensor) -> Tensor:
        """image float32 b3hw in [0, 1] in the training frame, tokens int64 bt -> mask logits b1hw, on the device."""
        return self.model.segmenter(image.to(self.device), tokens.to(self.device))


def stretch(probability: NDArray[np.float32], size_hw: tuple[int, ...]) -> NDArray[np.float32]:
    """float32 (h, w) from the training frame to `size_hw`, bilinear, pixel centres aligned, within [0, 1]."""
    wide = cv2.resize(probability, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(wide, 0.0, 1.0), np.float32)


def _check(image: NDArray[np.uint8], text: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f"image is {image.dtype} {image.shape}; expected RGB uint8 (h, w, 3): convert grey or RGBA first"
        )
    if not text.strip():
        raise ValueError(f"instruction {text!r}; expected a text that is not blank")
