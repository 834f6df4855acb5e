"""The conditioned mask decoder: the reference's size, segment-anything's numbers, and padding that changes nothing."""

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer as Reference
from torch import Tensor

from trainer.models.base.mask_decoder import MaskDecoder
from trainer.models.base.two_way import TwoWayTransformer


def tiny() -> MaskDecoder:
    torch.manual_seed(0)
    return MaskDecoder(dim=32, depth=2, heads=4, mlp=48).eval()


def asked(b: int, t: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(b, 32, 6, 5), torch.randn(b, t, 32)


def test_the_reference_configuration_has_3505280_parameters() -> None:
    with torch.device("meta"):
        decoder = MaskDecoder()
    assert sum(p.numel() for p in decoder.parameters()) == 3_505_280
    matrix = decoder.state_dict()["pe_layer.positional_encoding_gaussian_matrix"]
    assert matrix.shape == (2, 128)


def test_two_way_equals_segment_anythings_where_nothing_is_hidden() -> None:
    torch.manual_seed(0)
    reference = Reference(depth=3, embedding_dim=32, num_heads=4, mlp_dim=48).eval()
    ours = TwoWayTransformer(dim=32, depth=3, heads=4, mlp=48).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    ours.load_state_dict(reference.state_dict())
    image, tokens = asked(2, 7)
    place = torch.randn(1, 32, 6, 5)
    with torch.no_grad():
        want = reference(image, place, tokens)
        flat = place[0].flatten(1).t()
        got = ours(image.flatten(2).transpose(1, 2), flat, tokens)
        told = ours(image.flatten(2).transpose(1, 2), flat, tokens, torch.ones(2, 7).bool())
    for a, b, c in zip(want, got, told, strict=True):
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(c, a, atol=1e-5, rtol=1e-5)


def test_logits_have_four_times_the_size_of_the_features() -> None:
    features, condition = asked(3, 1)
    assert tiny()(features, condition).shape == (3, 1, 24, 20)


def test_padding_changes_nothing_and_would_if_it_were_not_hidden() -> None:
    decoder = tiny()
    features, condition = asked(2, 4)
    padded = torch.cat([condition, torch.full((2, 3, 32), 9.0)], 1)
    real = torch.tensor([[True] * 4 + [False] * 3] * 2)
    with torch.no_grad():
        alone = decoder(features, condition)
        hidden = decoder(features, padded, real)
        seen = decoder(features, padded)
    torch.testing.assert_close(hidden, alone, atol=1e-5, rtol=1e-5)
    assert (seen - alone).abs().max() > 1e-3


def test_a_batch_gives_what_its_samples_give_alone() -> None:
    decoder = tiny()
    features, condition = asked(3, 4)
    real = torch.tensor([[True] * n + [False] * (4 - n) for n in (1, 4, 2)])
    with torch.no_grad():
        together = decoder(features, condition, real)
        for i, n in enumerate((1, 4, 2)):
            alone = decoder(features[i : i + 1], condition[i : i + 1, :n])
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


def test_the_places_of_the_image_are_part_of_what_is_saved() -> None:
    one, features_condition = tiny(), asked(1, 1)
    torch.manual_seed(5)
    other = MaskDecoder(dim=32, depth=2, heads=4, mlp=48).eval()
    with torch.no_grad():
        want = one(*features_condition)
        other.load_state_dict(dict(one.named_parameters()), strict=False)
        assert (other(*features_condition) - want).abs().max() > 1e-4
        other.load_state_dict(one.state_dict())
        assert torch.equal(other(*features_condition), want)


def test_places_are_float32_under_autocast() -> None:
    decoder = tiny()
    plain = decoder.places((8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(decoder.places((8, 8)), plain)
    assert plain.dtype == torch.float32


def test_every_parameter_takes_part() -> None:
    decoder = tiny()
    decoder(*asked(2, 3)).square().mean().backward()
    still = [
        name
        for name, p in decoder.named_parameters()
        if (p.grad is None or not p.grad.any()) and not name.endswith("k_proj.bias")
    ]
    assert still == []


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        MaskDecoder(dim=20)
    with pytest.raises(ValueError, match="divides evenly"):
        MaskDecoder(dim=40, heads=8)
