"""The methods that `maskmix compare` puts side by side, each as what it changes in the recipe.

Every method learns from the same gold and the same machine labels, with the same model, steps, batch size and rates.
Where gold and machine labels are both used, a batch holds the recipe's share of gold, and gold is never left out; so
what is compared is what each makes of the machine labels. Three rows are there to see what the mixing itself is worth:
gold-only and uniform as they come, and uniform-mixed.

- gold-only: only gold is drawn. uniform: all samples as they come. uniform-mixed: uniform weights, mixed batches.
- dwsl: the recipe as it stands, our best. dwsl-filter: the same, and labels that are not believed are left out instead
  of corrected. dwsl-F: f as published or coded, of machine and gold samples alike, without the recipe's cut;
  dwsl-dwbc zeroes below 0.5 and weighs gold by DWBC's rule. dwsl-joint: one stage, a light discriminator beside the
  segmenter, with the recipe's f and cut.
- self-paced, small-loss, co-teaching, co-teaching-plus, elr, gmm-split, confident, importance: the rivals
  (trainer.weighting, trainer.objectives.early_learning). Those that must know the share of wrong labels are told
  `weight.noise_rate`. The two kinds of co-teaching train two models and keep the first: twice the computation of a row.
- perfect-filter, clean-only: oracles that read the gold that was set aside for audits. The first leaves out just the
  bad machine labels, so no better filter is to be had; the second learns from the gold of every sample.
"""

from collections.abc import Mapping
from typing import Any

PLAIN_DWSL = {"method": "dwsl", "zero_below": 0.0, "correct": 0.0, "gold_weight": "judged"}

METHODS: dict[str, Mapping[str, Any]] = {
    "gold-only": {"weight": {"method": "gold_only"}, "gold_share": None},
    "uniform": {"weight": {"method": "uniform", "gold_weight": None}, "gold_share": None},
    "uniform-mixed": {"weight": {"method": "uniform", "gold_weight": None}},
    "dwsl": {},
    "dwsl-filter": {"weight": {"method": "dwsl", "correct": 0.0}},
    "dwsl-identity": {"weight": {**PLAIN_DWSL, "f": "identity"}},
    "dwsl-clip": {"weight": {**PLAIN_DWSL, "f": "clip"}},
    "dwsl-affine": {"weight": {**PLAIN_DWSL, "f": "affine"}},
    "dwsl-ratio": {"weight": {**PLAIN_DWSL, "f": "ratio"}},
    "dwsl-dwbc": {"weight": {**PLAIN_DWSL, "f": "dwbc", "gold_weight": None}},
    "dwsl-joint": {"weight": {"method": "joint"}},
    "self-paced": {"weight": {"method": "self_paced", "gold_weight": None}},
    "small-loss": {"weight": {"method": "small_loss", "gold_weight": None}},
    "co-teaching": {"weight": {"method": "co_teaching", "gold_weight": None}},
    "co-teaching-plus": {"weight": {"method": "co_teaching_plus", "gold_weight": None}},
    "elr": {"weight": {"method": "elr", "gold_weight": None}},
    "gmm-split": {"weight": {"method": "gmm_split", "gold_weight": None}},
    "confident": {"weight": {"method": "confident", "gold_weight": None}},
    "importance": {"weight": {"method": "importance", "gold_weight": None}},
    "perfect-filter": {"weight": {"method": "perfect_filter", "gold_weight": None}},
    "clean-only": {"weight": {"method": "uniform", "gold_weight": None}, "gold_share": None, "oracle": True},
}  # fmt: skip
DEFAULT_METHODS = ("gold-only", "uniform", "uniform-mixed", "dwsl", "clean-only")
ORACLES = ("perfect-filter", "clean-only")
"""Methods that know more than there is to know; marked so in every table."""
TWICE = ("co-teaching", "co-teaching-plus")
"""Methods that train two models: their rows cost twice the computation of the others."""
