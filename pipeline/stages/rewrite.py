"""Instructions -> phrases. Rewriters are asked in order; the first that does not abstain is heard."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from annotators.phrase import Phrase
from annotators.protocols import Rewriter
from pipeline.panel import ask, split_faults
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Rewrite:
    """Fills `phrases`; with no rewriter that has something to say they stay empty, which is an abstention too.

    A rewriter that answers with an "absent" phrase has spoken: no other expert is asked, and no vote is taken.

    `keep_raw` adds every phrasing of the instruction as a phrase of role "raw" after the rewritten ones.
    """

    name = "rewrite"
    writes: str | None = "phrases"

    def __init__(self, rewriters: Sequence[Rewriter], *, keep_raw: bool) -> None:
        self.rewriters = tuple(rewriters)
        self.keep_raw = keep_raw
        self.reads = frozenset({"instructions"})

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        done: list[Sample | Reject] = list(samples)
        open_rows = list(range(len(samples)))
        found: dict[int, list[Phrase]] = {}
        faults = [sample.faults for sample in samples]
        for rewriter in self.rewriters:
            asked = [samples[row] for row in open_rows]
            pictures = [images(sample) for sample in asked] if rewriter.reads_image else []
            texts = [sample.instructions for sample in asked]
            columns = (texts, pictures) if rewriter.reads_image else (texts,)
            call = (
                rewriter.rewrite if rewriter.reads_image else partial(rewriter.rewrite, images=[])
            )
            for row, answer in zip(open_rows, ask(rewriter.name, call, *columns), strict=True):
                given, new = split_faults(samples[row], [answer])
                faults[row] += new[len(samples[row].faults) :]
                if given and given[0]:
                    found[row] = given[0]
            open_rows = [row for row in open_rows if row not in found]
        for row, sample in enumerate(samples):
            phrases = list(found.get(row, []))
            if self.keep_raw:
                phrases += [
                    Phrase(text=text, role="raw", made_by="source") for text in sample.instructions
                ]
            done[row] = replace(sample, faults=faults[row]).fill("phrases", tuple(phrases))
        return done
