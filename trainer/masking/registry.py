"""From a recipe to a masking; the one place that knows them all."""

from collections.abc import Callable

from trainer.masking.attention import Similarity
from trainer.masking.coloured_noise import ColouredNoise
from trainer.masking.config import MaskingConfig
from trainer.masking.gaussian_field import GaussianField
from trainer.masking.loss_guided import LossGuided
from trainer.masking.protocol import Masking
from trainer.masking.ratios import AdaptiveRatio, FixedRatio
from trainer.masking.salience import Salience
from trainer.masking.threshold import Threshold
from trainer.masking.uniform import Uniform


def make_masking(config: MaskingConfig) -> Masking:
    """The masking that a recipe asks for."""
    return MASKINGS[config.kind](config)


def _salience(config: MaskingConfig) -> Masking:
    ratio = FixedRatio(ratio=config.ratio)
    if config.adaptive != "none":
        ratio = AdaptiveRatio(
            base=config.ratio, spread=config.spread, delta=config.delta, per=config.adaptive
        )
    return Salience(
        ratio=ratio,
        normalised=config.normalised,
        temperature=config.temperature,
        noise=config.noise,
    )


def _similarity(config: MaskingConfig) -> Similarity:
    return "cosine" if config.normalised else "dot"


def _threshold(config: MaskingConfig) -> Masking:
    return Threshold(ratio=config.ratio, similarity=_similarity(config))


def _rf_gam(config: MaskingConfig) -> Masking:
    return GaussianField(ratio=config.ratio, sigma=config.sigma, similarity=_similarity(config))


def _coloured(config: MaskingConfig) -> Masking:
    return ColouredNoise(
        ratio=config.ratio,
        colour=config.colour,
        sigma=config.sigma,
        wider_sigma=config.wider_sigma,
    )


def _loss_guided(config: MaskingConfig) -> Masking:
    return LossGuided(ratio=config.ratio, start=config.guided_start, end=config.guided_end)


MASKINGS: dict[str, Callable[[MaskingConfig], Masking]] = {
    "uniform": lambda config: Uniform(ratio=config.ratio),
    "salience": _salience,
    "threshold": _threshold,
    "rf-gam": _rf_gam,
    "coloured": _coloured,
    "loss-guided": _loss_guided,
}
