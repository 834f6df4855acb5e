"""InfoNCE both ways against a few plain lines; what counts as the same is no negative."""

import math

import pytest
import torch
from torch import Tensor

from trainer.contrast import info_nce, name_of_text, repeated


def plainly(image: Tensor, text: Tensor, scale: float) -> Tensor:
    p = (scale * image @ text.T).exp()
    return -0.5 * ((p.diag() / p.sum(1)).log() + (p.diag() / p.sum(0)).log())


def unit(b: int, j: int, seed: int = 0) -> Tensor:
    made = torch.randn(b, j, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made / made.norm(dim=1, keepdim=True)


def alone(image: Tensor, text: Tensor, scale: float, left_out: Tensor | None = None) -> Tensor:
    own = torch.arange(len(image))
    return info_nce(
        image, text, images=image, texts=text, scale=torch.tensor(scale), own=own, left_out=left_out
    )


def test_each_sample_pays_what_the_formula_says_and_exchanging_the_sides_changes_nothing():
    image, text = unit(7, 5, 1), unit(7, 5, 2)
    losses = alone(image, text, 3.0)
    torch.testing.assert_close(losses, plainly(image, text, 3.0))
    torch.testing.assert_close(losses, alone(text, image, 3.0))
    assert not torch.allclose(losses, plainly(image, text, 2.0))


@pytest.mark.parametrize("b", [2, 9, 64])
def test_features_that_say_nothing_pay_the_logarithm_of_the_batch(b: int):
    same = unit(1, 5).expand(b, 5)
    torch.testing.assert_close(
        alone(same, same, 14.0), torch.full((b,), math.log(b), dtype=torch.float64)
    )


def test_pairs_found_without_doubt_pay_nothing():
    eye = torch.eye(4)
    assert (alone(eye, eye, 100.0) < 1e-6).all()


def test_samples_with_the_same_text_or_image_are_not_held_against_each_other():
    image, text = unit(4, 6, 1), unit(4, 6, 2)
    names = torch.tensor([[5, 0], [6, 1], [5, 2], [7, 1]])  # 0 and 2 share a text, 1 and 3 an image
    left_out = repeated(names, names, own=torch.arange(4))
    assert left_out.nonzero().tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]
    losses = alone(image, text, 2.0, left_out)
    for i, others in enumerate([[1, 3], [0, 2], [1, 3], [0, 2]]):
        kept = [i, *others]
        first = plainly(image[kept], text[kept], 2.0)[0]
        torch.testing.assert_close(losses[i], first)


def test_where_all_are_the_same_there_is_nothing_to_learn():
    image, text = unit(3, 4, 1).requires_grad_(), unit(3, 4, 2)
    names = torch.zeros(3, 2, dtype=torch.int64)
    losses = alone(image, text, 2.0, repeated(names, names, own=torch.arange(3)))
    losses.sum().backward()
    assert losses.tolist() == [0, 0, 0]
    assert image.grad is not None
    assert not image.grad.any()


def test_a_part_of_the_batch_pays_what_it_pays_in_the_whole():
    image, text = unit(6, 5, 1), unit(6, 5, 2)
    own = torch.tensor([1, 4])
    part = info_nce(
        image[own], text[own], images=image, texts=text, scale=torch.tensor(3.0), own=own
    )
    torch.testing.assert_close(part, plainly(image, text, 3.0)[own])


def test_the_name_of_a_text_knows_its_words_and_their_order_but_no_padding():
    tokens = torch.tensor([[3, 4, 5], [3, 4, 0], [4, 3, 0], [3, 4, 5]])
    names = name_of_text(tokens)
    assert len(set(names.tolist())) == 3
    assert names[0] == names[3]
    wider = torch.nn.functional.pad(tokens, (0, 5))
    assert name_of_text(wider).equal(names)
    generator = torch.Generator().manual_seed(0)
    many = torch.randint(1, 5000, (20_000, 24), generator=generator)
    assert len(set(name_of_text(many).tolist())) == 20_000
    nearly = torch.full((500, 24), 9) + torch.nn.functional.pad(
        torch.arange(500)[:, None], (11, 12)
    )
    assert len(set(name_of_text(nearly).tolist())) == 500
