"""A trained model on the panel: it is asked a phrase, or an instruction, and answers with a mask.

The arrow of imports stays one way: annotators and pipeline find this class by the entry point `trained` of the group
`maskmix.experts` and know nothing of the trainer. A model has learnt instructions, so it belongs into the stage `join`,
which asks with the instruction as it stands; in `segment` it is asked the phrases that rewriters made.

`model` may be a folder with folds of models (trainer.use.folds). Each picture is then answered by the model that has
not learnt from it, so that a dataset can be annotated again by what it taught; a picture that none of them knows is
answered by the mean of all, and one that all of them know by nobody. To see one at work:
`maskmix experts try trained "the red mug" --image photo.jpg --set model=RUN`.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Candidate, Provenance
from annotators.identity import Identity
from annotators.models.prompt import fill
from annotators.models.soft_mask import check_cut, cut
from annotators.phrase import Phrase
from annotators.protocols import Image
from annotators.registry import config_hash
from trainer.use.folds import Folds, find_folds, identity_with

if TYPE_CHECKING:
    from trainer.use.predictor import Predictor


class TrainedExpert:
    """Masks by a model of `maskmix fit`, one per phrase.

    Args:
        model: folder of a finished run, of a saved model, or of folds of them; or a hub id.
        revision: commit of the hub, or the `sha256:...` that local weights must have.
        threshold: a pixel is in the mask when its probability is at least this; the model's own when None.
        spread: how far the threshold is moved to measure stability.
        device: "auto", "cpu" or "cuda".
        batch_size: rows that run together on a GPU.
    """

    name = "trained"

    def __init__(
        self,
        *,
        model: str,
        revision: str | None = None,
        threshold: float | None = None,
        spread: float = 0.05,
        device: str = "auto",
        batch_size: int = 8,
    ) -> None:
        if threshold is not None:
            check_cut(self.name, threshold=threshold, spread=spread)
        if batch_size < 1:
            raise ValueError(
                f"expert {self.name!r}: batch_size is {batch_size}; expected at least 1"
            )
        self.model, self.revision = model, revision
        self.threshold, self.spread = threshold, spread
        self.device, self.batch_size = device, batch_size
        self.config_hash = config_hash(
            self.name, {"model": model, "threshold": threshold, "spread": spread}
        )

    @cached_property
    def identity(self) -> Identity:
        """Who answers.

        Raises:
            ValueError: there is no such model, or its weights are not those of `revision`.
        """
        return identity_with(
            self._folds, expert=self.name, model=self.model, config_hash=self.config_hash
        )

    def segment_text(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Candidate]]:
        answers: list[list[Candidate]] = [[] for _ in images]
        rows = [
            (i, number, text)
            for i, row in enumerate(phrases)
            for number, phrase in enumerate(row)
            if (text := fill("{}", phrase.text))
        ]
        for start in range(0, len(rows), self.batch_size):
            chunk = rows[start : start + self.batch_size]
            pictures = [images[i] for i, _, _ in chunk]
            asked = [self._folds.may_answer(picture) for picture in pictures]
            soft = self._ask(pictures, [text for _, _, text in chunk], asked)
            for (i, number, _), values, members in zip(chunk, soft, asked, strict=True):
                if values is None:
                    continue
                answers[i] += cut(
                    values,
                    threshold=self._threshold,
                    spread=self.spread,
                    phrase=number,
                    made_by=self._made_by(members),
                )
        return answers

    def _ask(
        self, images: Sequence[Image], texts: Sequence[str], asked: Sequence[tuple[int, ...]]
    ) -> list[NDArray[np.float32] | None]:
        """Mean probability (h, w) over the members asked about each row, None where none is; each runs its together."""
        sums: list[NDArray[np.float32] | None] = [None] * len(images)
        for k, predictor in enumerate(self._predictors):
            mine = [row for row, members in enumerate(asked) if k in members]
            said = predictor.predict_batch([images[r] for r in mine], [texts[r] for r in mine])
            for row, values in zip(mine, said, strict=True):
                before = sums[row]
                sums[row] = values if before is None else before + values
        return [
            None if total is None else total / np.float32(len(members))
            for total, members in zip(sums, asked, strict=True)
        ]

    def _made_by(self, members: tuple[int, ...]) -> Provenance:
        one = self._folds.members[members[0]] if len(members) == 1 else None
        return Provenance(
            expert=self.name,
            model=one.model if one else self.model,
            revision=one.revision if one else self._folds.revision,
            config_hash=self.config_hash,
        )

    @cached_property
    def _folds(self) -> Folds:
        from trainer.models.saved_model import FACTS

        return find_folds(self.model, self.revision, expert=self.name, facts=FACTS)

    @cached_property
    def _predictors(self) -> "list[Predictor]":
        from trainer.use.predictor import Predictor

        return [
            Predictor.from_pretrained(member.folder, device=self.device)
            for member in self._folds.members
        ]

    @cached_property
    def _threshold(self) -> float:
        """The option, or what the first model was trained to be cut at."""
        if self.threshold is not None:
            return self.threshold
        own = self._predictors[0].model.threshold
        check_cut(self.name, threshold=own, spread=self.spread)
        return own
