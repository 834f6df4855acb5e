"""Importance by attention, against sums written out."""

import math

import pytest
import torch

from trainer.data.chance import keys
from trainer.masking.attention import attend, column_means, or_by_chance, stretched


def tokens(b: int = 2, count: int = 6, width: int = 5) -> torch.Tensor:
    return torch.randn(b, count, width, generator=torch.Generator().manual_seed(0))


def test_attention_is_the_softmax_of_products_over_the_root_of_the_width():
    x = tokens()
    found = attend(x, similarity="dot")
    for b in range(2):
        for k in range(6):
            raised = [math.exp(float(x[b, k] @ x[b, j]) / math.sqrt(5)) for j in range(6)]
            expected = torch.tensor([r / sum(raised) for r in raised])
            torch.testing.assert_close(found[b, k], expected)


def test_importance_is_the_mean_of_a_column_and_not_of_a_row():
    found = attend(tokens(), similarity="dot")
    torch.testing.assert_close(found.sum(2), torch.ones(2, 6))
    means = column_means(found)
    for j in range(6):
        others = [found[:, k, j] for k in range(6) if k != j]
        torch.testing.assert_close(means[:, j], sum(others) / 5)
    assert not torch.allclose(means, means.flip(1))


def test_a_patch_that_looks_only_at_itself_does_not_drown_what_others_think_of_it():
    """Beside a diagonal of 1 the others' 1e-9 would be lost to a subtraction in float32."""
    found = torch.eye(3)[None] + torch.tensor([[[0, 2e-9, 1e-9], [1e-9, 0, 1e-9], [1e-9, 4e-9, 0]]])
    torch.testing.assert_close(column_means(found)[0], torch.tensor([1e-9, 3e-9, 1e-9]))


def test_length_plays_no_part_in_the_cosine():
    x = tokens()
    longer = x * torch.tensor([1.0, 9.0, 0.1, 3.0, 2.0, 5.0])[:, None]
    cosine = [attend(t, similarity="cosine") for t in (x, longer)]
    torch.testing.assert_close(*cosine)
    assert not torch.allclose(attend(longer, similarity="dot"), attend(x, similarity="dot"))


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_a_blank_image_has_no_importance_and_is_left_to_chance(similarity):
    blank = torch.full((2, 6, 5), 0.3)
    means = column_means(attend(blank, similarity=similarity))
    assert stretched(means).eq(0).all()
    chosen = or_by_chance(means, keys(0, range(2)))
    assert chosen.isfinite().all()
    assert len(chosen.unique()) == 12
    assert attend(torch.zeros(1, 4, 3), similarity=similarity).isfinite().all()


def test_importance_goes_from_zero_to_one_and_chance_leaves_it_alone():
    means = column_means(attend(tokens(), similarity="dot"))
    found = stretched(means)
    assert found.amin(1).tolist() == [0.0, 0.0]
    assert found.amax(1).tolist() == [1.0, 1.0]
    assert torch.equal(found.argsort(1), means.argsort(1))
    assert torch.equal(or_by_chance(means, keys(0, range(2))), means)
