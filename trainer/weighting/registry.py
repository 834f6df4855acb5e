"""Weighing methods by name; the one place that knows them all."""

from collections.abc import Callable

from pipeline.sidecar import guesses_sidecar
from trainer.weighting.co_teaching import CoTeaching
from trainer.weighting.confident import SIDECAR as CONFIDENT
from trainer.weighting.confident import Confident, read_issues
from trainer.weighting.config import WeightConfig
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.given import Given
from trainer.weighting.gmm_split import GmmSplit
from trainer.weighting.gold_only import GoldOnly
from trainer.weighting.importance import Importance, resample
from trainer.weighting.perfect_filter import PerfectFilter, good_labels
from trainer.weighting.protocol import Known, Weigher
from trainer.weighting.self_paced import SelfPaced
from trainer.weighting.small_loss import SmallLoss
from trainer.weighting.uniform import Uniform

WEIGHTS = "weights"
ORACLES = ("perfect_filter",)
"""Methods that read audit gold."""


def sidecars(config: WeightConfig, *, weights: str = WEIGHTS) -> tuple[str, ...]:
    """Names of the sidecars of `maskmix discriminate` that a training reads, where its scores are called `weights`."""
    if config.method == "confident":
        return (CONFIDENT,)
    if config.method == "dwsl" and config.correct:
        return (weights, guesses_sidecar(weights))
    return (weights,) if config.method in ("dwsl", "given") else ()


def make_weigher(config: WeightConfig, known: Known) -> Weigher:
    """The weigher a recipe asks for.

    Raises:
        ValueError: the dataset lacks what the method needs.
    """
    return WEIGHERS[config.method](config, known)


def _gold(config: WeightConfig) -> float:
    assert config.gold_weight != "judged", config.method
    return 1.0 if config.gold_weight is None else config.gold_weight


def _dwsl(config: WeightConfig, known: Known) -> Weigher:
    return Dwsl(
        f=config.f,
        zero_below=config.zero_below,
        corrected=config.correct,
        gold_weight=config.gold_weight,
    )


def _joint(config: WeightConfig, known: Known) -> Weigher:
    return Dwsl(f=config.f, zero_below=config.zero_below, gold_weight=config.gold_weight)


def _uniform(config: WeightConfig, known: Known) -> Weigher:
    return Uniform(gold_weight=_gold(config))


def _self_paced(config: WeightConfig, known: Known) -> Weigher:
    return SelfPaced(start=config.admit_start, end=config.admit_end, gold_weight=_gold(config))


def _small_loss(config: WeightConfig, known: Known) -> Weigher:
    return SmallLoss(
        noise_rate=config.noise_rate,
        warmup=config.forget_warmup,
        gold_weight=_gold(config),
        world=known.world,
    )


def _co_teaching(config: WeightConfig, known: Known) -> Weigher:
    return CoTeaching(
        noise_rate=config.noise_rate,
        warmup=config.forget_warmup,
        plus=config.method == "co_teaching_plus",
        gold_weight=_gold(config),
        world=known.world,
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


def _perfect_filter(config: WeightConfig, known: Known) -> Weigher:
    return PerfectFilter(is_good=good_labels(known.root, known.store), gold_weight=_gold(config))


def _importance(config: WeightConfig, known: Known) -> Weigher:
    drawn = resample(known.store, keep=1.0 - config.noise_rate, seed=known.seed)
    return Importance(drawn=drawn, gold_weight=_gold(config))


WEIGHERS: dict[str, Callable[[WeightConfig, Known], Weigher]] = {
    "uniform": _uniform,
    "gold_only": lambda config, known: GoldOnly(),
    "perfect_filter": _perfect_filter,
    "given": lambda config, known: Given(),
    "dwsl": _dwsl,
    "joint": _joint,  # of the verdicts that trainer.objectives.joint hands it
    "self_paced": _self_paced,
    "small_loss": _small_loss,
    "co_teaching": _co_teaching,
    "co_teaching_plus": _co_teaching,
    "elr": _uniform,  # trainer.objectives.early_learning stands beside it
    "gmm_split": _gmm_split,
    "confident": _confident,
    "importance": _importance,
}
