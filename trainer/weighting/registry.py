"""Weighing methods by name; the one place that knows them all."""

from trainer.weighting.config import WeightConfig
from trainer.weighting.dwsl import Dwsl
from trainer.weighting.given import Given
from trainer.weighting.gold_only import GoldOnly
from trainer.weighting.protocol import Weigher
from trainer.weighting.uniform import Uniform


def make_weigher(config: WeightConfig) -> Weigher:
    """The weigher a recipe asks for."""
    if config.method == "uniform":
        return Uniform()
    if config.method == "gold_only":
        return GoldOnly()
    if config.method == "given":
        return Given()
    return Dwsl(f=config.f, zero_below=config.zero_below, gold_weight=config.gold_weight)
