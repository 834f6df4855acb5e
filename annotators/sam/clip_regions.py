"""Regions by CLIP: automatic masks of a SAM, and the phrase chooses among them by image-text similarity.

    maskmix experts try clip_regions "the phrase" --image IMAGE
        --set model=openai/clip-vit-large-patch14 --set sam=facebook/sam-vit-base

The role of SAM + Alpha-CLIP in IVM's panel (arXiv 2405.19783; its data code, May 2024). There Alpha-CLIP ViT-L/14@336
sees the whole picture with the segment in an alpha channel; cosine similarities are scaled by minimum and maximum over
the picture's segments and painted back as a soft map. Alpha-CLIP has no transformers port, so here each region is cut
out with its surroundings blurred (`annotators.sam.region_crops`): the model sees less of the scene, and phrases that
lean on it ("left of the bowl") lose more than with Alpha-CLIP. And candidates here are binary, not a map: such a map
always has a 1 somewhere, also when the phrase names nothing in the picture. So cosines s are read as

    height(r) = (s(r) - min s) / (max s - min s)            the paper's soft map, at region r
    score(r)  = (s(r) - median s) / (max s - min s)         in [0, 1] for the upper half: how far r stands out

candidates are the regions with height of at least `least_height`, and the expert abstains when the best cosine is not
`margin` above the median one, or when there are fewer than three regions to compare.

Masks are made once per image and regions are seen once; each phrase costs its text and a product. Quality with trained
weights is unverified here; the command above shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate, Provenance
from annotators.identity import Identity
from annotators.models.encodings import Encodings
from annotators.models.image_text import ImageText
from annotators.models.prompt import check_prompt
from annotators.models.prompt import fill as filled
from annotators.models.weights import name_weights
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash
from annotators.sam.automatic import AutomaticMask, Prompted, automatic_masks
from annotators.sam.checkpoint_file import checkpoint_file
from annotators.sam.hf_prompted import HFPrompted
from annotators.sam.region_crops import check_fill, crop_of

FEWEST = 3
"""Regions below which no median means anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """The regions of one image, the surest first, and each cut out for the image-text model."""

    masks: list[AutomaticMask]
    crops: list[Image]


class ClipRegions:
    """Masks for a phrase by choosing among the automatic masks of a SAM with CLIP or SigLIP.

    Args:
        model: image-text model: hub id or folder, of model type "clip" or "siglip".
        sam: hub id or folder of a SAM of transformers, or a .pth checkpoint of segment-anything.
        revision: commits of the two as the identity says them, "MODEL+SAM"; either may be left empty.
        device: "auto", "cpu" or "cuda".
        dtype: "auto", "float32", "bfloat16" or "float16".
        compile: give both image towers to torch.compile.
        batch_size: pictures encoded at once on a GPU.
        prompt: what the text tower reads; `{}` is the phrase.
        fill: what stands around a region: "blur", "mean" or "grey".
        context: border around a region's box as a share of its longer side.
        margin: cosine by which the best region must stand above the median one.
        least_height: place on the picture's scale of cosines, in [0, 1], from which a region is a candidate.
        max_candidates: most candidates of a phrase.
        max_regions: most regions of an image, those with the highest predicted IoU.
        least_area: regions below this share of the picture are left out.
        points_per_side: the grid of prompts has this many points squared.
        least_predicted_iou: automatic masks at or below it go.
        least_stability: automatic masks below it go.
        most_box_iou: of two masks whose boxes overlap more the surer one stays.
        keep: images whose regions stay between calls.
    """

    name = "clip_regions"

    def __init__(
        self,
        *,
        model: str,
        sam: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 32,
        prompt: str = "a photo of {}",
        fill: str = "blur",
        context: float = 0.1,
        margin: float = 0.02,
        least_height: float = 0.9,
        max_candidates: int = 5,
        max_regions: int = 100,
        least_area: float = 0.001,
        points_per_side: int = 32,
        least_predicted_iou: float = 0.88,
        least_stability: float = 0.95,
        most_box_iou: float = 0.7,
        keep: int = 4,
    ) -> None:
        if margin <= 0.0 or not 0.0 < least_height <= 1.0:
            raise ValueError(
                f"expert {self.name!r}: margin {margin} and least_height {least_height}; expected a margin above 0 "
                f"and a height in (0, 1]"
            )
        self.prompt = check_prompt(self.name, prompt)
        self.fill = check_fill(self.name, fill)
        self.context, self.margin, self.least_height = context, margin, least_height
        self.max_candidates, self.max_regions = max_candidates, max_regions
        self.least_area, self.model, self.sam = least_area, model, sam
        self.revisions = _two(revision)
        self._grid: dict[str, Any] = {
            "points_per_side": points_per_side,
            "least_predicted_iou": least_predicted_iou,
            "least_stability": least_stability,
            "most_box_iou": most_box_iou,
        }
        self._run: dict[str, Any] = {"device": device, "dtype": dtype, "compile": compile}
        self.batch_size = batch_size
        self.config_hash = config_hash(
            self.name,
            {
                "model": model, "sam": sam, "dtype": dtype, "compile": compile, "prompt": prompt, "fill": fill,
                "context": context, "margin": margin, "least_height": least_height,
                "max_candidates": max_candidates, "max_regions": max_regions, "least_area": least_area,
                **self._grid,
            },
        )  # fmt: skip
        self._scorer = ImageText(
            expert=self.name,
            options={"model": model, "revision": self.revisions[0], **self._run},
            batch_size=batch_size,
            keep=keep * max_regions,
        )
        self._regions: Encodings[Regions] = Encodings(keep)

    @cached_property
    def identity(self) -> Identity:
        """Both models: names, revisions and licences joined by "+", the image-text model first; equal licences once.

        Raises:
            ValueError: the weights of one are not to be had.
        """
        if _is_checkpoint(self.sam):
            checkpoint_file(self.sam)
        seen, cut = self._scorer.identity, name_weights(self.sam, self.revisions[1])
        return Identity(
            expert=self.name,
            model=f"{seen.model}+{cut.model}",
            revision=f"{seen.revision}+{cut.revision}",
            licence="+".join(dict.fromkeys((seen.licence, cut.licence))),
            config_hash=self.config_hash,
        )

    @cached_property
    def _prompted(self) -> Prompted:
        """The SAM, by what its weights are.

        Raises:
            ValueError: they are not to be had, or are no SAM.
        """
        if _is_checkpoint(self.sam):
            from annotators.sam.prompted import PromptedSam

            return PromptedSam(
                checkpoint_file(self.sam),
                device=self._run["device"],
                dtype=self._run["dtype"],
                compiled=self._run["compile"],
            )
        options = {"model": self.sam, "revision": self.revisions[1], **self._run}
        return HFPrompted(expert=self.name, options=options, keep=1, batch_size=1)

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        texts = [[filled(self.prompt, phrase.text) for phrase in row] for row in phrases]
        asked = [i for i, row in enumerate(texts) if any(row)]
        found: list[list[Candidate]] = [[] for _ in images]
        regions = self._regions.of([images[i] for i in asked], self._cut)
        for i, those in zip(asked, regions, strict=True):
            if len(those.masks) >= FEWEST:
                found[i] = self._choose(those, texts[i])
        return found

    def _cut(self, images: list[Image]) -> list[Regions]:
        return [self._regions_of(image) for image in images]

    def _regions_of(self, image: Image) -> Regions:
        least = self.least_area * image.shape[0] * image.shape[1]
        every = automatic_masks(self._prompted, image, **self._grid)
        masks = [mask for mask in every if mask.rle.area() >= least][: self.max_regions]
        crops = [
            crop_of(image, mask.mask, mask.box, context=self.context, fill=self.fill)
            for mask in masks
        ]
        return Regions(masks=masks, crops=crops)

    def _choose(self, regions: Regions, texts: list[str]) -> list[Candidate]:
        numbers = [number for number, text in enumerate(texts) if text]
        cosines = self._scorer.similarities(regions.crops, [texts[number] for number in numbers])
        made: list[Candidate] = []
        for number, column in zip(numbers, cosines.T.astype(np.float64), strict=True):
            if column.max() - np.median(column) < self.margin:
                continue
            scores, heights = standing_out(column), on_scale(column)
            best = np.argsort(-column, kind="stable")[: self.max_candidates].tolist()
            made += [
                self._candidate(regions.masks[r], number, float(scores[r]), float(column[r]))
                for r in best
                if heights[r] >= self.least_height
            ]
        return made

    def _candidate(
        self, region: AutomaticMask, phrase: int, score: float, cosine: float
    ) -> Candidate:
        who = self.identity
        return Candidate(
            mask=region.rle,
            phrase=phrase,
            proposal=None,
            mask_score=score,
            stability=region.stability,
            made_by=Provenance(
                expert=self.name,
                model=who.model,
                revision=who.revision,
                score_raw=cosine,
                config_hash=self.config_hash,
            ),
        )


def on_scale(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines (regions,) moved to [0, 1] by their minimum and maximum: IVM's soft map at each region.

    All equal cosines are 0: nothing is higher than the rest.
    """
    spread = float(np.ptp(cosines))
    return (cosines - cosines.min()) / spread if spread else np.zeros_like(cosines)


def standing_out(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each of the cosines (regions,) lies above their median, as a share of their range: in [0, 1], 0 below."""
    spread = float(np.ptp(cosines))
    above = np.clip(cosines - np.median(cosines), 0.0, None)
    return above / spread if spread else np.zeros_like(cosines)


def _is_checkpoint(sam: str) -> bool:
    """Whether `sam` names a checkpoint file of segment-anything rather than a folder or a name of the hub."""
    path = Path(sam).expanduser()
    return path.is_file() or path.suffix in (".pth", ".pt")


def _two(revision: str | None) -> tuple[str | None, str | None]:
    """The revisions of the image-text model and of the SAM.

    Raises:
        ValueError: it is not two of them.
    """
    if revision is None:
        return None, None
    parts = revision.split("+")
    if len(parts) != 2:
        raise ValueError(
            f"expert 'clip_regions': revision {revision!r}; expected that of the image-text model and that of the "
            f"SAM joined by a plus, MODEL+SAM, either of which may be empty"
        )
    return parts[0] or None, parts[1] or None
