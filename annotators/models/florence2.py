"""Florence-2: boxes for phrases written as text, location token by location token (Xiao et al. 2023, arXiv 2311.06242).

The model answers "mug<loc_52><loc_330><loc_410><loc_870>": a label, then boxes as four of 1000 bins per side. A bin is
read as its centre. It says no confidence, so a box's score is the probability the model gave to the four tokens that
write it, their geometric mean: the only number it has about that box. It is not calibrated, and is no threshold on
whether the thing is there at all. `score_raw` is the mean log-probability.

"open_vocabulary_detection" asks where the phrase is. "caption_to_phrase_grounding" asks where each noun of it is; of
that answer the first label's boxes are taken, the head of most phrases ("the mug left of the bowl"). Polygons, which
the first task may answer with, are left out.

Quality with trained weights is unverified here; to see it:
`maskmix experts try florence2 "the phrase" --image photo.jpg --set model=florence-community/Florence-2-base`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from annotators.candidate import Proposal
from annotators.identity import Identity
from annotators.models.box_choice import BoxRules, to_proposals
from annotators.models.prompt import cut, plain
from annotators.models.torch_model import TorchModel, in_chunks, photographs
from annotators.phrase import Phrase
from annotators.protocols import Image

TASKS = {
    "open_vocabulary_detection": "<OPEN_VOCABULARY_DETECTION>",
    "caption_to_phrase_grounding": "<CAPTION_TO_PHRASE_GROUNDING>",
}
BINS = 1000
QUESTION = 32
"""Tokens set aside for the words of the task around the phrase."""
LOCATION = re.compile(r"<loc_(\d+)>")
SILENT = {"<s>", "</s>", "<pad>"}


class Located(NamedTuple):
    """One box as it was written: its label, XYXY bins, and the mean log-probability of its four tokens."""

    label: str
    bins: tuple[int, int, int, int]
    logprob: float


class Florence2Expert:
    """Boxes by Florence-2, which writes them as text; each phrase is asked by itself.

    Args:
        model: hub id or folder, of model type "florence2" (converted checkpoints, which need no code of their own).
        revision: commit of the hub, or `sha256:...` of a folder.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_size: phrases asked at once on a GPU.
        task: "open_vocabulary_detection" or "caption_to_phrase_grounding".
        beams: beams of the search for an answer; 1 is greedy.
        max_new_tokens: where an answer is cut off; a box costs four and its label.
        box_threshold: a box stays when its score is larger.
        nms_iou: of two boxes of a phrase with a larger IoU the better stays.
        max_boxes: most boxes per phrase.
    """

    name = "florence2"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 8,
        task: str = "open_vocabulary_detection",
        beams: int = 1,
        max_new_tokens: int = 256,
        box_threshold: float = 0.0,
        nms_iou: float = 0.8,
        max_boxes: int = 20,
    ) -> None:
        if task not in TASKS:
            raise ValueError(
                f"expert {self.name!r}: task {task!r}; expected one of {', '.join(TASKS)}"
            )
        self.batch_size, self.task, self.beams = batch_size, task, beams
        self.max_new_tokens = max_new_tokens
        self.rules = BoxRules(box_threshold=box_threshold, nms_iou=nms_iou, max_boxes=max_boxes)
        self._torch = TorchModel(
            expert=self.name,
            classes={"florence2": "Florence2ForConditionalGeneration"},
            options=dict(
                model=model, revision=revision, device=device, dtype=dtype, task=task, beams=beams,
                max_new_tokens=max_new_tokens, box_threshold=box_threshold, nms_iou=nms_iou, max_boxes=max_boxes,
            ),
        )  # fmt: skip

    @property
    def identity(self) -> Identity:
        return self._torch.identity

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]:
        rows = [
            (sample, number, text)
            for sample, of_sample in enumerate(phrases)
            for number, phrase in enumerate(of_sample)
            if (text := plain(phrase.text))
        ]

        def forward(chunk: list[tuple[int, int, str]]) -> list[list[Located]]:
            return self._answers([images[s] for s, _, _ in chunk], [text for _, _, text in chunk])

        most = self._torch.at_once(self.batch_size) if rows else 1
        answers: list[list[Proposal]] = [[] for _ in images]
        for row, located in zip(rows, in_chunks(rows, forward, most=most), strict=True):
            sample, number, _ = row
            answers[sample] += self._choose(images[sample], number, located)
        return answers

    def _answers(self, images: list[Image], texts: list[str]) -> list[list[Located]]:
        """What the model writes about each image and text, as boxes."""
        model = self._torch
        longest = model.net.config.text_config.max_position_embeddings
        room = longest - model.processor.num_image_tokens - QUESTION
        asked = [TASKS[self.task] + cut(model.processor.tokenizer, text, room) for text in texts]
        inputs = model.processor(
            images=photographs(images), text=asked, padding=True, return_tensors="pt"
        )
        with model.running():
            out = model.net.generate(
                **model.on_device(inputs),
                do_sample=False,
                num_beams=self.beams,
                early_stopping=self.beams > 1,
                max_new_tokens=min(self.max_new_tokens, longest - 1),
                output_scores=True,
                return_dict_in_generate=True,
            )
            sure = model.net.compute_transition_scores(
                out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=True
            )
        written = out.sequences[:, -sure.shape[1] :].cpu().tolist()
        name = model.processor.tokenizer.convert_ids_to_tokens
        return [
            located(name(ids), [float(v) for v in of])
            for ids, of in zip(written, sure.float().cpu(), strict=True)
        ]

    def _choose(self, image: Image, number: int, found: list[Located]) -> list[Proposal]:
        if self.task == "caption_to_phrase_grounding":
            found = [one for one in found if one.label == found[0].label]
        if not found:
            return []
        height, width = image.shape[:2]
        bins = np.array([one.bins for one in found], np.float64)
        boxes = (bins + 0.5) / BINS * np.array([width, height, width, height])
        raw = np.array([one.logprob for one in found], np.float64)
        scores = np.exp(raw)
        chosen = self.rules.choose(boxes, scores, (height, width))
        return to_proposals(chosen, scores=scores, raw=raw, phrase=number, identity=self.identity)


def located(tokens: Sequence[str], logprobs: Sequence[float]) -> list[Located]:
    """The boxes in an answer: words, then location tokens in fours; what is over at the end of a run is dropped.

    >>> [tuple(one) for one in located(["mug", "<loc_1>", "<loc_2>", "<loc_3>", "<loc_4>"], [-9, -1, -1, -1, -1])]
    [('mug', (1, 2, 3, 4), -1.0)]
    """
    found: list[Located] = []
    label: list[str] = []
    run: list[tuple[int, float]] = []
    ended = False
    for token, logprob in zip(tokens, logprobs, strict=True):
        place = LOCATION.fullmatch(token)
        if place:
            run.append((int(place[1]), logprob))
            ended = True
            if len(run) == 4 and label:
                x1, y1, x2, y2 = (value for value, _ in run)
                mean = sum(value for _, value in run) / 4
                found.append(Located("".join(label), (x1, y1, x2, y2), mean))
                run = []
        elif token not in SILENT:
            label = [token] if ended else [*label, token]
            run, ended = [], False
    return found
