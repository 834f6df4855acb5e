"""Regions by CLIP: what the model is shown of a region, how cosines become candidates, and what is made once."""

from functools import cache

import numpy as np
import pytest
import torch

from annotators.boxes import box_of
from annotators.models.encodings import Encodings
from annotators.models.image_text import ImageText
from annotators.registry import make_expert
from annotators.sam.clip_regions import on_scale, standing_out
from annotators.sam.region_crops import COLOURS, crop_of
from tests.annotators.models.scenes import LANDSCAPE, ODD, PORTRAIT, THIN, check, said
from tests.annotators.sam.tiny_hf_sam import save_tiny
from tests.annotators.sam.tiny_sam import save, tiny_sam

EASY = {
    "points_per_side": 3, "least_predicted_iou": -99.0, "least_stability": 0.0, "most_box_iou": 1.0, "least_area": 0.0
}  # fmt: skip
"""A random SAM is never sure; here every mask counts."""


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    return cache(lambda kind: str(save_tiny(kind, tmp_path_factory.mktemp(kind))))


@pytest.fixture(scope="module")
def make(tiny, sam):
    """An expert with tiny models that abstains on nearly nothing; options override."""

    def expert(*, image_text="clip", segmenter="sam", **options):
        given = {"model": str(tiny(image_text)), "sam": sam(segmenter), "margin": 1e-6, **EASY}
        return make_expert("clip_regions", {**given, **options})

    expert().segment_text(
        [ODD], [said("mug")]
    )  # libraries are imported here, not in the first test
    return expert


def disc(height, width, cy, cx, radius):
    y, x = np.mgrid[:height, :width]
    return (y - cy) ** 2 + (x - cx) ** 2 <= radius**2


@pytest.mark.parametrize("fill", ["blur", "mean", "grey"])
def test_a_crop_is_square_and_holds_the_region_as_it_is(fill):
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    mask = disc(40, 70, 15, 50, 9)
    mask[15, 30:50] = True
    x1, y1, x2, y2 = (int(v) for v in box_of(mask))
    crop = crop_of(image, mask, box_of(mask), context=0.0, fill=fill)
    side = max(x2 - x1, y2 - y1)
    assert crop.shape == (side, side, 3)
    down = (side - (y2 - y1)) // 2
    part = crop[down : down + y2 - y1]
    inside = mask[y1:y2, x1:x2]
    assert (part[inside] == image[y1:y2, x1:x2][inside]).all()
    assert (crop[:down] == COLOURS["grey" if fill == "grey" else "mean"]).all()
    if fill == "blur":
        assert part[~inside].std() < image[y1:y2, x1:x2][~inside].std() / 2
    else:
        assert (part[~inside] == COLOURS[fill]).all()


def test_context_is_seen_as_far_as_the_picture_reaches():
    image = np.zeros((40, 70, 3), np.uint8)
    mask = np.zeros((40, 70), bool)
    mask[0:10, 30:50] = True
    crop = crop_of(image, mask, (30.0, 0.0, 50.0, 10.0), context=0.5, fill="mean")
    assert crop.shape == (40, 40, 3)  # 20 wide and 10 to each side; 10 high and 10 below
    assert (crop == 0).all(axis=2).sum() == 200


def test_cosines_are_placed_between_the_lowest_and_the_highest_and_measured_from_the_median():
    cosines = np.array([0.20, 0.30, 0.22, 0.21, 0.25])
    assert on_scale(cosines) == pytest.approx([0.0, 1.0, 0.2, 0.1, 0.5])
    assert standing_out(cosines) == pytest.approx([0.0, 0.8, 0.0, 0.0, 0.3])
    assert on_scale(np.full(4, 0.2)).tolist() == standing_out(np.full(4, 0.2)).tolist() == [0.0] * 4


@pytest.mark.parametrize("image_text", ["clip", "siglip"])
def test_candidates_are_the_regions_that_the_phrase_is_most_like(image_text, make, tiny):
    expert = make(image_text=image_text, least_height=0.6, max_candidates=4)
    phrases = said("the red mug", "blue ball")
    [found] = expert.segment_text([LANDSCAPE], [phrases])
    regions = expert._regions_of(LANDSCAPE)
    alone = ImageText(expert="test", options={"model": str(tiny(image_text))})
    texts = [f"a photo of {phrase.text}" for phrase in phrases]
    cosines = alone.similarities(regions.crops, texts).astype(np.float64)
    for number in range(2):
        mine = [candidate for candidate in found if candidate.phrase == number]
        column = cosines[:, number]
        order = [r for r in np.argsort(-column) if on_scale(column)[r] >= 0.6][:4]
        assert [c.made_by.score_raw for c in mine] == pytest.approx(column[order], abs=1e-6)
        assert [c.mask_score for c in mine] == pytest.approx(standing_out(column)[order], abs=1e-4)
        assert mine[0].mask == regions.masks[order[0]].rle
        assert mine[0].stability == regions.masks[order[0]].stability


@pytest.mark.slow
def test_it_abstains_where_no_region_stands_out_or_too_few_are_there_to_compare(make):
    phrases = said("the red mug")
    assert make().segment_text([LANDSCAPE], [phrases]) != [[]]
    assert make(margin=2.0).segment_text([LANDSCAPE], [phrases]) == [[]]
    assert make(max_regions=2).segment_text([LANDSCAPE], [phrases]) == [[]]
    assert make(least_area=1.1).segment_text([LANDSCAPE], [phrases]) == [[]]


def test_regions_are_cut_and_seen_once_for_all_phrases_samples_and_calls(make):
    expert = make()
    cuts, looks = [], []
    expert._prompted.net.mask_decoder.register_forward_hook(lambda *_: cuts.append(1))
    expert._scorer._torch.net.vision_model.register_forward_hook(lambda *_: looks.append(1))
    rows = [said("the red mug", "blue ball"), said("the box"), []]
    first = expert.segment_text([LANDSCAPE, LANDSCAPE.copy(), ODD], rows)
    done = len(cuts), len(looks)
    assert done[0] == 5  # nine points, two at once
    assert first[2] == []
    assert expert.segment_text([LANDSCAPE], [rows[1]]) == [first[1]]
    assert (len(cuts), len(looks)) == done


@pytest.mark.slow
def test_a_batch_gives_what_single_calls_give_and_says_who_made_it(make):
    images = [i.copy() for i in (LANDSCAPE, PORTRAIT, THIN[0], THIN[1], ODD)]
    rows = [said("the red mug")] * 5
    expert = make(segmenter="sam2")
    for image in images:
        image.setflags(write=False)
    batched = expert.segment_text(images, rows)
    expert._regions = Encodings(1)
    for image, row, answers in zip(images, rows, batched, strict=True):
        assert expert.segment_text([image], [row]) == [answers]
        for answer in answers:
            check(answer, image, 1, expert)
    assert sum(map(bool, batched)) >= 3
    assert expert.segment_text([], []) == []
    assert expert.segment_text([LANDSCAPE], [said("\x00", "<>")]) == [[]]


def test_the_identity_names_both_models_and_is_held_to_both_revisions(make, tiny, sam):
    who = make().identity
    assert who.model == f"{tiny('clip')}+{sam('sam')}"
    assert make(revision=who.revision).identity == who
    first, second = who.revision.split("+")
    for wrong in (f"{second}+{first}", f"{first}+{first}", f"+{first}"):
        with pytest.raises(ValueError, match="the files changed"):
            _ = make(revision=wrong).identity
    assert make(fill="grey").identity.config_hash != who.config_hash


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"revision": "main"}, r"'main'.*MODEL\+SAM"),
        ({"fill": "white"}, "fill 'white'; expected blur, mean, grey"),
        ({"margin": 0.0}, "expected a margin above 0"),
        ({"prompt": "photo"}, "expected one {}"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words, make):
    with pytest.raises(ValueError, match=words):
        make(**options)


def test_a_missing_checkpoint_is_refused_with_the_command_that_gets_it(make):
    with pytest.raises(ValueError, match=r"no such file.*wget"):
        _ = make(sam="nowhere/sam_vit_b_01ec64.pth").identity


def test_a_checkpoint_of_segment_anything_cuts_the_regions_too(make, tmp_path):
    file = save(tiny_sam(), tmp_path / "sam_vit_b_01ec64.pth")
    expert = make(sam=str(file))
    [found] = expert.segment_text([ODD], [said("the red mug")])
    assert expert.identity.model.endswith(f"+{file}")
    assert found
    for answer in found:
        assert answer.mask.size_hw == ODD.shape[:2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_agrees_with_the_cpu(make):
    rows = [said("the red mug")]
    [there] = make(device="cuda", dtype="float32").segment_text([LANDSCAPE], rows)
    [here] = make(device="cpu", dtype="float32").segment_text([LANDSCAPE], rows)
    assert there[0].mask.iou(here[0].mask) >= 0.99
    assert there[0].made_by.score_raw == pytest.approx(here[0].made_by.score_raw, abs=1e-3)


def test_a_single_region_divides_by_nothing():
    """IVM's map is min-max over the regions: of one region it is 0 / 0."""
    for cosine in (-0.1, 0.0, 0.3):
        alone = np.array([cosine])
        assert on_scale(alone).tolist() == standing_out(alone).tolist() == [0.0]
