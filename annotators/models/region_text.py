"""How alike boxes of a picture and texts are to a frozen CLIP or SigLIP: one look at the whole picture, then RoI-Align.

The encoder half of open-vocabulary scoring by F-VLM (arXiv 2209.15639) and CFM-ViT (arXiv 2309.00775); the fusion is
`annotators.score_fusion`. Their encoders pool by a mean or by attention over the region; those that can be had from
transformers were taught to speak with a single token of the whole picture, so what a patch says by itself is a choice.
Ours, the same for both kinds: the last step that mixes patches is taken by each patch alone, and all else stays.

- CLIP's class token is made by its layers, so the last layer sees each patch as a sequence of one. Attention over one
  token is its value, hence this is MaskCLIP's reading (arXiv 2112.01071: value projection in place of attention,
  residual and feed-forward kept, as in its published code), then the final norm and projection. Patches of the last
  layer as they are were never asked to match a text.
- SigLIP's pooling head sees each patch as a sequence of one.

Box features are RoI-Align's mean over the patches' embeddings (half-pixel correct, bilinear), of length 1. The picture
is squeezed to a square, whole: no centre crop, and boxes are scaled along both sides by themselves. `side` sets another
square; the position table is then interpolated, which these encoders were not taught (CFM-ViT's were, by dropping it).

Whether trained weights rank regions better this way than by crops is unverified here, and so is a larger `side`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.boxes import Box
from annotators.identity import Identity
from annotators.models.encodings import Encodings
from annotators.models.image_text import CLASSES, read_texts, unit
from annotators.models.torch_model import TorchModel, in_chunks, photographs
from annotators.protocols import Image

BINS = 7
"""RoI-Align's bins along each side of a box, as detectors have them; samples in a bin are a patch apart at most."""


class RegionText:
    """Embeddings of boxes and of texts in one space, by a CLIP or SigLIP model that stays as it is.

    Args:
        expert: name of the expert that asks; it stands in the identity and in errors.
        options: of that expert: `model` and, where it has them, `revision`, `device`, `dtype`, `compile`.
        batch_size: pictures encoded at once on a GPU.
        keep: encoded pictures that stay between calls.
        side: pixels of the square that the encoder sees, a multiple of its patch; None is the one it was taught on.
    """

    def __init__(
        self,
        *,
        expert: str,
        options: Mapping[str, Any],
        batch_size: int = 8,
        keep: int = 8,
        side: int | None = None,
    ) -> None:
        self.batch_size, self.side = batch_size, side
        self._torch = TorchModel(
            expert=expert, classes=CLASSES, options=options, compiled=("vision_model",)
        )
        self._encodings: Encodings[Any] = Encodings(keep)

    @property
    def identity(self) -> Identity:
        """Of the image-text model under the expert's name.

        Raises:
            ValueError: the weights are not to be had.
        """
        return self._torch.identity

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings (texts, d) of length 1; at least one text. See `image_text.read_texts`."""
        return read_texts(self._torch, texts).cpu().numpy()

    def regions(
        self, images: Sequence[Image], boxes: Sequence[Sequence[Box]]
    ) -> list[NDArray[np.float32]]:
        """For each RGB uint8 image the embeddings (boxes, d) of its boxes, of length 1; XYXY pixels, at least one.

        Raises:
            ValueError: `side` is no multiple of the model's patch.
        """
        maps = self._encodings.of(images, self._encode)
        each = zip(images, maps, boxes, strict=True)
        return [self._pool(image.shape[:2], patches, mine) for image, patches, mine in each]

    def _encode(self, images: list[Image]) -> list[Any]:
        """Embeddings (d, g, g) of the patches of each image, float32 on the device."""
        model = self._torch
        side = self._square()

        def forward(chunk: list[Image]) -> list[Any]:
            given = model.processor.image_processor(
                photographs(chunk),
                do_resize=True,
                size={"height": side, "width": side},
                do_center_crop=False,
                return_tensors="pt",
            )
            with model.running():
                said = EACH_PATCH[model.net.config.model_type](
                    model.net, given["pixel_values"].to(model.device)
                )
            grid = round(said.shape[1] ** 0.5)
            assert grid * grid == said.shape[1], said.shape
            return [*said.float().transpose(1, 2).unflatten(2, (grid, grid))]

        return in_chunks(images, forward, most=model.at_once(self.batch_size))

    def _square(self) -> int:
        seen = self._torch.net.config.vision_config
        side = self.side or int(seen.image_size)
        if side % seen.patch_size:
            raise ValueError(
                f"expert {self._torch.expert!r}: side {side}; expected a multiple of {seen.patch_size}, the side of a "
                f"patch of {self._torch.options['model']}"
            )
        return side

    def _pool(
        self, size_hw: tuple[int, ...], patches: Any, boxes: Sequence[Box]
    ) -> NDArray[np.float32]:
        import torch
        from torchvision.ops import roi_align

        height, width = size_hw
        down, across = patches.shape[-2:]
        to_patches = np.array([across / width, down / height] * 2)
        placed = np.array(boxes, np.float64).reshape(-1, 4) * to_patches
        with self._torch.exact():
            rois = torch.as_tensor(placed, dtype=torch.float32, device=patches.device)
            bins = roi_align(patches[None], [rois], BINS, sampling_ratio=0, aligned=True)
            return unit(bins.mean((-2, -1))).cpu().numpy()


def clip_patches(net: Any, pixels: Any) -> Any:
    """(b, l, d): what each patch would say had the last layer shown it nothing but itself; `pixels` (b, 3, s, s)."""
    tower = net.vision_model
    seen = tower(pixel_values=pixels, output_hidden_states=True, interpolate_pos_encoding=True)
    before = seen.hidden_states[-2][:, 1:]  # what the last layer is given, without the class token
    alone = tower.encoder.layers[-1](before.flatten(0, 1)[:, None], attention_mask=None)
    return net.visual_projection(tower.post_layernorm(alone[:, 0])).unflatten(0, before.shape[:2])


def siglip_patches(net: Any, pixels: Any) -> Any:
    """(b, l, d): what the pooling head makes of each patch alone; `pixels` (b, 3, s, s)."""
    tower = net.vision_model
    seen = tower(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    return tower.head(seen.flatten(0, 1)[:, None]).unflatten(0, seen.shape[:2])


EACH_PATCH = {"clip": clip_patches, "siglip": siglip_patches}
"""`model_type` of config.json -> its patches in the joint space."""
