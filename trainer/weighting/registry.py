"""Weighing methods by name; the one place that knows them all."""

from collections.abc import Callable

from trainer.weighting.co_teaching import CoTeaching
from trainer.weighting.confident import Confident, read_issues
from trainer.weighting.config import WeightConfig
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.given import Given
from trainer.weighting.gmm_split import GmmSplit
from trainer.weighting.gold_only import GoldOnly
from trainer.weighting.importance import Importance, resample
from trainer.weighting.protocol import Known, Weigher
from trainer.weighting.self_paced import SelfPaced
from trainer.weighting.small_loss import SmallLoss
from trainer.weighting.uniform import Uniform

SIDECARS = {"dwsl": "weights", "given": "weights", "confident": "confident"}
"""The sidecar of `maskmix discriminate` that a method reads; the others read none."""


def make_weigher(config: WeightConfig, known: Known) -> Weigher:
    """The weigher a recipe asks for.

    Raises:
        ValueError: the dataset lacks what the method needs.
    """
    return WEIGHERS[config.method](config, known)


def _gold(config: WeightConfig) -> float:
    return 1.0 if config.gold_weight is None else config.gold_weight


def _dwsl(config: WeightConfig, known: Known) -> Weigher:
    return Dwsl(f=config.f, zero_below=config.zero_below, gold_weight=config.gold_weight)


def _uniform(config: WeightConfig, known: Known) -> Weigher:
    return Uniform(gold_weight=_gold(config))


def _self_paced(config: WeightConfig, known: Known) -> Weigher:
    return SelfPaced(start=config.admit_start, end=config.admit_end, gold_weight=_gold(config))


def _small_loss(config: WeightConfig, known: Known) -> Weigher:
    return SmallLoss(
        noise_rate=config.noise_rate, warmup=config.forget_warmup, gold_weight=_gold(config)
    )


def _co_teaching(config: WeightConfig, known: Known) -> Weigher:
    return CoTeaching(
        noise_rate=config.noise_rate,
        warmup=config.forget_warmup,
        plus=config.method == "co_teaching_plus",
        gold_weight=_gold(config),
    )


def _gmm_split(config: WeightConfig, known: Known) -> Weigher:
    return GmmSplit(
        samples=len(known.store),
        steps=known.steps,
        warmup=config.gmm_warmup,
        every=config.gmm_every,
        gold_weight=_gold(config),
    )


def _confident(config: WeightConfig, known: Known) -> Weigher:
    return Confident(is_issue=read_issues(known.root, known.store.ids), gold_weight=_gold(config))


def _importance(config: WeightConfig, known: Known) -> Weigher:
    drawn = resample(known.store, keep=1.0 - config.noise_rate, seed=known.seed)
    return Importance(drawn=drawn, gold_weight=_gold(config))


WEIGHERS: dict[str, Callable[[WeightConfig, Known], Weigher]] = {
    "uniform": _uniform,
    "gold_only": lambda config, known: GoldOnly(),
    "given": lambda config, known: Given(),
    "dwsl": _dwsl,
    "joint": _dwsl,  # of the verdicts that trainer.objectives.joint hands it
    "self_paced": _self_paced,
    "small_loss": _small_loss,
    "co_teaching": _co_teaching,
    "co_teaching_plus": _co_teaching,
    "elr": _uniform,  # trainer.objectives.early_learning stands beside it
    "gmm_split": _gmm_split,
    "confident": _confident,
    "importance": _importance,
}
