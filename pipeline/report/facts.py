"""What a report says about the samples of a dataset, gathered in one streaming pass over verified shards.

Only numbers are kept, a few per sample, and never pixels; `fetch` then reads the few samples worth showing. A very
large dataset is counted on every n-th sample, and says so (`seen` of `total`).
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from annotators.masks import BoolMask
from annotators.votes import voter_key, votes_of
from pipeline.codec import decode_sample
from pipeline.manifest import read_manifest, read_receipts
from pipeline.reader import iterate_members
from pipeline.records import Sample
from pipeline.shards import read_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFact:
    """The numbers of one sample. Shares, IoUs and quality are in [0, 1]; None where there is nothing to compare."""

    id: str
    image: str
    style: str
    dataset: str
    gold_role: str
    gold_empty: bool
    empty: bool
    area: float
    quality: float | None
    label_iou: float | None
    best_iou: float | None
    """IoU of the vote that is nearest to gold: what a perfect choice among the experts would have reached."""


@dataclass(slots=True, kw_only=True)
class Mean:
    """A running mean."""

    total: float = 0.0
    n: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.n += 1

    @property
    def value(self) -> float | None:
        return self.total / self.n if self.n else None


@dataclass(slots=True, kw_only=True)
class ExpertFact:
    """One voter over the samples seen: how often it spoke, and how near its vote was to label and gold."""

    name: str
    spoke: int = 0
    candidates: int = 0
    with_label: Mean = field(default_factory=Mean)
    with_gold: Mean = field(default_factory=Mean)
    by_style: defaultdict[str, Mean] = field(default_factory=lambda: defaultdict(Mean))


Made = tuple[str, str, str]
"""What was made ("phrase", "box" or "mask"), by which expert, and its config hash; phrases carry none."""


@dataclass(slots=True, kw_only=True)
class Work:
    """What one expert made, over the samples seen."""

    spoke: int = 0
    """Samples on which it made something."""
    in_labels: int = 0
    """Labels of which a member is its mask, or was made from its box or phrase."""
    score: Mean = field(default_factory=Mean)
    """Its confidence, of everything it made; phrases have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was counted. `agreement` is the mean IoU of two experts' votes where both spoke."""

    samples: Sequence[SampleFact]
    experts: Sequence[ExpertFact]
    work: Mapping[Made, Work]
    verdicts: Mean
    """Validity, where verifiers judged."""
    agreement: Mapping[tuple[str, str], Mean]
    faults: Mapping[str, int]
    total: int

    @property
    def seen(self) -> int:
        return len(self.samples)


def gather(root: Path, *, at_most: int = 20_000) -> Facts:
    """Stream over a finished dataset; beyond `at_most` samples only every n-th is decoded.

    Raises:
        ValueError: the dataset is unfinished or damaged (see `pipeline.reader`).
    """
    total = read_manifest(root).totals.committed
    stride = max(1, -(-total // at_most))
    return count(
        (
            decode_sample(key, members)
            for number, (key, members) in enumerate(iterate_members(root))
            if number % stride == 0
        ),
        total=total,
    )


def count(samples: Iterable[Sample], *, total: int) -> Facts:
    """The facts of a stream of samples, of which there are `total`."""
    rows: list[SampleFact] = []
    experts: dict[str, ExpertFact] = {}
    agreement: defaultdict[tuple[str, str], Mean] = defaultdict(Mean)
    faults: Counter[str] = Counter()
    work: defaultdict[Made, Work] = defaultdict(Work)
    verdicts = Mean()
    for sample in samples:
        assert sample.label is not None, sample.id
        faults.update(line.partition(":")[0] for line in sample.faults)
        gold = sample.gold.array() if sample.gold else None
        label = sample.label.mask >= 128
        votes: list[tuple[str, BoolMask]] = []
        best: float | None = None
        for vote in votes_of(sample.candidates or (), sample.size_hw):
            votes.append((vote.voter, vote.mask))
            expert = experts.setdefault(vote.voter, ExpertFact(name=vote.expert))
            expert.spoke += 1
            expert.with_label.add(iou(vote.mask, label))
            if gold is not None:
                hit = iou(vote.mask, gold)
                best = hit if best is None else max(best, hit)
                expert.with_gold.add(hit)
                expert.by_style[sample.style].add(hit)
        for candidate in sample.candidates or ():
            experts[voter_key(candidate)].candidates += 1
        for (one, mask), (other, theirs) in combinations(votes, 2):
            agreement[min(one, other), max(one, other)].add(iou(mask, theirs))
        _count_work(sample, work)
        for part, value in sample.quality.parts if sample.quality else ():
            if part == "validity":
                verdicts.add(value)
        rows.append(
            SampleFact(
                id=sample.id,
                image=sample.source.image_sha256,
                style=sample.style,
                dataset=sample.source.dataset,
                gold_role=sample.gold_role if sample.gold else "",
                gold_empty=gold is not None and not gold.any(),
                empty=not label.any(),
                area=float(label.mean()),
                quality=sample.quality.score if sample.quality else None,
                label_iou=None if gold is None else iou(label, gold),
                best_iou=best,
            )
        )
    names = short_names(experts)
    for key, fact in experts.items():
        fact.name = names[key]
    return Facts(
        samples=rows,
        experts=sorted(experts.values(), key=lambda e: e.name),
        agreement={(names[a], names[b]): mean for (a, b), mean in sorted(agreement.items())},
        work=dict(work),
        verdicts=verdicts,
        faults=dict(sorted(faults.items())),
        total=total,
    )


def _count_work(sample: Sample, work: defaultdict[Made, Work]) -> None:
    phrases = [("phrase", p.made_by, "") for p in sample.phrases or ()]
    boxes = [("box", p.made_by.expert, p.made_by.config_hash) for p in sample.proposals or ()]
    masks = [("mask", c.made_by.expert, c.made_by.config_hash) for c in sample.candidates or ()]
    for made in {*phrases, *boxes, *masks}:
        work[made].spoke += 1
    for made, proposal in zip(boxes, sample.proposals or (), strict=True):
        work[made].score.add(proposal.score)
    for made, candidate in zip(masks, sample.candidates or (), strict=True):
        work[made].score.add(candidate.mask_score)
    behind: set[Made] = set()
    for member in sample.label.members if sample.label else ():
        candidate = (sample.candidates or ())[member]
        behind.add(masks[member])
        if candidate.proposal is not None:
            behind.add(boxes[candidate.proposal])
        behind.update(phrases[candidate.phrase : candidate.phrase + 1])
    for made in behind:
        work[made].in_labels += 1


def fetch(root: Path, ids: Collection[str]) -> dict[str, Sample]:
    """The samples named `ids` that the dataset holds, from the shards that hold them, verified."""
    wanted = set(ids)
    found: dict[str, Sample] = {}
    for receipt in read_receipts(root):
        here = wanted & receipt.offsets.keys()
        if not here:
            continue
        shard = read_shard(root / receipt.shard, sha256=receipt.sha256, count=receipt.committed)
        found.update((key, decode_sample(key, members)) for key, members in shard if key in here)
    return found


def iou(a: BoolMask, b: BoolMask) -> float:
    """Intersection over union of two boolean (h, w) masks; two empty ones agree (1)."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def auc(scores: Sequence[float], good: Sequence[bool]) -> float | None:
    """Chance that a good one scores above a bad one, ties half (Mann-Whitney); None without both kinds.

    >>> auc([0.1, 0.4, 0.4, 0.9], [False, False, True, True])
    0.875
    """
    ups = [s for s, g in zip(scores, good, strict=True) if g]
    downs = sorted(s for s, g in zip(scores, good, strict=True) if not g)
    if not ups or not downs:
        return None
    below = np.searchsorted(downs, ups, side="left") + np.searchsorted(downs, ups, side="right")
    return float(below.sum()) / 2 / (len(ups) * len(downs))


def short_names(voters: Iterable[str]) -> dict[str, str]:
    """Voters as a table shows them: expert names, with the setting of those that sit on the panel in several.

    >>> list(short_names(["sam@c0ffee00<owlv2@11", "sam@decaf000<owlv2@11", "size@c0ffee00"]).values())
    ['sam #c0ffee < owlv2', 'sam #decaf0 < owlv2', 'size']
    """
    parts = {voter: [part.partition("@") for part in voter.split("<")] for voter in voters}
    settings: dict[str, set[str]] = {}
    for experts in parts.values():
        for expert, _, setting in experts:
            settings.setdefault(expert, set()).add(setting)

    def short(expert: str, setting: str) -> str:
        return expert if len(settings[expert]) == 1 else f"{expert} #{setting[:6] or 'default'}"

    return {
        voter: " < ".join(short(expert, setting) for expert, _, setting in experts)
        for voter, experts in parts.items()
    }
