"""How alike pictures and texts are to CLIP (arXiv 2103.00020) or SigLIP (arXiv 2303.15343): cosines of embeddings.

No expert by itself: those that score regions against phrases use it. Cosines, not the models' logits, which are the
same cosines times a learnt scale (and for SigLIP plus a learnt shift) and mean nothing across models.

    scorer = ImageText(expert=self.name, options=options)   # light; weights are loaded at the first call
    scorer.similarities(crops, ["the red mug", "the bowl"]) # (crops, texts) in [-1, 1]

CLIP's processor keeps the middle square of a picture, so a caller who wants all of a long crop pads it to a square
first; SigLIP's squeezes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.identity import Identity
from annotators.models.encodings import Encodings
from annotators.models.prompt import plain
from annotators.models.torch_model import TorchModel, in_chunks, photographs
from annotators.protocols import Image

CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}


class ImageText:
    """Cosine similarities by a CLIP or SigLIP model.

    Args:
        expert: name of the expert that asks; it stands in the identity and in errors.
        options: of that expert: `model` and, where it has them, `revision`, `device`, `dtype`, `compile`.
        batch_size: pictures encoded at once on a GPU.
        keep: encoded pictures that stay between calls.
    """

    def __init__(
        self, *, expert: str, options: Mapping[str, Any], batch_size: int = 32, keep: int = 256
    ) -> None:
        self.batch_size = batch_size
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

    def similarities(self, pictures: Sequence[Image], texts: Sequence[str]) -> NDArray[np.float32]:
        """Cosines (pictures, texts) in [-1, 1]; pictures are RGB uint8 (h, w, 3) of any sizes.

        A text of which `prompt.plain` leaves nothing is compared as an empty text. One longer than the model reads
        loses its end.
        """
        if not pictures or not texts:
            return np.zeros((len(pictures), len(texts)), np.float32)
        import torch

        seen = torch.stack(self._encodings.of(pictures, self._see))
        return (seen @ read_texts(self._torch, texts).T).clamp(-1.0, 1.0).cpu().numpy()

    def _see(self, pictures: list[Image]) -> list[Any]:
        model = self._torch

        def forward(chunk: list[Image]) -> list[Any]:
            given = model.processor.image_processor(photographs(chunk), return_tensors="pt")
            with model.running():
                pixels = given["pixel_values"].to(model.device)
                return [*unit(model.net.get_image_features(pixel_values=pixels).pooler_output)]

        return in_chunks(pictures, forward, most=model.at_once(self.batch_size))


def read_texts(model: TorchModel, texts: Sequence[str]) -> Any:
    """Embeddings (texts, d) of length 1 by a CLIP or SigLIP model, float32 on its device; at least one text.

    One by one: SigLIP was taught on texts filled up to its full length, CLIP on texts as they are. A text longer than
    the model reads loses its end.
    """
    import torch

    longest = int(model.net.config.text_config.max_position_embeddings)
    full = model.net.config.model_type == "siglip"

    def forward(chunk: list[str]) -> list[Any]:
        words = model.processor.tokenizer(
            chunk,
            padding="max_length" if full else False,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        if full:
            words.pop("attention_mask", None)
        with model.running():
            said = model.net.get_text_features(**model.on_device(words))
            return [*unit(said.pooler_output)]

    return torch.stack(in_chunks([plain(text) for text in texts], forward, most=1))


def unit(vectors: Any) -> Any:
    """Vectors (..., d) as float32 of length 1."""
    vectors = vectors.float()
    return vectors / vectors.norm(dim=-1, keepdim=True)
