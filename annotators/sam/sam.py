"""The expert that segments boxes with SAM (arXiv 2304.02643) from an original checkpoint of segment-anything.

A box is hardly ambiguous, so by default SAM is asked for its one mask for it; with `multimask` for three, of which the
one with the highest predicted IoU is taken. An image is encoded once for all its boxes, in whatever samples and calls.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from annotators.candidate import Candidate, Proposal, Provenance
from annotators.identity import Identity
from annotators.models.weights import name_weights
from annotators.protocols import Image
from annotators.registry import config_hash
from annotators.sam.checkpoint_file import checkpoint_file
from annotators.sam.encodings import Encodings
from annotators.sam.masks_from_logits import candidates_from_logits

if TYPE_CHECKING:
    from annotators.sam.prompted import PromptedSam


class SamExpert:
    """One mask per box by SAM, from a .pth file of segment-anything. Abstains where the mask is empty.

    Args:
        model: path of sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth, sam_vit_h_4b8939.pth or one of their kind.
        revision: `sha256:...` that the file must have.
        licence: of the weights, where no model card stands beside the file to say it.
        multimask: whether the best of three masks is taken instead of the one for unambiguous prompts.
        device: "auto" (cuda if present), "cpu" or "cuda".
        dtype: of the image encoder: "auto" (float32 on a CPU, bfloat16 on CUDA), "float32", "bfloat16", "float16".
        compile: whether the image encoder goes through torch.compile; worth it from some dozens of images on.
        batch_size: images encoded together on a GPU.
        prompts_per_batch: boxes answered together; "auto" is 1 on a CPU and 64 on a GPU.
        keep: images whose encodings are kept between calls, 4 MiB each.
    """

    name = "sam"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        licence: str | None = None,
        multimask: bool = False,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 4,
        prompts_per_batch: int | Literal["auto"] = "auto",
        keep: int = 16,
    ) -> None:
        for option, value in {
            "batch_size": batch_size,
            "prompts_per_batch": prompts_per_batch,
        }.items():
            if value != "auto" and value < 1:
                raise ValueError(f"expert 'sam': {option} is {value}; expected at least 1")
        self.model, self.revision, self.licence, self.multimask = (
            model,
            revision,
            licence,
            multimask,
        )
        self._loading: dict[str, Any] = {
            "device": device,
            "dtype": dtype,
            "compiled": compile,
            "batch_size": batch_size,
            "prompts_per_batch": prompts_per_batch,
        }
        self._encodings = Encodings(keep)
        options = {"model": model, "multimask": multimask, "dtype": dtype, "compile": compile}
        self.config_hash = config_hash(self.name, options)

    @cached_property
    def identity(self) -> Identity:
        """Who answers; reads the file once for its hash.

        Raises:
            ValueError: there is no such file, or it is not of `revision`.
        """
        checkpoint_file(self.model)
        named = name_weights(self.model, self.revision)
        return Identity(
            expert=self.name,
            model=named.model,
            revision=named.revision,
            licence=self.licence or named.licence,
            config_hash=self.config_hash,
        )

    @cached_property
    def sam(self) -> "PromptedSam":
        """The networks, loaded at first use.

        Raises:
            ValueError: the file is missing or no SAM checkpoint, or an option is not what it may be.
        """
        from annotators.sam.prompted import PromptedSam

        return PromptedSam(checkpoint_file(self.model), **self._loading)

    def segment(
        self, images: Sequence[Image], proposals: Sequence[Sequence[Proposal]]
    ) -> list[list[Candidate]]:
        """One candidate at most for each proposal; images without proposals are not encoded."""
        asked = [i for i, rows in enumerate(zip(images, proposals, strict=True)) if rows[1]]
        if not asked:
            return [[] for _ in images]
        made_by = Provenance(
            expert=self.name,
            model=self.identity.model,
            revision=self.identity.revision,
            config_hash=self.config_hash,
        )
        encodings = self._encodings.of(
            [images[i] for i in asked], self.sam.encode, batch_size=self.sam.batch_size
        )
        found: list[list[Candidate]] = [[] for _ in images]
        for index, encoding in zip(asked, encodings, strict=True):
            boxes = np.array([proposal.box for proposal in proposals[index]], np.float64)
            logits, ious = self.sam.decode(encoding, boxes=boxes, multimask=self.multimask)
            found[index] = candidates_from_logits(
                logits, ious, encoding.frame, proposals=proposals[index], made_by=made_by
            )
        return found
