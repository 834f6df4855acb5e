"""CLIPSeg: a soft mask for a phrase, in one step (Lüddecke and Ecker 2022, arXiv 2112.10003).

The image tower is a CLIP that knows nothing of the text: a photograph is encoded once, and each phrase costs a small
decoder. The decoder's logits cover the whole picture, squeezed to a square; sigmoid, then bilinear resize to the
picture's size, then the cut. A resized probability stays between its neighbours, so the cut edge is where the model
has it, whereas resized logits would move it towards the surer side.

What score and stability mean is said in `annotators.models.soft_mask`.

Quality with trained weights is unverified here; to see it:
`maskmix experts try clipseg "the phrase" --image photo.jpg --set model=CIDAS/clipseg-rd64-refined`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from annotators.candidate import Candidate
from annotators.identity import Identity
from annotators.models.box_choice import Floats, made_by
from annotators.models.encodings import Encodings
from annotators.models.prompt import check_prompt, fill
from annotators.models.soft_mask import check_cut, cut
from annotators.models.torch_model import TorchModel, in_chunks, photographs
from annotators.phrase import Phrase
from annotators.protocols import Image


class ClipSegExpert:
    """Masks by CLIPSeg, one per phrase.

    Args:
        model: hub id or folder, of model type "clipseg".
        revision: commit of the hub, or `sha256:...` of a folder.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        compile: give the image tower to torch.compile.
        batch_size: photographs encoded at once on a GPU.
        prompt: what the model reads; `{}` is the phrase.
        mask_threshold: a pixel is in the mask when its probability is at least this, in (0, 1).
        spread: how far the threshold is moved to measure stability.
        keep: encoded photographs that stay between calls.
    """

    name = "clipseg"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 8,
        prompt: str = "{}",
        mask_threshold: float = 0.4,
        spread: float = 0.05,
        keep: int = 8,
    ) -> None:
        check_cut(self.name, threshold=mask_threshold, spread=spread)
        self.prompt = check_prompt(self.name, prompt)
        self.batch_size, self.mask_threshold, self.spread = batch_size, mask_threshold, spread
        self._torch = TorchModel(
            expert=self.name,
            classes={"clipseg": "CLIPSegForImageSegmentation"},
            options=dict(
                model=model, revision=revision, device=device, dtype=dtype, compile=compile, prompt=prompt,
                mask_threshold=mask_threshold, spread=spread,
            ),
            compiled=("clip.vision_model",),
        )  # fmt: skip
        self._encodings: Encodings[list[Any]] = Encodings(keep)

    @property
    def identity(self) -> Identity:
        return self._torch.identity

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        texts = [[fill(self.prompt, phrase.text) for phrase in row] for row in phrases]
        asked = [i for i, row in enumerate(texts) if any(row)]
        answers: list[list[Candidate]] = [[] for _ in images]
        encoded = self._encodings.of([images[i] for i in asked], self._encode)
        for i, seen in zip(asked, encoded, strict=True):
            for number, text in enumerate(texts[i]):
                if text:
                    answers[i] += self._cut(images[i], number, self._logits(text, seen))
        return answers

    def _encode(self, images: list[Image]) -> list[list[Any]]:
        """Per image what the decoder reads of it: the outputs of the image tower's chosen layers, (tokens, d) each."""
        model = self._torch

        def forward(chunk: list[Image]) -> list[list[Any]]:
            seen = model.processor.image_processor(photographs(chunk), return_tensors="pt")
            with model.running():
                pixels = seen["pixel_values"].to(model.device)
                out = model.net.clip.get_image_features(pixels, output_hidden_states=True)
            layers = [out.hidden_states[layer + 1] for layer in model.net.extract_layers]
            return [[layer[i] for layer in layers] for i in range(len(chunk))]

        return in_chunks(images, forward, most=model.at_once(self.batch_size))

    def _logits(self, text: str, seen: list[Any]) -> Floats:
        """The decoder's logits (side, side) for one text over one encoded image."""
        model = self._torch
        longest = int(model.net.config.text_config.max_position_embeddings)
        words = model.processor.tokenizer(
            [text], truncation=True, max_length=longest, return_tensors="pt"
        )
        with model.running():
            meant = model.net.get_conditional_embeddings(batch_size=1, **model.on_device(words))
            logits = model.net.decoder([layer[None] for layer in seen], meant).logits
        return logits.float().cpu().numpy().reshape(logits.shape[-2:])

    def _cut(self, image: Image, number: int, logits: Floats) -> list[Candidate]:
        return cut(
            probabilities(logits, (image.shape[0], image.shape[1])),
            threshold=self.mask_threshold,
            spread=self.spread,
            phrase=number,
            made_by=made_by(self.identity, 0.0),
        )


def probabilities(logits: Floats, size_hw: tuple[int, int]) -> Floats:
    """Logits of a squeezed picture to probabilities (h, w) of its pixels, bilinear with aligned pixel areas."""
    import torch

    soft = torch.from_numpy(np.ascontiguousarray(logits, np.float32)).sigmoid()[None, None]
    full = torch.nn.functional.interpolate(soft, size_hw, mode="bilinear", align_corners=False)
    return full[0, 0].numpy()
