"""From a recipe to what its training minimises; the one place that knows the objectives of stage II."""

from typing import Any

from torch import nn

from trainer.config import TrainRecipe
from trainer.engine.distributed import World
from trainer.models.light_head import LightHead
from trainer.objectives.early_learning import EarlyLearning
from trainer.objectives.hiding import FeatureMask, Hiding
from trainer.objectives.joint import Joint
from trainer.objectives.segmentation import Segmentation
from trainer.weighting.protocol import Weigher


def make_objective(
    recipe: TrainRecipe,
    *,
    weigher: Weigher,
    model: nn.Module,
    samples: int,
    world: World | None = None,
) -> Segmentation | Joint | Hiding:
    """The objective of `recipe.weight.method` for a dataset of `samples` samples, with features hidden as `hide` says.

    What it has of parameters comes from torch's global generator. `model` says how wide a head on it must be, and how
    many levels of features there are; `world`, who else computes a part of each batch.

    Raises:
        ValueError: the recipe's options do not fit its training frame or the model.
    """
    objective = _weighted(recipe, weigher=weigher, model=model, samples=samples, world=world)
    if recipe.hide.kind == "none":
        return objective
    encodes: Any = model  # a MaskModel
    return Hiding(objective, FeatureMask(recipe.hide, levels=len(encodes.map_channels)))


def _weighted(
    recipe: TrainRecipe, *, weigher: Weigher, model: nn.Module, samples: int, world: World | None
) -> Segmentation | Joint:
    weight = recipe.weight
    if weight.method == "joint":
        sees: Any = model  # a MaskModel
        head = LightHead(channels=sees.map_channels[-1], text_dim=sees.text_dim)
        return Joint(
            loss=recipe.loss,
            judge=recipe.discriminate,
            head=head,
            weigher=weigher,
            warmup=weight.joint_warmup,
            world=world,
        )
    regulariser = None
    if weight.method == "elr":
        regulariser = EarlyLearning(
            samples=samples,
            size_hw=recipe.data.size_hw,
            weight=weight.elr_lambda,
            beta=weight.elr_beta,
            cell=weight.elr_cell,
        )
    return Segmentation(
        loss=recipe.loss,
        weigher=weigher,
        regulariser=regulariser,
        disagree_iou=weight.disagree_iou,
    )
