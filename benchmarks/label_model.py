"""EM over vote patterns against snorkel's LabelModel: 10 experts, 100,000 binary items, 30 % of votes withheld.

Run: python -m benchmarks.label_model (about 20 s). Both learn from votes alone and then say the chance of each item;
both are told the share of positive items. The accuracies must be equal within 0.2 points in every round, and neither
may beat the other by more. Target: as many items per CPU-second. snorkel's cost hardly depends on the number of items
(500 steps of gradient descent on a 20x20 matrix), that of EM grows until every one of the 3^10 patterns has occurred.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotators.reliability import Patterns, learn
from benchmarks.ratio import compare, require, run, say

ITEMS, EXPERTS, SILENT, POSITIVE = 100_000, 10, 0.3, 0.4
TOLERANCE = 0.002
TARGET = 1.0
VOTERS = tuple(f"e{n}" for n in range(EXPERTS))
BITS = 1 << np.arange(EXPERTS, dtype=np.int64)
Votes = NDArray[np.int8]


def votes_and_truth() -> tuple[Votes, NDArray[np.bool_]]:
    """Votes (n, m) of 1, 0 and -1 for silence, by independent experts of 55 to 90 %, and what is true (n,)."""
    rng = np.random.default_rng(0)
    truth = rng.random(ITEMS) < POSITIVE
    skill = np.linspace(0.55, 0.9, EXPERTS)
    right = rng.random((ITEMS, EXPERTS)) < skill
    votes = np.where(right, truth[:, None], ~truth[:, None]).astype(np.int8)
    votes[rng.random(votes.shape) < SILENT] = -1
    return votes, truth


def chances(votes: Votes) -> NDArray[np.float64]:
    """The chance of each item, (n,): patterns counted once, EM over them, one more E step."""
    spoke, said = votes >= 0, votes == 1
    codes = (spoke @ BITS) << EXPERTS | (said @ BITS)
    present, which, counts = np.unique(codes, return_inverse=True, return_counts=True)
    heard = present[:, None] >> (np.arange(EXPERTS) + EXPERTS) & 1 == 1
    marked = present[:, None] >> np.arange(EXPERTS) & 1 == 1
    patterns: Patterns = {}
    for who, what, count in zip(heard.tolist(), marked.tolist(), counts.tolist(), strict=True):
        places = [n for n in range(EXPERTS) if who[n]]
        mine = patterns.setdefault(tuple(VOTERS[n] for n in places), {})
        mine[sum(what[n] << bit for bit, n in enumerate(places))] = float(count)
    rates = learn(patterns, prior=POSITIVE, tolerance=1e-5).rates
    p = np.array([rates[voter].sensitivity for voter in VOTERS])
    q = np.array([rates[voter].specificity for voter in VOTERS])
    odds = (heard & marked) @ np.log(p / (1 - q)) + (heard & ~marked) @ np.log((1 - p) / q)
    return 1 / (1 + np.exp(-(odds + np.log(POSITIVE / (1 - POSITIVE)))))[which]


def measure() -> bool:
    """One panel, all items."""
    require("snorkel")
    from snorkel.labeling.model import LabelModel

    votes, truth = votes_and_truth()
    wide = votes.astype(np.int64)

    def ours() -> NDArray[np.float64]:
        return chances(votes)

    def peer() -> NDArray[np.float64]:
        model = LabelModel(cardinality=2, verbose=False)
        model.fit(
            wide, class_balance=[1 - POSITIVE, POSITIVE], n_epochs=500, seed=0, progress_bar=False
        )
        return model.predict_proba(wide)[:, 1]

    def accuracy(chance: Any) -> float:
        return float(((chance >= 0.5) == truth).mean())

    most = accuracy((votes == 1).sum(axis=1) / np.maximum((votes >= 0).sum(axis=1), 1))
    say(
        f"accuracy: ours {accuracy(ours()):.4f}, snorkel {accuracy(peer()):.4f}, majority {most:.4f}"
    )
    return compare(
        f"label model of {EXPERTS} experts on {ITEMS:,} items, {SILENT:.0%} silent",
        ours=ours,
        peer=peer,
        peer_name="snorkel",
        same=lambda a, b: abs(accuracy(a) - accuracy(b)) <= TOLERANCE,
        target=TARGET,
        units=ITEMS,
        unit="items",
        rounds=5,
    )


if __name__ == "__main__":
    run(measure)
