"""SAM, HQ-SAM, SAM 2 and SAM 3 through transformers: boxes to masks, each image encoded once.

    maskmix experts try sam_hf --set model=facebook/sam-vit-base --image IMAGE --box x1,y1,x2,y2

Numbers equal those of transformers' own forward pass and post-processing on the same parameters (tests); how good the
masks are with trained weights shows the command above. SAM: arXiv 2304.02643, HQ-SAM: 2306.01567, SAM 2: 2408.00714.
SAM 3 (`model=facebook/sam3`) is gated and under a licence of its own: accept it on the model's page, then
`hf auth login` and `hf download facebook/sam3`.
"""

from collections.abc import Sequence

import numpy as np

from annotators.candidate import Candidate, Proposal, Provenance
from annotators.identity import Identity
from annotators.protocols import Image
from annotators.sam.encodings import Encoding
from annotators.sam.hf_prompted import HFPrompted
from annotators.sam.masks_from_logits import candidates_from_logits


class HFSamSegmenter:
    """One mask per box by a SAM of transformers: sam, sam_hq, sam2 or sam3; the kind is read from the weights.

    Args:
        model: hub id or folder saved with `save_pretrained`.
        revision: commit of the hub.
        device: "auto", "cpu" or "cuda".
        dtype: in what the encoder computes; the decoder stays in float32.
        batch_size: images in one pass of the encoder on a GPU.
        compile: give the encoder to torch.compile.
        multimask: choose the best of three masks by predicted IoU instead of the single one, which SAM
            is trained to give for prompts as clear as a box.
        hq_token_only: of HQ-SAM, take the high-quality mask alone instead of its sum with SAM's.
        keep: encoded images that stay between calls; 4 to 20 MB each.
    """

    name = "sam_hf"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 4,
        compile: bool = False,
        multimask: bool = False,
        hq_token_only: bool = False,
        keep: int = 8,
    ) -> None:
        options = {
            "model": model, "revision": revision, "device": device, "dtype": dtype, "compile": compile,
            "multimask": multimask, "hq_token_only": hq_token_only,
        }  # fmt: skip
        self.multimask = multimask
        self.prompted = HFPrompted(
            expert=self.name,
            options=options,
            keep=keep,
            batch_size=batch_size,
            hq_token_only=hq_token_only,
        )

    @property
    def identity(self) -> Identity:
        """Which weights answer.

        Raises:
            ValueError: they are not to be had; the message says how to get them.
        """
        return self.prompted.model.identity

    def segment(
        self, images: Sequence[Image], proposals: Sequence[Sequence[Proposal]]
    ) -> list[list[Candidate]]:
        asked = [i for i, of_image in enumerate(proposals) if of_image]
        encodings = self.prompted.encode([images[i] for i in asked]) if asked else []
        found: list[list[Candidate]] = [[] for _ in images]
        for i, encoding in zip(asked, encodings, strict=True):
            found[i] = self._cut(encoding, proposals[i])
        return found

    def _cut(self, encoding: Encoding, proposals: Sequence[Proposal]) -> list[Candidate]:
        boxes = np.array([proposal.box for proposal in proposals], np.float32)
        logits, ious = self.prompted.decode(encoding, boxes=boxes, multimask=self.multimask)
        who = self.identity
        made_by = Provenance(
            expert=self.name, model=who.model, revision=who.revision, config_hash=who.config_hash
        )
        return candidates_from_logits(
            logits, ious, encoding.frame, proposals=proposals, made_by=made_by
        )
