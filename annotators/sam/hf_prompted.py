"""Models of the SAM family in transformers behind one interface: encode an image once, answer boxes and points from it.

    prompted = HFPrompted(expert="sam_hf", options={"model": "facebook/sam-vit-base"}, keep=8, batch_size=4)
    [encoding] = prompted.encode([image])
    logits, ious = prompted.decode(encoding, boxes=boxes)          # (n, m, s, s) and (n, m), low resolution

What differs between the models is how the image lies in the square that they see, and prompts must follow: SAM and
HQ-SAM scale it by its longest side and pad, SAM 2 and SAM 3 stretch it. Coordinates are scaled as each processor does,
in its precision. The decoder computes in float32 also where the encoder runs in bfloat16: it is some hundredth of the
work, and a coordinate of 1024 rounded to 8 bits is pixels away.

The hub stores SAM 2 and SAM 3 as video models (`sam2_video`, `sam3_video`); their image halves are what is loaded. Of
SAM 3 that is the tracker, which answers boxes and points; concepts are another half (annotators.sam.sam3_concepts).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from annotators.models.torch_model import TorchModel, in_chunks, load_processor, photographs
from annotators.protocols import Image
from annotators.sam.encodings import Encoding, Encodings
from annotators.sam.masks_from_logits import Frame

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = {
    "sam": "SamModel",
    "sam_hq": "SamHQModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",
    "sam3_tracker": "Sam3TrackerModel",
    "sam3_video": "Sam3TrackerModel",
}
"""`model_type` of config.json -> the class that answers boxes and points."""
AT_ONCE = {"cpu": 2, "cuda": 64}
"""Prompts in one pass of the decoder: on a CPU more of them leave the cache and cost more each."""


class HFPrompted:
    """One model of the SAM family; nothing is loaded before the first image.

    Args:
        expert: registered name of the expert that asks.
        options: all of the expert's options, `model` among them; see annotators.models.torch_model.
        keep: encoded images that stay between calls.
        batch_size: images in one pass of the encoder on a GPU.
        hq_token_only: of HQ-SAM, take the high-quality mask alone instead of its sum with SAM's.
    """

    def __init__(
        self,
        *,
        expert: str,
        options: dict[str, Any],
        keep: int,
        batch_size: int,
        hq_token_only: bool = False,
    ) -> None:
        self.model = TorchModel(
            expert=expert, classes=CLASSES, options=options, compiled=["vision_encoder"]
        )
        self.encodings, self.batch_size = Encodings(keep), batch_size
        self.hq_token_only = hq_token_only

    @cached_property
    def net(self) -> Any:
        """The network.

        Raises:
            ValueError: the weights are not to be had or of another kind, or hq_token_only is asked of a model without.
        """
        net = self.model.net
        if self.hq_token_only and net.config.model_type != "sam_hq":
            raise ValueError(
                f"expert {self.model.expert!r}: hq_token_only is true, but weights {self.model.options['model']} are "
                f"a {net.config.model_type!r} model; expected a sam_hq model, or leave the option out"
            )
        return net

    @cached_property
    def preprocess(self) -> Any:
        """Image processor, as it was saved with the weights."""
        from transformers import AutoImageProcessor

        return load_processor(AutoImageProcessor, self.model.folder, self.model.expert)

    def encode(self, images: Sequence[Image]) -> list[Encoding]:
        """One encoding per image, kept by content; equal images are encoded once."""
        return self.encodings.of(
            images, self._encode, batch_size=self.model.at_once(self.batch_size)
        )

    def decode(
        self,
        encoding: Encoding,
        *,
        boxes: NDArray[np.floating[Any]] | None = None,
        points: NDArray[np.floating[Any]] | None = None,
        labels: NDArray[np.integer[Any]] | None = None,
        multimask: bool = True,
    ) -> tuple["Tensor", "Tensor"]:
        """Low-resolution logits (n, m, s, s) and predicted IoUs (n, m), float32, of n prompts; m is 3 or 1.

        Args:
            encoding: of the image that the prompts are about.
            boxes: (n, 4) XYXY pixels of the image; alone, or together with points.
            points: (n, k, 2) x, y pixels of the image, k >= 1.
            labels: (n, k) 1 for the thing and 0 for the background; needed with points.
            multimask: three masks of a prompt instead of one; HQ-SAM gives one if only its own token is asked.
        """
        import torch

        assert boxes is not None or (points is not None and labels is not None)
        prompts: dict[str, Any] = {}
        if boxes is not None:
            corners = self._scaled(np.asarray(boxes).reshape(-1, 2, 2), encoding.frame)
            prompts["input_boxes"] = corners.reshape(-1, 4)
        if points is not None and labels is not None:
            prompts["input_points"] = self._scaled(np.asarray(points), encoding.frame)
            prompts["input_labels"] = torch.from_numpy(np.asarray(labels, np.int64))
        prompts = {key: value.to(self.model.device) for key, value in prompts.items()}
        how = {"hq_token_only": self.hq_token_only} if self._is_hq else {}

        def forward(rows: list[int]) -> list[tuple[Any, Any]]:
            asked = {key: value[rows].unsqueeze(0) for key, value in prompts.items()}
            with self.model.exact():
                out = self.net(**encoding.features, **asked, **how, multimask_output=multimask)
            logits, ious = out.pred_masks[0], out.iou_scores[0]
            # HQ-SAM's own token has one mask and SAM's predicted IoUs, highest first.
            return list(zip(logits, ious[:, : logits.shape[1]], strict=True))

        count = len(next(iter(prompts.values())))
        most = AT_ONCE.get(self.model.device.type, AT_ONCE["cpu"])
        answers = in_chunks(range(count), forward, alike=lambda _: None, most=most)
        return torch.stack([a for a, _ in answers]), torch.stack([b for _, b in answers])

    @property
    def _is_hq(self) -> bool:
        return self.net.config.model_type == "sam_hq"

    @cached_property
    def _pads(self) -> bool:
        """Whether the model's square holds the image padded rather than stretched."""
        return self.net.config.model_type in ("sam", "sam_hq")

    def _encode(self, images: list[Image]) -> list[Encoding]:
        made = [self._seen(image) for image in images]
        frames = [self._frame(image, each) for image, each in zip(images, made, strict=True)]

        def forward(pixels: list[Any]) -> list[dict[str, Any]]:
            return self._features(self._stacked(pixels))

        pixels = [each["pixel_values"][0] for each in made]
        features = in_chunks(pixels, forward, alike=lambda p: p.shape, most=len(pixels))
        return [
            Encoding(features=found, frame=frame)
            for found, frame in zip(features, frames, strict=True)
        ]

    def _seen(self, image: Image) -> Any:
        """What the processor makes of one image."""
        return self.preprocess(photographs([image]), return_tensors="pt")

    def _stacked(self, pixels: list["Tensor"]) -> "Tensor":
        import torch

        return torch.stack(pixels).to(self.model.device)

    def _features(self, pixels: "Tensor") -> list[dict[str, Any]]:
        """What the model's forward takes instead of pixels (b, 3, s, s), for each image alone."""
        with self.model.running():
            if self._is_hq:
                seen = self.net.vision_encoder(pixels)
                whole = seen.last_hidden_state.float()
                early = seen.intermediate_embeddings[0].float()
                return [
                    {
                        "image_embeddings": whole[i : i + 1].clone(),
                        "intermediate_embeddings": [early[i : i + 1].clone()],
                    }
                    for i in range(len(pixels))
                ]
            found = self.net.get_image_embeddings(pixels)
            if self._pads:
                found = found.float()
                return [{"image_embeddings": found[i : i + 1].clone()} for i in range(len(pixels))]
            levels = [level.float() for level in found]
            return [
                {"image_embeddings": [level[i : i + 1].clone() for level in levels]}
                for i in range(len(pixels))
            ]

    def _frame(self, image: Image, made: Any) -> Frame:
        size_hw = (int(image.shape[0]), int(image.shape[1]))
        if not self._pads:
            return Frame(size_hw=size_hw)
        rows, columns = (int(v) for v in made["reshaped_input_sizes"][0])
        return Frame(
            size_hw=size_hw,
            input_hw=(rows, columns),
            padded=int(self.preprocess.pad_size["height"]),
        )

    def _scaled(self, xy: NDArray[np.floating[Any]], frame: Frame) -> "Tensor":
        """Pixels of the image (..., 2) as x, y to pixels of the model's square, in the precision of its processor."""
        import torch

        height, width = frame.size_hw
        if frame.input_hw is None:
            seen_h = seen_w = int(self.preprocess.size["height"])
            scaled = torch.from_numpy(xy.astype(np.float32))
        else:
            seen_h, seen_w = frame.input_hw
            scaled = torch.from_numpy(xy.astype(np.float32).astype(np.float64))
        scaled[..., 0] *= seen_w / width
        scaled[..., 1] *= seen_h / height
        return scaled
