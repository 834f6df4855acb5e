"""Open-vocabulary scoring: another grounder's boxes, scored anew by what a frozen CLIP or SigLIP sees in them.

    use: open_vocab
    options: { model: openai/clip-vit-base-patch16, of: grounding_dino,
               of_options: { model: IDEA-Research/grounding-dino-base }, least_share: 0.5 }

F-VLM's and CFM-ViT's fusion (`annotators.score_fusion`) around a grounder that is asked one phrase at a time. Their
detectors have a class for every name; a grounder has a score s for one phrase. What we make of it is ours:

- p: the phrase s, the background 1 - s, any other name 0. A score counts as at most `SUREST`: with p_0 = 0 nothing but
  the phrase would be left, and the encoder had no say.
- z: softmax over the phrase and its rivals, which are names of `vocabulary` and the sample's other simplified phrases,
  save those with the phrase's own head noun: "mug" beside "the red mug" would take half of what is the mug's. So a
  vocabulary without rivals, of which z would always be 1, is refused.
- base: a phrase whose head noun is one of the vocabulary's, since common names are what detectors were taught; else
  novel, where the encoder counts for more.
- Of a phrase that is no simplified one, but an instruction, the target is not known: every noun that it mentions is
  taken for its head noun.

A proposal keeps box, phrase and place; its score is the fused one, `score_raw` stays the grounder's, and the provenance
names both models. What cuts masks seldom reads a box's score, so a panel gains by `least_score` or `least_share`, which
leave proposals out.

Quality with trained weights is unverified here; to see it:
`maskmix experts try open_vocab "the phrase" --image photo.jpg --set model=openai/clip-vit-base-patch16 --set
of=owlv2 --set of_options.model=google/owlv2-base-patch16-ensemble`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.candidate import Proposal
from annotators.identity import Identity, identity_of
from annotators.language.everyday import EVERYDAY
from annotators.language.noun_phrase import read_phrase, tokenize
from annotators.language.word_forms import singular
from annotators.ledger import Ledger
from annotators.models.box_choice import made_by
from annotators.models.prompt import check_prompt, fill
from annotators.models.region_text import RegionText
from annotators.phrase import Phrase
from annotators.protocols import Grounder, Image, Payer
from annotators.registry import config_hash, make_expert, takes
from annotators.score_fusion import ALPHA, BETA, TEMPERATURE, check_share, fuse_scores, softmax

SUREST = 0.99
"""A grounder that is surer than this is taken to be this sure."""


class OpenVocabExpert:
    """Another grounder's boxes with scores fused from its own and those of a frozen CLIP or SigLIP.

    Args:
        model: image-text model: hub id or folder, of model type "clip" or "siglip".
        of: registered name of the grounder that proposes.
        of_options: its options, as a recipe gives them; it runs where its own `device` says.
        revision: commits of the two as the identity says them, "MODEL+OF"; either may be left empty.
        device: "auto", "cpu" or "cuda", for the image-text model.
        dtype: "auto", "float32", "bfloat16" or "float16", likewise.
        compile: give its image tower to torch.compile.
        batch_size: photographs encoded at once on a GPU.
        prompt: what its text tower reads; `{}` is the phrase, or "the" and a name of the vocabulary.
        vocabulary: everyday names that a region may rather be; None is `language.everyday.EVERYDAY`.
        alpha: share of the encoder where the phrase's head noun is in the vocabulary, in [0, 1].
        beta: its share where it is not.
        temperature: of the softmax over names, above 0.
        side: pixels of the square that the encoder sees; None is the one it was taught on.
        least_score: a proposal with a fused score below it is left out.
        least_share: and one with less than this share of the best fused score of its phrase.
        keep: encoded photographs that stay between calls.
    """

    name = "open_vocab"

    def __init__(
        self,
        *,
        model: str,
        of: str,
        of_options: Mapping[str, Any] | None = None,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
        batch_size: int = 8,
        prompt: str = "a photo of {}",
        vocabulary: Sequence[str] | None = None,
        alpha: float = ALPHA,
        beta: float = BETA,
        temperature: float = TEMPERATURE,
        side: int | None = None,
        least_score: float = 0.0,
        least_share: float = 0.0,
        keep: int = 8,
    ) -> None:
        shares = {"alpha": alpha, "beta": beta, "least_score": least_score, "least_share": least_share}  # fmt: skip
        for option, value in shares.items():
            check_share(f"expert {self.name!r}: {option}", value)
        softmax(np.zeros(1), temperature=temperature)
        if side is not None and side < 1:
            raise ValueError(f"expert {self.name!r}: side is {side}; expected 1 or more pixels")
        self.prompt = check_prompt(self.name, prompt)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.least_score, self.least_share = least_score, least_share
        self.vocabulary = check_vocabulary(EVERYDAY if vocabulary is None else vocabulary)
        self._heads = [head_of(name) for name in self.vocabulary]
        mine, theirs = _two(revision)
        self._of, self._of_options = of, _pinned(of, of_options or {}, theirs)
        self.inner: Grounder = make_expert(of, self._of_options)
        if not isinstance(self.inner, Grounder):
            raise ValueError(
                f"expert {self.name!r}: of {of!r} gives no boxes for phrases; expected a grounder (`maskmix experts`)"
            )
        run = {
            "model": model,
            "revision": mine,
            "device": device,
            "dtype": dtype,
            "compile": compile,
        }
        self._encoder = RegionText(
            expert=self.name, options=run, batch_size=batch_size, keep=keep, side=side
        )
        self._hashed = {
            "model": model, "dtype": dtype, "compile": compile, "prompt": prompt, "vocabulary": self.vocabulary,
            "temperature": temperature, "side": side, **shares,
        }  # fmt: skip

    @cached_property
    def identity(self) -> Identity:
        """Both experts: models, revisions and licences joined by "+", the image-text model first; equal licences once.

        The grounder stands with its name, `MODEL+OF:MODEL`, and with its name alone where it has no model.

        Raises:
            ValueError: the weights of one are not to be had.
        """
        seen, of = self._encoder.identity, identity_of(self.inner, self._of_options)
        licences = dict.fromkeys(licence for licence in (seen.licence, of.licence) if licence)
        return Identity(
            expert=self.name,
            model=f"{seen.model}+{of.expert}" + (f":{of.model}" if of.model else ""),
            revision=f"{seen.revision}+{of.revision}",
            prompt_version=of.prompt_version,
            licence="+".join(licences),
            config_hash=config_hash(self.name, {**self._hashed, "of": [of.expert, of.config_hash]}),
        )

    def bill(self, ledger: Ledger) -> None:
        """Charge the grounder's calls to `ledger`, where it makes any."""
        if isinstance(self.inner, Payer):
            self.inner.bill(ledger)

    def ground(
        self, images: Sequence[Image], phrases: Sequence[Sequence[Phrase]]
    ) -> list[list[Proposal]]:
        """The grounder's proposals in its order, scored anew; what it answers with an exception stays one."""
        answers = self.inner.ground(images, phrases)
        asked = [i for i, row in enumerate(answers) if isinstance(row, list) and row]
        boxes = [[proposal.box for proposal in answers[i]] for i in asked]
        seen = self._encoder.regions([images[i] for i in asked], boxes)
        for i, regions in zip(asked, seen, strict=True):
            answers[i] = self._scored(answers[i], phrases[i], regions)
        return answers

    @cached_property
    def _names(self) -> NDArray[np.float32]:
        """Embeddings (names, d) of the vocabulary."""
        return self._encoder.texts([fill(self.prompt, f"the {name}") for name in self.vocabulary])

    def _scored(
        self,
        proposals: Sequence[Proposal],
        phrases: Sequence[Phrase],
        regions: NDArray[np.float32],
    ) -> list[Proposal]:
        """What stays of one image's proposals; `regions` (proposals, d) are their embeddings."""
        said = self._encoder.texts([fill(self.prompt, phrase.text) for phrase in phrases])
        cosines = regions @ np.concatenate([said, self._names]).T
        named = [head_of(p.text) if p.role == "simplified" else None for p in phrases]
        numbers = np.array([proposal.phrase for proposal in proposals])
        scores = np.array([proposal.score for proposal in proposals])
        for number in np.unique(numbers):
            heads = heads_of(phrases[number])
            rival = [head is not None and head not in heads for head in (*named, *self._heads)]
            rows = np.flatnonzero(numbers == number)
            compared = np.column_stack([cosines[rows, number], cosines[rows][:, rival]])
            scores[rows] = self._fused(scores[rows], compared, not heads.isdisjoint(self._heads))
        best = {number: scores[numbers == number].max() for number in set(numbers.tolist())}
        return [
            replace(
                proposal, score=score, made_by=made_by(self.identity, proposal.made_by.score_raw)
            )
            for proposal, score in zip(proposals, scores.tolist(), strict=True)
            if score >= max(self.least_score, self.least_share * best[proposal.phrase])
        ]

    def _fused(
        self, scores: NDArray[np.float64], cosines: NDArray[np.float32], base: bool
    ) -> NDArray[np.float64]:
        """Fused scores (n,) of a phrase; `cosines` (n, 1 + rivals) has it first."""
        detector = np.zeros((len(scores), cosines.shape[1] + 1))
        detector[:, 0] = np.minimum(scores, SUREST)
        detector[:, -1] = 1.0 - detector[:, 0]
        encoder = softmax(cosines, temperature=self.temperature)
        known = np.full(cosines.shape[1], base)
        fused = fuse_scores(detector, encoder, base=known, alpha=self.alpha, beta=self.beta)
        return np.clip(fused[:, 0], 0.0, 1.0)


def head_of(text: str) -> str:
    """The head noun of a phrase or name in the singular; the text itself where it has none.

    >>> head_of("both red mugs on the left"), head_of("traffic light"), head_of("")
    ('mug', 'light', '')
    """
    return read_phrase(text).head or text


def heads_of(phrase: Phrase) -> set[str]:
    """The nouns that may name what a phrase means: of a simplified one its head noun, else each of its words.

    >>> heads_of(Phrase(text="the small cups on the table", role="simplified", made_by="me"))
    {'cup'}
    >>> "ball" in heads_of(Phrase(text="take the balls away", role="raw", made_by="me"))
    True
    """
    if phrase.role == "simplified":
        return {head_of(phrase.text)}
    return {singular(word) for word in tokenize(phrase.text)} | {head_of(phrase.text)}


def check_vocabulary(names: Sequence[str]) -> list[str]:
    """Return `names` when every phrase has a rival among them: two or more head nouns.

    Raises:
        ValueError: it has not, or a name is empty or no text.
    """
    if isinstance(names, str) or not all(
        isinstance(name, str) and fill("{}", name) for name in names
    ):
        raise ValueError(
            f"expert 'open_vocab': vocabulary {names!r}; expected a list of names, e.g. [mug, bowl]"
        )
    if len({head_of(name) for name in names}) < 2:
        raise ValueError(
            f"expert 'open_vocab': vocabulary {list(names)} leaves a phrase nothing to be told apart from, so that the "
            "encoder would always be sure of it; give names of two or more kinds of things, or leave the option out"
        )
    return list(names)


def _two(revision: str | None) -> tuple[str | None, str]:
    """The revisions of the image-text model and of the grounder.

    Raises:
        ValueError: it is not two of them.
    """
    if revision is None:
        return None, ""
    mine, plus, theirs = revision.partition("+")
    if not plus:
        raise ValueError(
            f"expert 'open_vocab': revision {revision!r}; expected that of the image-text model and that of the "
            f"grounder joined by a plus, MODEL+OF, either of which may be empty"
        )
    return mine or None, theirs


def _pinned(of: str, options: Mapping[str, Any], revision: str) -> dict[str, Any]:
    """The grounder's options with the revision that the whole was given, if any.

    Raises:
        ValueError: it has no revision.
    """
    if not revision:
        return dict(options)
    if not takes(of, "revision"):
        raise ValueError(
            f"expert 'open_vocab': revision {revision!r} is for {of!r}, which takes none; end with the plus"
        )
    return {**options, "revision": revision}
