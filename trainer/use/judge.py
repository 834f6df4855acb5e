"""A trained discriminator as a verifier: it sees image, instruction and mask, and says how likely a human drew it.

That number is p_clean (trainer.discriminate); there is one, so it stands for validity and for exhaustivity alike. With
folds of discriminators (`maskmix discriminate --out DIR` keeps them) every picture is judged by the one that has not
seen it, as in the weights sidecar; by the mean of all when none has. The stage `choose` lets it decide between labels,
and `score` lets it speak about the label there is.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from annotators.identity import Identity
from annotators.masks import BoolMask
from annotators.protocols import Image, Verdict
from annotators.registry import config_hash
from trainer.use.folds import Folds, find_folds, identity_with

if TYPE_CHECKING:
    from trainer.models.saved_judge import SavedJudge


class TrainedJudge:
    """Masks to verdicts by a discriminator of `maskmix discriminate`.

    Args:
        model: folder of a saved discriminator, or of folds of them; or a hub id.
        revision: commit of the hub, or the `sha256:...` that local weights must have.
        device: "auto", "cpu" or "cuda".
    """

    name = "trained_judge"

    def __init__(self, *, model: str, revision: str | None = None, device: str = "auto") -> None:
        self.model, self.revision, self.device = model, revision, device
        self.config_hash = config_hash(self.name, {"model": model})

    @cached_property
    def identity(self) -> Identity:
        """Who answers.

        Raises:
            ValueError: there is no such discriminator, or its weights are not those of `revision`.
        """
        return identity_with(
            self._folds, expert=self.name, model=self.model, config_hash=self.config_hash
        )

    def verify(
        self,
        images: Sequence[Image],
        instructions: Sequence[Sequence[str]],
        masks: Sequence[BoolMask],
    ) -> list[Verdict | None]:
        """A verdict on each mask for the first phrasing of its instruction.

        None where there is no phrasing, and for a picture that all folds have seen.
        """
        return [
            self._judge(image, texts[0], mask) if texts and texts[0].strip() else None
            for image, texts, mask in zip(images, instructions, masks, strict=True)
        ]

    def _judge(self, image: Image, text: str, mask: BoolMask) -> Verdict | None:
        if mask.shape != image.shape[:2]:
            raise ValueError(
                f"mask of {mask.shape} on an image of {image.shape[:2]} (h, w); expected one size"
            )
        said = [
            p_clean(self._judges[member], image, text, mask)
            for member in self._folds.may_answer(image)
        ]
        if not said:
            return None
        mean = min(1.0, sum(said) / len(said))
        return Verdict(validity=mean, exhaustivity=mean)

    @cached_property
    def _folds(self) -> Folds:
        from trainer.models.saved_judge import FACTS

        return find_folds(self.model, self.revision, expert=self.name, facts=FACTS)

    @cached_property
    def _judges(self) -> "list[SavedJudge]":
        from annotators.models.torch_model import pick_device
        from trainer.models.saved_judge import load_judge

        there = pick_device(self.device)
        found = [load_judge(member.folder) for member in self._folds.members]
        for saved in found:
            saved.judge.to(there)  # type: ignore[attr-defined]
        return found


def p_clean(saved: "SavedJudge", image: Image, text: str, mask: BoolMask) -> float:
    """The belief that a human would have drawn `mask` (bool, the size of the image) for `text`, in [0, 1]."""
    import torch

    from trainer.data.table import resize_image, resize_mask

    small = torch.from_numpy(resize_image(image, saved.size_hw)).permute(2, 0, 1)
    drawn = torch.from_numpy(resize_mask(mask.astype(np.uint8) * np.uint8(255), saved.size_hw))
    there = next(saved.judge.parameters()).device  # type: ignore[attr-defined]
    with torch.inference_mode():
        logit = saved.judge(
            (small[None].float() / 255.0).contiguous().to(there),
            saved.tokenizer.encode([text]).to(there),
            (drawn[None, None].float() / 255.0).to(there),
        )
    return float(logit.float().sigmoid()[0])
