"""On a toy problem with half of the machine labels wrong, the methods that choose by losses choose the clean ones."""

from pathlib import Path

import pytest

from tests.trainer.conftest import make_samples, write_dataset
from tests.trainer.weighting.little_run import Run, Spy, scored
from trainer.config import TrainRecipe
from trainer.data.table import Table
from trainer.weighting.protocol import Weigher


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images, 120 samples, a fifth of them gold, half of the other labels wrong."""
    samples = make_samples(60, gold_every=5, spoil=0.5, seed=3)
    return write_dataset(tmp_path_factory.mktemp("noisy") / "d", samples, name="noisy")


@pytest.fixture
def longer(recipe: TrainRecipe) -> TrainRecipe:
    raw = recipe.model_dump()
    raw["data"] |= {"batch": 16, "gold_share": 0.25}
    raw["optim"] |= {"steps": 450, "warmup": 10, "lr": 4e-3, "checkpoint_every": 1000}
    raw["weight"] = {"method": "dwsl", "gmm_every": 20}
    raw["discriminate"] |= {"judged": 0.5}
    return TrainRecipe.model_validate(raw)


def weights_of_good_and_bad(run: Run) -> tuple[float, float]:
    """Mean weight that machine samples got over the last quarter of the training."""
    table: Table = run.table
    spies: list[Spy] = []

    def spy(weigher: Weigher) -> Spy:
        spies.append(Spy(weigher, samples=len(table), since=0.75))
        return spies[0]

    run.train(spy=spy)
    mean = spies[0].total / spies[0].times
    machine = ~table.is_gold & (spies[0].times > 0)
    good = table.label_iou >= 0.5
    return mean[machine & good].mean().item(), mean[machine & ~good].mean().item()


TIMES = {
    "small-loss": 2.0,
    "co-teaching": 2.0,
    "gmm-split": 1.5,
    "self-paced": 1.1,  # at last it takes everything in
    "dwsl-joint": 5.0,
    "confident": 1.5,  # of the sidecar in little_run, which names half of the wrong ones
}
"""How many times the weight of a wrong label a clean one must get. Co-teaching+ is not here: on a problem this easy its
peers soon agree, and it hardly learns from machine labels at all."""


@pytest.mark.slow
@pytest.mark.parametrize("method", TIMES)
def test_by_the_end_clean_labels_weigh_more_than_wrong_ones(
    method: str, noisy: Path, longer: TrainRecipe
):
    run = Run(root=noisy, table=scored(noisy), recipe=longer, method=method)
    good, bad = weights_of_good_and_bad(run)
    assert good > TIMES[method] * bad
