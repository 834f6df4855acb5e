"""Embeddings of boxes against the formulas: what a patch says alone, and RoI-Align's mean written out."""

import math

import numpy as np
import pytest
import torch
import transformers as hf

from annotators.models.region_text import BINS, EACH_PATCH, RegionText
from tests.annotators.models.scenes import LANDSCAPE, ODD, PORTRAIT, SIZES, THIN

KINDS = ["clip", "siglip"]
BOXES = [
    (10.0, 5.0, 40.0, 45.5), (0.0, 0.0, 90.0, 60.0), (88.2, 58.9, 90.0, 60.0), (30.0, 0.0, 31.0, 60.0)
]  # fmt: skip


@pytest.fixture(scope="module")
def make(tiny):
    def scorer(kind="clip", **options):
        return RegionText(expert="test", options={"model": str(tiny(kind))}, **options)

    return scorer


@pytest.fixture(scope="module")
def nets(tiny):
    return {kind: hf.AutoModel.from_pretrained(tiny(kind)).eval() for kind in KINDS}


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def norm(layer, x):
    spread = x.var(-1, unbiased=False, keepdim=True) + layer.eps
    return (x - x.mean(-1, keepdim=True)) / spread.sqrt() * layer.weight + layer.bias


def feed(mlp, x):
    return linear(mlp.fc2, mlp.activation_fn(linear(mlp.fc1, x)))


@pytest.mark.parametrize("side", [32, 48])
def test_a_patch_of_clip_is_its_value_projection_in_place_of_attention(side, nets):
    net = nets["clip"]
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        tower = net.vision_model
        x = tower.pre_layrnorm(tower.embeddings(pixels, interpolate_pos_encoding=True))
        for layer in tower.encoder.layers[:-1]:
            x = layer(x, attention_mask=None)
        last = tower.encoder.layers[-1]
        value = linear(last.self_attn.v_proj, norm(last.layer_norm1, x))
        x = x + linear(last.self_attn.out_proj, value)
        x = x + feed(last.mlp, norm(last.layer_norm2, x))
        wanted = norm(tower.post_layernorm, x[:, 1:]) @ net.visual_projection.weight.T
        found = EACH_PATCH["clip"](net, pixels)
    assert found.shape == (2, (side // 8) ** 2, 24)
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("side", [32, 48])
def test_a_patch_of_siglip_is_what_the_pooling_head_makes_of_its_value(side, nets):
    net = nets["siglip"]
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        x = net.vision_model(pixels, interpolate_pos_encoding=True).last_hidden_state
        head, width = net.vision_model.head, x.shape[-1]
        weight, bias = head.attention.in_proj_weight, head.attention.in_proj_bias
        value = x @ weight[2 * width :].T + bias[2 * width :]
        pooled = linear(head.attention.out_proj, value)
        wanted = pooled + feed(head.mlp, norm(head.layernorm, pooled))
        found = EACH_PATCH["siglip"](net, pixels)
    assert found.shape == (2, (side // 8) ** 2, 32)
    assert torch.allclose(found, wanted, atol=1e-4)


def slow_mean(patches, box, size_hw):
    """RoI-Align's mean, sample by sample: patch i of n has its centre at (i + 0.5) / n of the picture."""
    d, down, across = patches.shape
    x1, x2 = box[0] * across / size_hw[1] - 0.5, box[2] * across / size_hw[1] - 0.5
    y1, y2 = box[1] * down / size_hw[0] - 0.5, box[3] * down / size_hw[0] - 0.5
    per_x, per_y = math.ceil((x2 - x1) / BINS), math.ceil((y2 - y1) / BINS)
    total = np.zeros(d)
    for row in range(BINS * per_y):
        y = min(max(y1 + (row + 0.5) * (y2 - y1) / (BINS * per_y), 0), down - 1)
        for column in range(BINS * per_x):
            x = min(max(x1 + (column + 0.5) * (x2 - x1) / (BINS * per_x), 0), across - 1)
            i, j = min(int(y), down - 2), min(int(x), across - 2)
            v, u = y - i, x - j
            total += (1 - v) * ((1 - u) * patches[:, i, j] + u * patches[:, i, j + 1])
            total += v * ((1 - u) * patches[:, i + 1, j] + u * patches[:, i + 1, j + 1])
    return total / (BINS * per_y * BINS * per_x)


@pytest.mark.parametrize("grid", [(4, 4), (18, 33)])
def test_a_box_is_the_mean_of_the_patches_under_it_of_length_one(grid, make):
    patches = np.random.default_rng(0).normal(size=(6, *grid)).astype(np.float32)
    found = make()._pool((60, 90), torch.from_numpy(patches), BOXES)
    for box, mine in zip(BOXES, found, strict=True):
        wanted = slow_mean(patches.astype(np.float64), box, (60, 90))
        assert mine == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-5)


def test_a_box_lies_on_the_patches_to_the_half_pixel(make):
    """On a ramp the mean is the value at the middle of the box; an RoI-Align half a patch off would show."""
    down, across = 12, 20
    y, x = np.mgrid[:down, :across].astype(np.float32)
    ramp = np.stack([x + 0.5, y + 0.5, np.ones_like(x)])
    boxes = [(9.0, 12.0, 45.0, 36.0), (31.0, 22.5, 72.0, 24.0), (40.0, 25.0, 41.0, 26.0)]
    for mine, (x1, y1, x2, y2) in zip(
        make()._pool((60, 90), torch.from_numpy(ramp), boxes), boxes, strict=True
    ):
        middle = np.array([(x1 + x2) / 2 * across / 90, (y1 + y2) / 2 * down / 60])
        assert mine[:2] / mine[2] == pytest.approx(middle, abs=1e-4)


def test_of_a_picture_that_is_one_all_over_every_box_says_the_same(make):
    one = torch.tensor([3.0, -1.0, 2.0, 0.5, 1.0])[:, None, None].expand(5, 6, 6)
    found = make()._pool((60, 90), one, BOXES)
    assert found == pytest.approx(np.tile(found[0], (4, 1)), abs=1e-6)
    assert found[0] == pytest.approx(one[:, 0, 0].numpy() / np.linalg.norm(one[:, 0, 0]), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ends_of_a_long_picture_are_seen(kind, make):
    """CLIP's processor would keep the middle square of it."""
    picture = np.full((30, 120, 3), 90, np.uint8)
    painted = picture.copy()
    painted[:, :12], painted[:, -12:] = (250, 10, 10), (10, 10, 250)
    ends = [(0.0, 0.0, 12.0, 30.0), (108.0, 0.0, 120.0, 30.0)]
    plain, seen = make(kind).regions([picture, painted], [ends, ends])
    assert ((plain * seen).sum(axis=1) < 0.99).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [None, 64])
def test_a_batch_gives_what_single_calls_give(kind, side, make):
    images = [*SIZES, *THIN]
    boxes = [
        [(0.0, 0.0, float(i.shape[1]), float(i.shape[0])), (0.2, 0.1, 0.9, 0.8)] for i in images
    ]
    together = make(kind, side=side).regions(images, boxes)
    for image, mine, found in zip(images, boxes, together, strict=True):
        assert found.dtype == np.float32
        assert np.linalg.norm(found, axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
        [alone] = make(kind, side=side).regions([image], [mine])
        assert (alone == found).all()


def test_a_picture_is_encoded_once_however_many_boxes_and_calls(make):
    scorer = make()
    shapes = []
    net = scorer._torch.net
    net.vision_model.register_forward_hook(lambda m, i, o: shapes.append(o[0].shape))
    first = scorer.regions([LANDSCAPE, PORTRAIT, LANDSCAPE.copy()], [BOXES, BOXES[:1], BOXES[:2]])
    again = scorer.regions([LANDSCAPE], [BOXES[2:]])
    assert len(shapes) == 2
    assert (first[0][:2] == first[2]).all()
    assert (again[0] == first[0][2:]).all()


def test_texts_are_those_of_the_model(make, nets):
    for kind in KINDS:
        said = make(kind).texts(["the red mug", "the ball", "\x00"])
        assert np.linalg.norm(said, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
        assert np.abs(said[0] - said[1]).max() > 0.01


def test_a_side_that_cuts_a_patch_is_refused(make):
    with pytest.raises(
        ValueError, match=r"expert 'test': side 60; expected a multiple of 8, the side of a patch"
    ):
        make(side=60).regions([ODD], [[(0.0, 0.0, 5.0, 5.0)]])
    assert make(side=64).regions([ODD], [[(0.0, 0.0, 5.0, 5.0)]])[0].shape == (1, 24)
