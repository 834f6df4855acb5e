"""OWLv2: boxes for phrases by comparing patch embeddings with text embeddings (Minderer et al. 2023, arXiv 2306.09683).

The image tower knows nothing of the text, so a photograph is encoded once for all its phrases and samples. The
processor pads a photograph to a square at the right and bottom, hence boxes are fractions of its longer side, also
for the shorter one. The text tower reads 16 tokens; what a phrase has beyond them is cut.

Quality with trained weights is unverified here; to see it:
`maskmix experts try owlv2 "the phrase" --image photo.jpg --set model=google/owlv2-base-patch16-ensemble`.
"""

from collections.abc import Sequence
from typing import Any

from annotators.candidate import Proposal
from annotators.identity import Identity
from annotators.models.box_choice import BoxRules, Floats, corners, sigmoid, to_proposals
from annotators.models.encodings import Encodings
from annotators.models.prompt import check_prompt, fill
from annotators.models.torch_model import TorchModel, in_chunks, photographs
from annotators.phrase import Phrase
from annotators.protocols import Image


class Owlv2Expert:
    """Boxes by OWLv2, open vocabulary; each phrase is scored by itself.

    Args:
        model: hub id or folder, of model type "owlv2".
        revision: commit of the hub, or `sha256:...` of a folder.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        compile: give the image tower to torch.compile.
        batch_size: photographs encoded at once on a GPU.
        prompt: what the model reads; `{}` is the phrase.
        box_threshold: a box stays when its score is larger.
        nms_iou: of two boxes of a phrase with a larger IoU the better stays (the model has no suppression).
        max_boxes: most boxes per phrase.
        keep: encoded photographs that stay between calls.
    """

    name = "owlv2"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 8,
        prompt: str = "a photo of {}",
        box_threshold: float = 0.1,
        nms_iou: float = 0.5,
        max_boxes: int = 20,
        keep: int = 8,
    ) -> None:
        self.prompt = check_prompt(self.name, prompt)
        self.batch_size = batch_size
        self.rules = BoxRules(box_threshold=box_threshold, nms_iou=nms_iou, max_boxes=max_boxes)
        self._torch = TorchModel(
            expert=self.name,
            classes={"owlv2": "Owlv2ForObjectDetection"},
            options=dict(
                model=model, revision=revision, device=device, dtype=dtype, compile=compile, prompt=prompt,
                box_threshold=box_threshold, nms_iou=nms_iou, max_boxes=max_boxes,
            ),
            compiled=("owlv2.vision_model",),
        )  # fmt: skip
        self._encodings: Encodings[tuple[Any, Floats]] = Encodings(keep)

    @property
    def identity(self) -> Identity:
        return self._torch.identity

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]:
        texts = [[fill(self.prompt, phrase.text) for phrase in row] for row in phrases]
        asked = [i for i, row in enumerate(texts) if any(row)]
        answers: list[list[Proposal]] = [[] for _ in images]
        encoded = self._encodings.of([images[i] for i in asked], self._encode)
        for i, (features, boxes) in zip(asked, encoded, strict=True):
            answers[i] = self._one(images[i], texts[i], features, boxes)
        return answers

    def _encode(self, images: list[Image]) -> list[tuple[Any, Floats]]:
        """Patch features (patches, d) and boxes (patches, 4) as XYXY fractions of the longer side, per image."""
        model = self._torch

        def forward(chunk: list[Image]) -> list[tuple[Any, Floats]]:
            seen = model.processor.image_processor(photographs(chunk), return_tensors="pt")
            with model.running():
                grid = model.net.image_embedder(seen["pixel_values"].to(model.device))[0].float()
            with model.exact():
                features = grid.flatten(1, 2)
                boxes = corners(model.net.box_predictor(features, grid).cpu().numpy())
            return list(zip(features, boxes, strict=True))

        return in_chunks(images, forward, most=model.at_once(self.batch_size))

    def _one(self, image: Image, texts: list[str], features: Any, boxes: Floats) -> list[Proposal]:
        size_hw = (image.shape[0], image.shape[1])
        numbers = [number for number, text in enumerate(texts) if text]
        logits = self._logits([texts[number] for number in numbers], features)
        found: list[Proposal] = []
        for number, raw in zip(numbers, logits, strict=True):
            scores = sigmoid(raw)
            chosen = self.rules.choose(boxes * max(size_hw), scores, size_hw)
            found += to_proposals(
                chosen, scores=scores, raw=raw, phrase=number, identity=self.identity
            )
        return found

    def _logits(self, texts: list[str], features: Any) -> Floats:
        """(texts, patches): how much each patch is what each text says, before the sigmoid."""
        import torch

        model = self._torch
        words = model.processor.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        )
        with model.running():
            queries = model.net.owlv2.get_text_features(**model.on_device(words)).pooler_output
        with model.exact():
            queries = queries.float()
            queries = queries / torch.linalg.norm(queries, dim=-1, keepdim=True)
            logits, _ = model.net.class_predictor(features[None], queries[None])
        return logits[0].T.cpu().numpy()

    @property
    def _longest(self) -> int:
        return int(self._torch.net.config.text_config.max_position_embeddings)
