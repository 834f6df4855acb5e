"""The expert "sam": what every segmenter promises, with a tiny checkpoint; and encode once."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from annotators.candidate import Proposal, Provenance
from annotators.protocols import Segmenter
from annotators.registry import make_expert
from tests.annotators.sam.tiny_sam import photograph, save, tiny_sam

SIZES = [(90, 120), (130, 60), (1, 1), (3, 200), (64, 64), (1, 400)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save(tiny_sam(), tmp_path_factory.mktemp("sam") / "sam.pth")


@pytest.fixture(scope="module")
def expert(path):
    return make_expert("sam", {"model": str(path), "device": "cpu"})


def images():
    return [photograph(*size, seed=i) for i, size in enumerate(SIZES)]


def proposals(image, n=2):
    height, width = image.shape[:2]
    shares = [(0.1, 0.3, 0.45, 0.75), (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.9, 0.9)][:n]
    return [
        Proposal(
            box=(x1 * width, y1 * height, x2 * width, y2 * height),
            phrase=i + 1,
            score=0.5,
            made_by=Provenance(expert="test"),
        )
        for i, (x1, y1, x2, y2) in enumerate(shares)
    ]


def test_masks_are_those_of_the_predictor(expert):
    predictor = SamPredictor(tiny_sam())
    image = photograph(90, 120)
    predictor.set_image(image)
    asked = proposals(image, 3)
    found = {c.proposal: c for c in expert.segment([image], [asked])[0]}
    for index, proposal in enumerate(asked):
        [mask], [iou], _ = predictor.predict(box=np.array(proposal.box), multimask_output=False)
        if not mask.any():
            assert index not in found
            continue
        mine = found[index].mask.array()
        assert (mine & mask).sum() / (mine | mask).sum() >= 0.999
        assert found[index].made_by.score_raw == pytest.approx(iou, abs=1e-5)
        assert found[index].mask_score == pytest.approx(min(1, max(0, iou)), abs=1e-5)
    assert found


def test_of_three_masks_the_one_with_the_highest_predicted_iou_is_given(path):
    predictor = SamPredictor(tiny_sam())
    image = photograph(90, 120)
    predictor.set_image(image)
    asked = proposals(image, 3)
    expert = make_expert("sam", {"model": str(path), "device": "cpu", "multimask": True})
    found = expert.segment([image], [asked])[0]
    assert found
    for candidate in found:
        box = np.array(asked[candidate.proposal].box)
        masks, ious, _ = predictor.predict(box=box, multimask_output=True)
        mine, best = candidate.mask.array(), masks[ious.argmax()]
        assert (mine & best).sum() / (mine | best).sum() >= 0.999


def test_a_batch_of_mixed_sizes_gives_what_single_calls_give_to_the_bit(expert, path):
    all_images = images()
    asked = [proposals(image) for image in all_images]
    batched = expert.segment(all_images, asked)
    assert any(batched)
    fresh = make_expert("sam", {"model": str(path), "device": "cpu", "keep": 1})
    for image, boxes, together in zip(all_images, asked, batched, strict=True):
        assert fresh.segment([image], [boxes])[0] == together
        one_by_one = [fresh.segment([image], [[box]])[0] for box in boxes]
        alone = [(c.mask, c.phrase, c.mask_score, c.stability) for row in one_by_one for c in row]
        assert alone == [(c.mask, c.phrase, c.mask_score, c.stability) for c in together]


def test_every_candidate_fits_its_image_and_says_who_made_it(expert, path):
    all_images = images()
    asked = [proposals(image) for image in all_images]
    for image, row in zip(all_images, expert.segment(all_images, asked), strict=True):
        for candidate in row:
            assert candidate.mask.size_hw == image.shape[:2]
            assert candidate.mask.area() > 0
            assert candidate.phrase == candidate.proposal + 1
            made_by = candidate.made_by
            assert (made_by.expert, made_by.model) == ("sam", str(path))
            assert made_by.revision == expert.identity.revision
            assert made_by.config_hash == expert.identity.config_hash
            assert len(made_by.config_hash) == 12


def test_a_photograph_is_encoded_once_for_all_samples_boxes_and_calls(path):
    expert = make_expert("sam", {"model": str(path), "device": "cpu", "keep": 2})
    one, two = photograph(90, 120), photograph(60, 60, 1)
    rows = expert.segment([one, two, one.copy()], [proposals(one), proposals(two), proposals(one)])
    assert expert._encodings.made == 2
    assert rows[0] == rows[2]
    assert expert.segment([one], [proposals(one)])[0] == rows[0]
    assert expert._encodings.made == 2


def test_without_boxes_nothing_is_encoded_and_without_images_nothing_is_loaded(path):
    expert = make_expert("sam", {"model": str(path), "device": "cpu"})
    assert expert.segment([], []) == []
    assert expert.segment([photograph(20, 20)], [[]]) == [[]]
    assert "sam" not in vars(expert)
    image = photograph(90, 120)
    found = expert.segment([photograph(20, 20), image], [[], proposals(image)])
    assert found[0] == []
    assert expert._encodings.made == 1


def test_it_leaves_the_image_alone_even_when_it_may_not_be_written(expert):
    image = photograph(50, 40)
    image.setflags(write=False)
    assert expert.segment([image], [proposals(image)])
    assert (image == photograph(50, 40)).all()


def test_it_is_made_without_weights_and_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="model"):
        make_expert("sam", {})
    expert = make_expert("sam", {"model": "weights/sam_vit_l_0b3195.pth"})
    assert isinstance(expert, Segmenter)
    for use in (
        lambda: expert.identity,
        lambda: expert.segment([photograph(9, 9)], [proposals(photograph(9, 9))]),
    ):
        with pytest.raises(ValueError, match=r"wget .*sam_vit_l_0b3195\.pth"):
            use()


def test_its_identity_is_that_of_the_file(expert, path, tmp_path):
    said = expert.identity
    assert (said.expert, said.model, said.licence) == ("sam", str(path), "unknown")
    assert said.revision.startswith("sha256:")
    assert make_expert("sam", {"model": str(path), "revision": said.revision}).identity == said
    told = make_expert("sam", {"model": str(path), "licence": "apache-2.0"})
    assert told.identity.licence == "apache-2.0"
    other = save(tiny_sam(seed=9), tmp_path / "sam.pth")
    changed = make_expert("sam", {"model": str(other), "revision": said.revision})
    with pytest.raises(ValueError, match="changed"):
        changed.segment([photograph(9, 9)], [proposals(photograph(9, 9))])


def test_options_that_change_answers_change_the_hash_and_others_do_not(path):
    def hash_of(**options):
        return make_expert("sam", {"model": str(path), **options}).config_hash

    assert hash_of() == hash_of(device="cpu", batch_size=2, prompts_per_batch=8, keep=3)
    assert len({hash_of(), hash_of(multimask=True), hash_of(dtype="bfloat16")}) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"prompts_per_batch": 0}, "prompts_per_batch is 0"),
        ({"keep": 0}, "0 encodings"),
        ({"dtype": "int8"}, "int8"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_wrong_options_are_refused(options, said, path):
    image = photograph(9, 9)
    with pytest.raises(ValueError, match=said):
        make_expert("sam", {"model": str(path), **options}).segment([image], [proposals(image)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_gives_what_the_cpu_gives(path):
    all_images = images()
    asked = [proposals(image, 3) for image in all_images]
    cpu, gpu = (
        make_expert("sam", {"model": str(path), "device": device, "dtype": "float32"})
        for device in ("cpu", "cuda")
    )
    for image in all_images:
        [one], [other] = (expert.sam.encode([image]) for expert in (cpu, gpu))
        assert (one.features - other.features.cpu()).abs().max() <= 1e-4
    both = (expert.segment(all_images, asked) for expert in (cpu, gpu))
    for mine, theirs in zip(*both, strict=True):
        assert [c.proposal for c in mine] == [c.proposal for c in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert a.mask.iou(b.mask) >= 0.999
