"""The generator: shapes, and that a batch gives what its samples give alone."""

import torch

from trainer.models.tiny.encoders import ImageEncoder
from trainer.models.tiny.segmenter import Segmenter


def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(
        image=ImageEncoder(width=8), vocabulary=12, max_tokens=8, dim=16, depth=2, heads=2
    ).eval()


def test_logits_have_the_size_of_the_frame():
    logits = segmenter()(torch.rand(2, 3, 24, 40), torch.tensor([[2, 3], [4, 5]]))
    assert logits.shape == (2, 1, 24, 40)


def test_a_batch_with_padding_gives_what_its_samples_give_alone():
    model = segmenter()
    image = torch.rand(2, 3, 16, 24)
    together = model(image, torch.tensor([[2, 3, 4, 5], [6, 7, 0, 0]]))
    alone = model(image[1:], torch.tensor([[6, 7]]))
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_the_answer_depends_on_the_image_and_on_the_order_of_words():
    model = segmenter()
    image = torch.rand(1, 3, 16, 24)
    a = model(image, torch.tensor([[2, 3]]))
    assert not torch.allclose(a, model(image, torch.tensor([[3, 2]])))
    assert not torch.allclose(a, model(1 - image, torch.tensor([[2, 3]])))
