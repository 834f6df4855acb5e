"""Grounding DINO and MM-Grounding-DINO: boxes for phrases by a detector that reads them (arXiv 2303.05499, 2401.02361).

One class serves both: they differ in their layers, not in how they are asked. Each phrase is asked by itself, in lower
case with a final dot: a prompt of several phrases lets them compete for queries, and which tokens belong to which box
becomes guesswork. A box's score is its largest token probability. `text_threshold` asks more: that a word of the
phrase, not its dot or the text's borders, reaches it (the reference gives such boxes an empty label).

Text and image are fused from the first encoder layer on, so no encoding is kept but the resized pixels. Images are
never padded: padding shifts what windows and sampling points see, which changes boxes by more than rounding.

Quality with trained weights is unverified here; to see it:
`maskmix experts try grounding_dino "the phrase" --image photo.jpg --set model=IDEA-Research/grounding-dino-tiny`, or
with model=openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from annotators.candidate import Proposal
from annotators.identity import Identity
from annotators.models.box_choice import BoxRules, Floats, corners, sigmoid, to_proposals
from annotators.models.encodings import Encodings
from annotators.models.prompt import plain
from annotators.models.torch_model import TorchModel, in_chunks, photographs
from annotators.phrase import Phrase
from annotators.protocols import Image

PROMPT_VERSION = "one-phrase-1"
THINNEST = 8
"""Photographs are at most this many times as long as wide; no camera makes thinner ones."""
MEAN = (124, 116, 104)
"""The colour that the image processor turns to zero (ImageNet's mean)."""


class _Row(NamedTuple):
    sample: int
    phrase: int
    words: list[int]


class GroundingDinoExpert:
    """Boxes by Grounding DINO or MM-Grounding-DINO, open vocabulary; each phrase is asked by itself.

    Args:
        model: hub id or folder, of model type "grounding-dino" or "mm-grounding-dino".
        revision: commit of the hub, or `sha256:...` of a folder.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        compile: give the model to torch.compile; it compiles anew for each size of image.
        batch_size: phrases asked at once on a GPU, of photographs of one size.
        box_threshold: a box stays when its score is larger.
        text_threshold: and when some word of the phrase has a larger probability.
        nms_iou: of two boxes of a phrase with a larger IoU the better stays.
        max_boxes: most boxes per phrase.
    """

    name = "grounding_dino"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 4,
        box_threshold: float = 0.25,
        text_threshold: float = 0.25,
        nms_iou: float = 0.8,
        max_boxes: int = 20,
    ) -> None:
        self.batch_size = batch_size
        self.text_threshold = text_threshold
        self.rules = BoxRules(box_threshold=box_threshold, nms_iou=nms_iou, max_boxes=max_boxes)
        self._torch = TorchModel(
            expert=self.name,
            classes={
                "grounding-dino": "GroundingDinoForObjectDetection",
                "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
            },
            options=dict(
                model=model, revision=revision, device=device, dtype=dtype, compile=compile,
                box_threshold=box_threshold, text_threshold=text_threshold, nms_iou=nms_iou, max_boxes=max_boxes,
            ),
            prompt_version=PROMPT_VERSION,
        )  # fmt: skip
        self._pixels: Encodings[Any] = Encodings(keep=2)

    @property
    def identity(self) -> Identity:
        return self._torch.identity

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]:
        rows: list[_Row] = []
        for sample, of_sample in enumerate(phrases):
            for number, phrase in enumerate(of_sample):
                if text := caption(phrase.text):
                    rows.append(_Row(sample, number, self._words(text)))

        def forward(chunk: list[_Row]) -> list[list[Proposal]]:
            seen = [images[row.sample] for row in chunk]
            each = zip(seen, chunk, *self._outputs(seen, chunk), strict=True)
            return [self._choose(*one) for one in each]

        found = in_chunks(
            rows,
            forward,
            most=self._torch.at_once(self.batch_size) if rows else 1,
            alike=lambda row: images[row.sample].shape[:2],
        )
        answers: list[list[Proposal]] = [[] for _ in images]
        for row, proposals in zip(rows, found, strict=True):
            answers[row.sample] += proposals
        return answers

    def _words(self, text: str) -> list[int]:
        """Token numbers of a caption; what is too long loses its end, not its dot."""
        model = self._torch
        config = model.net.config
        longest = min(config.max_text_len, config.text_config.max_position_embeddings)
        words: list[int] = model.processor.tokenizer(text, verbose=False)["input_ids"]
        return words if len(words) <= longest else words[: longest - 2] + words[-2:]

    def _outputs(self, images: list[Image], rows: list[_Row]) -> tuple[Floats, Floats]:
        """Logits (rows, queries, tokens) and boxes (rows, queries, 4) as centre and size in [0, 1]."""
        import torch

        model = self._torch
        longest = max(len(row.words) for row in rows)
        pad = model.processor.tokenizer.pad_token_id
        words = torch.tensor([row.words + [pad] * (longest - len(row.words)) for row in rows])
        read = torch.tensor(
            [[1] * len(row.words) + [0] * (longest - len(row.words)) for row in rows]
        )
        pixels = torch.stack(self._pixels.of(images, self._prepare))
        inputs = {
            "pixel_values": pixels,
            "pixel_mask": torch.ones_like(pixels[:, 0], dtype=torch.int64),
            "input_ids": words,
            "token_type_ids": torch.zeros_like(words),
            "attention_mask": read,
        }
        with model.running():
            out = model.net(**model.on_device(inputs))
        return out.logits.float().cpu().numpy(), out.pred_boxes.float().cpu().numpy()

    def _prepare(self, images: list[Image]) -> list[Any]:
        prepare = self._torch.processor.image_processor
        shown = photographs([widened(image) for image in images])
        return [prepare([one], return_tensors="pt")["pixel_values"][0] for one in shown]

    def _choose(self, image: Image, row: _Row, logits: Floats, boxes: Floats) -> list[Proposal]:
        height, width = widened(image).shape[:2]
        raw = logits.max(axis=1)
        scores = sigmoid(raw)
        named = sigmoid(logits[:, self._content(row.words)].max(axis=1, initial=-np.inf))
        scores[named <= self.text_threshold] = 0.0
        pixels = corners(boxes) * np.array([width, height, width, height])
        chosen = self.rules.choose(pixels, scores, (image.shape[0], image.shape[1]))
        return to_proposals(
            chosen, scores=scores, raw=raw, phrase=row.phrase, identity=self.identity
        )

    def _content(self, words: list[int]) -> list[int]:
        """Places of the tokens that are words: neither the text's borders nor its dot."""
        tokenizer = self._torch.processor.tokenizer
        empty = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids(".")}
        empty.discard(tokenizer.unk_token_id)
        return [place for place, word in enumerate(words) if word not in empty]


def widened(image: Image) -> Image:
    """`image`, when thinner than 1 to `THINNEST` padded to that at the right or bottom in the mean colour.

    The model picks its queries among the patches and fails where there are fewer patches than queries.
    """
    height, width = image.shape[:2]
    least = -(-max(height, width) // THINNEST)
    if min(height, width) >= least:
        return image
    whole = np.empty((max(height, least), max(width, least), 3), np.uint8)
    whole[:] = MEAN
    whole[:height, :width] = image
    return whole


def caption(text: str) -> str:
    """A phrase as the model was taught to read it; "" when nothing of it is left.

    >>> caption("Where is the Mug?")
    'where is the mug.'
    """
    kept = " ".join(plain(text).lower().replace(".", " ").replace("?", " ").split())
    return f"{kept}." if kept else ""
