"""The labelled path: a known target and a simple phrase -> instructions that a person might give (IVM, section 3.2).

It may look at where the target is, so what it writes is tainted: `pipeline.stage.check_plan` refuses a plan in which
an expert is then asked to find those phrases.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from annotators.boxes import Box
from annotators.phrase import Phrase
from annotators.protocols import Enricher
from pipeline.panel import ask, split_faults
from pipeline.records import Reject, Sample
from pipeline.stage import Images


class Enrich:
    """Fills `phrases` with enriched instructions; the first enricher that does not abstain is heard.

    `keep_raw` puts every phrasing of the simple instruction before them, as a phrase of role "raw".
    """

    name = "enrich"
    writes: str | None = "phrases"

    def __init__(self, enrichers: Sequence[Enricher], *, keep_raw: bool) -> None:
        self.enrichers = tuple(enrichers)
        self.keep_raw = keep_raw
        self.reads = frozenset({"instructions", "extra", "gold"})

    def __call__(self, samples: Sequence[Sample], images: Images) -> list[Sample | Reject]:
        made: dict[int, list[Phrase]] = {}
        faults = [sample.faults for sample in samples]
        open_rows = list(range(len(samples)))
        for enricher in self.enrichers:
            asked = [samples[row] for row in open_rows]
            columns = ([s.instructions for s in asked], [known_boxes(s) for s in asked])
            if enricher.reads_image:
                pictures = [images(sample) for sample in asked]
                answers = ask(enricher.name, enricher.enrich, *columns, pictures)
            else:
                answers = ask(enricher.name, partial(enricher.enrich, images=[]), *columns)
            for row, answer in zip(open_rows, answers, strict=True):
                given, new = split_faults(samples[row], [answer])
                faults[row] += new[len(samples[row].faults) :]
                if given and given[0]:
                    made[row] = given[0]
            open_rows = [row for row in open_rows if row not in made]
        done: list[Sample | Reject] = []
        for row, sample in enumerate(samples):
            texts = sample.instructions if self.keep_raw else ()
            raw = [Phrase(text=text, role="raw", made_by="source") for text in texts]
            phrases = (*raw, *made.get(row, ()))
            done.append(replace(sample, faults=faults[row]).fill("phrases", phrases))
        return done


def known_boxes(sample: Sample) -> tuple[Box, ...]:
    """Where the target is, as far as a human said: the source's boxes, else the box around gold. XYXY pixels."""
    if sample.boxes:
        return sample.boxes
    around = sample.gold.box() if sample.gold is not None else None
    return (around,) if around else ()
