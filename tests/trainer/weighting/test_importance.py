"""Importance resampling draws what looks like gold, and only that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data.table import Table, load_table
from trainer.weighting.dataset import dataset_weights
from trainer.weighting.importance import Importance, log_ratio, resample


@pytest.fixture
def table(squares: Path) -> Table:
    return load_table(squares, size_hw=(16, 24))


def test_the_ratio_of_a_word_that_gold_uses_more_is_above_that_of_one_it_does_not():
    words = [["cup"], ["cup"], ["car"], ["car"], ["cup", "car"], []]
    is_gold = np.array([True, True, False, False, False, False])
    ratio = log_ratio(words, is_gold)
    assert ratio[0] > ratio[4] > ratio[2]
    assert ratio[5] == 0.0
    # two buckets in use, of six words three are cups: one count of each joins either side
    cup = np.log((2 + 1) / (2 + 2)) - np.log((1 + 1) / (4 + 2))
    car = np.log((0 + 1) / (2 + 2)) - np.log((3 + 1) / (4 + 2))
    assert ratio.tolist() == pytest.approx([cup, cup, car, car, cup + car, 0.0])


def test_words_that_both_sides_use_alike_say_nothing():
    words = [["cup", "car"], ["cup", "car"], ["cup", "car"]]
    assert log_ratio(words, np.array([True, False, False])) == pytest.approx([0.0] * 3)


def test_text_of_the_topic_of_gold_is_drawn_before_other_text():
    rng = np.random.default_rng(0)
    tea, road = ["mug", "cup", "pot", "spoon", "jar"], ["car", "bus", "lane", "sign", "van"]
    on_topic = rng.random(400) < 0.5
    topics = [rng.choice(tea if on else road, 6) for on in on_topic.tolist()]
    is_gold = on_topic & (np.arange(400) < 120)
    score = log_ratio([list(words) for words in topics], is_gold) + rng.gumbel(size=400)
    machine = np.flatnonzero(~is_gold)
    best = machine[np.argsort(-score[machine])[: int(on_topic[machine].sum())]]
    assert on_topic[best].mean() > 0.9


def test_as_many_are_drawn_as_asked_the_same_for_a_seed_and_no_gold(table: Table):
    drawn = resample(table, keep=0.5, seed=0)
    machine = int((~table.is_gold).sum())
    assert int(drawn.sum()) == round(0.5 * machine)
    assert not bool((drawn & table.is_gold).any())
    assert torch.equal(drawn, resample(table, keep=0.5, seed=0))
    assert not torch.equal(drawn, resample(table, keep=0.5, seed=1))
    weights = dataset_weights(table, Importance(drawn=drawn))
    assert torch.equal(weights > 0, drawn | table.is_gold)


@pytest.mark.parametrize("view", ["text", "shape", "colours"])
def test_each_view_of_a_sample_counts(view: str, table: Table):
    """Half of the machine samples are changed in one view so that gold has nothing like them."""
    changed = ~table.is_gold & (torch.arange(len(table)) % 2 == 0)
    if view == "text":
        odd = (("nothing alike said here",),)
        texts = tuple(
            odd[0] if c else t for c, t in zip(changed.tolist(), table.instructions, strict=True)
        )
        other = replace(table, instructions=texts)
    elif view == "shape":
        target = table.target.clone()
        target[changed] = 0
        target[changed, ::2] = 255
        other = replace(table, target=target)
    else:
        images = table.images[table.image_of].clone()
        images[changed] = images[changed] // 8
        other = replace(table, images=images, image_of=torch.arange(len(table)))
    drawn = torch.stack([resample(other, keep=0.5, seed=seed).float() for seed in range(20)]).mean(
        0
    )
    machine = ~table.is_gold
    assert drawn[changed].mean() + 0.15 < drawn[machine & ~changed].mean()


def test_without_gold_there_is_nothing_to_compare_with(table: Table):
    without = replace(table, is_gold=torch.zeros(len(table), dtype=torch.bool))
    with pytest.raises(ValueError, match="no sample has gold"):
        resample(without, keep=0.5, seed=0)
