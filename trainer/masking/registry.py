"""From a recipe to a masking; the one place that knows them all."""

from collections.abc import Callable

from trainer.masking.config import MaskingConfig
from trainer.masking.protocol import Masking
from trainer.masking.uniform import Uniform


def make_masking(config: MaskingConfig) -> Masking:
    """The masking that a recipe asks for."""
    return MASKINGS[config.kind](config)


MASKINGS: dict[str, Callable[[MaskingConfig], Masking]] = {
    "uniform": lambda config: Uniform(ratio=config.ratio),
}
