"""Colour names, places and saliency on pictures whose answer is known."""

import numpy as np
import pytest

from annotators.classical.colour_map import PROTOTYPES, colour_map
from annotators.classical.place_map import HALVES, place_map
from annotators.classical.saliency_map import saliency_map
from annotators.classical.size import measure
from annotators.classical.view import cut, enlarge, pieces, shrink
from annotators.language.lexicon import COLOURS, PLACES, SIZES
from annotators.language.noun_lore import MATERIAL_COLOURS, TYPICAL_COLOURS


def lab_of(rgb):
    return shrink(np.array([[rgb]], np.uint8), longest=1).lab


@pytest.mark.parametrize("name", list(PROTOTYPES))
def test_a_prototype_has_its_own_name(name):
    for rgb in PROTOTYPES[name]:
        assert colour_map(lab_of(rgb), [name])[0, 0] > 0.35


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((255, 0, 0), "red"), ((0, 255, 0), "green"), ((0, 0, 255), "blue"), ((255, 255, 0), "yellow"),
     ((0, 255, 255), "cyan"), ((255, 255, 255), "white"), ((0, 0, 0), "black"), ((128, 128, 128), "grey"),
     ((255, 165, 0), "orange"), ((128, 0, 128), "purple"), ((255, 192, 203), "pink"), ((139, 69, 19), "brown")],
)  # fmt: skip
def test_web_colours_get_their_names(rgb, name):
    assert colour_map(lab_of(rgb), [name])[0, 0] > 0.5


def test_memberships_of_all_names_add_up_to_one():
    lab = shrink(np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8), longest=6).lab
    total = sum(colour_map(lab, [name]).astype(np.float64) for name in PROTOTYPES)
    assert np.abs(total - 1).max() < 1e-5


def test_shades_split_a_colour():
    dark, light = lab_of((20, 60, 30)), lab_of((130, 200, 110))
    assert colour_map(dark, ["dark green"]) > 0.5 > colour_map(light, ["dark green"])
    assert colour_map(light, ["light green"]) > 0.5 > colour_map(dark, ["light green"])
    assert colour_map(dark, ["dark"]) > 0.5


def test_every_colour_and_place_of_the_lexicon_can_be_pointed_at():
    lab = lab_of((10, 20, 30))
    colours = {
        *COLOURS.values(),
        *(c for t in (TYPICAL_COLOURS, MATERIAL_COLOURS) for cs in t.values() for c in cs),
    }
    for name in colours:
        assert 0 <= colour_map(lab, [name])[0, 0] <= 1
    assert set(PLACES.values()) <= {*HALVES, "middle"}
    assert all(measure(size, (0, 0, 2, 3), 6) > 0 for size in SIZES.values())


def test_an_unknown_colour_is_refused():
    with pytest.raises(ValueError, match="unknown colour name: 'plaid'"):
        colour_map(lab_of((0, 0, 0)), ["plaid"])


@pytest.mark.parametrize(
    ("places", "y", "x"),
    [(["left"], 25, 5), (["right"], 25, 95), (["top", "left"], 5, 5), (["bottom", "right"], 45, 95),
     (["middle"], 25, 50), (["near"], 45, 50), (["far"], 5, 50), (["middle", "left"], 25, 5)],
)  # fmt: skip
def test_a_place_is_where_it_says(places, y, x):
    fit = place_map(places, (50, 100))
    assert fit[y, x] > 0.7
    assert fit[49 - y if places != ["middle"] else 0, 99 - x if places != ["middle"] else 0] < 0.4


def test_a_disc_stands_out_and_an_even_picture_does_not():
    image = np.full((80, 100, 3), 90, np.uint8)
    y, x = np.mgrid[:80, :100]
    disc = (y - 40) ** 2 + (x - 55) ** 2 < 15**2
    image[disc] = (200, 40, 40)
    values = saliency_map(shrink(image, longest=100))
    assert values[disc].mean() > 0.6 > 0.15 > values[~disc].mean()
    assert saliency_map(shrink(np.full((80, 100, 3), 90, np.uint8), longest=100)).max() == 0


def test_a_steep_edge_is_stable_and_a_slope_is_not():
    steep = np.repeat(np.array([[0.0, 0, 1, 1]], np.float32), 4, axis=0)
    slope = np.tile(np.linspace(0, 1, 40, dtype=np.float32), (4, 1))
    assert cut(steep, (4, 4), at=0.5, spread=0.1)[1] == 1.0
    mask, stability = cut(slope, (4, 40), at=0.5, spread=0.1)
    assert mask.sum() == 80
    assert 0.5 < stability < 0.8


def test_views_keep_small_images_and_bound_large_ones():
    assert shrink(np.zeros((30, 40, 3), np.uint8), longest=100).lab.shape == (30, 40, 3)
    assert shrink(np.zeros((300, 400, 3), np.uint8), longest=100).lab.shape == (75, 100, 3)
    assert shrink(np.zeros((3, 2000, 3), np.uint8), longest=100).lab.shape == (1, 100, 3)
    assert enlarge(np.ones((2, 3), np.float32), (20, 30)).shape == (20, 30)


def test_pieces_come_largest_first():
    mask = np.zeros((6, 9), bool)
    mask[0, 0] = True
    mask[2:5, 4:8] = True
    (large, box, area), (_, _, one) = pieces(mask)
    assert (box, area, one) == ((4, 2, 8, 5), 12, 1)
    assert large.sum() == 12
    assert len(pieces(mask, least=2)) == 1
