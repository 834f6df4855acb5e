"""Our SAM against segment-anything's predictor and transformers' SamModel with the same parameters."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from annotators.sam.attention import in_one, in_pieces, offsets
from annotators.sam.encoder import SamEncoder
from annotators.sam.masks_from_logits import THRESHOLD, enlarge
from annotators.sam.prompted import PromptedSam, in_input, prepared
from tests.annotators.sam.tiny_sam import hf_sam, photograph, save, tiny_sam

SIZES = [(90, 120), (130, 60), (64, 64), (3, 200), (300, 257)]


@pytest.fixture(scope="module")
def sam():
    return tiny_sam()


@pytest.fixture(scope="module")
def ours(sam, tmp_path_factory):
    return PromptedSam(save(sam, tmp_path_factory.mktemp("sam") / "sam.pth"), device="cpu")


@pytest.fixture(scope="module")
def predictor(sam):
    return SamPredictor(sam)


def boxes_of(height, width):
    shares = [(0.1, 0.2, 0.6, 0.8), (0.0, 0.0, 1.0, 1.0), (0.55, 0.1, 0.9, 0.4)]
    return np.array(shares) * [width, height, width, height]


def iou(a, b):
    return 1.0 if not (a | b).any() else (a & b).sum() / (a | b).sum()


def equal(mine, theirs, frame):
    """Logits first, then the masks at the size of the image."""
    (logits, ious), (masks, their_ious, low) = mine, theirs
    assert low.std() > 0.1, "logits without range would be equal whatever was done"
    np.testing.assert_allclose(logits.numpy(), low, atol=3e-5)
    np.testing.assert_allclose(ious.numpy(), their_ious, atol=1e-5)
    made = (enlarge(logits, frame) > THRESHOLD).numpy()
    assert made.shape == masks.shape
    assert all(iou(a, b) >= 0.999 for a, b in zip(made, masks, strict=True))


@pytest.mark.parametrize("size_hw", SIZES)
def test_embeddings_are_those_of_segment_anything(size_hw, ours, predictor):
    image = photograph(*size_hw)
    predictor.set_image(image)
    [encoding] = ours.encode([image])
    assert encoding.frame.input_hw == predictor.input_size
    assert (encoding.features - predictor.features).abs().max() <= 1e-5


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("size_hw", SIZES)
def test_boxes_are_answered_as_by_the_predictor_however_many_at_once(
    size_hw, multimask, ours, predictor
):
    image = photograph(*size_hw)
    predictor.set_image(image)
    [encoding] = ours.encode([image])
    boxes = boxes_of(*size_hw)
    logits, ious = ours.decode(encoding, boxes=boxes, multimask=multimask)
    for i, box in enumerate(boxes):
        theirs = predictor.predict(box=box, multimask_output=multimask)
        equal((logits[i], ious[i]), theirs, encoding.frame)


def test_points_masks_and_their_mixtures_are_answered_as_by_the_predictor(ours, predictor):
    image = photograph(90, 120)
    predictor.set_image(image)
    [encoding] = ours.encode([image])
    points, labels = np.array([[30.0, 40.0], [80.5, 20.25]]), np.array([1, 0])
    box = boxes_of(90, 120)[0]
    low = predictor.predict(point_coords=points, point_labels=labels)[2][:1]
    prompts = [
        {"points": points, "labels": labels},
        {"points": points[:1], "labels": labels[:1], "boxes": box},
        {"mask_inputs": low},
        {"points": points, "labels": labels, "mask_inputs": low},
        {"boxes": box, "mask_inputs": low},
    ]
    theirs_of = {
        "points": "point_coords",
        "labels": "point_labels",
        "boxes": "box",
        "mask_inputs": "mask_input",
    }
    answers = []
    for prompt in prompts:
        for multimask in (False, True):
            said = {theirs_of[key]: value for key, value in prompt.items()}
            theirs = predictor.predict(**said, multimask_output=multimask)
            mine = ours.decode(
                encoding, **{k: v[None] for k, v in prompt.items()}, multimask=multimask
            )
            equal((mine[0][0], mine[1][0]), theirs, encoding.frame)
        answers.append(mine[0])
    assert not torch.equal(answers[0], answers[3]), "the mask prompt was not seen"


def test_no_prompts_get_no_answers_of_the_right_shape(ours):
    [encoding] = ours.encode([photograph(20, 30)])
    logits, ious = ours.decode(encoding, boxes=np.zeros((0, 4)), multimask=True)
    assert logits.shape == (0, 3, 32, 32)
    assert ious.shape == (0, 3)


def test_prompts_in_chunks_are_prompts_alone(ours, sam, tmp_path):
    together = PromptedSam(save(sam, tmp_path / "sam.pth"), device="cpu", prompts_per_batch=2)
    [encoding] = ours.encode([photograph(90, 120)])
    boxes = boxes_of(90, 120)
    alone, paired = (model.decode(encoding, boxes=boxes)[0] for model in (ours, together))
    assert torch.equal(alone[1], ours.decode(encoding, boxes=boxes[1:2])[0][0])
    assert (alone - paired).abs().max() <= 1e-5


@pytest.mark.parametrize("attend", [in_pieces, in_one])
@pytest.mark.parametrize("side", [2, 5])
def test_both_forms_of_attention_are_attention_with_the_whole_table(attend, side, monkeypatch):
    # Of 6 groups of 4 tokens 4 are taken together; of a group of 25 tokens 3 rows: neither divides.
    monkeypatch.setattr("annotators.sam.attention.PIECE", 75)
    generator = torch.Generator().manual_seed(side)
    tokens, width = side * side, 12
    q, k, v = torch.randn(3, 6, tokens, width, generator=generator)
    tables = torch.randn(2, 2 * side - 1, width, generator=generator)
    rows, columns = (offsets(table, side) for table in tables)
    scores = torch.empty(6, tokens, tokens)
    for i in range(tokens):
        for j in range(tokens):
            dy, dx = i // side - j // side + side - 1, i % side - j % side + side - 1
            seen = k[:, j] * width**-0.5 + tables[0, dy] + tables[1, dx]
            scores[:, i, j] = (q[:, i] * seen).sum(-1)
    expected = scores.softmax(-1) @ v
    with torch.inference_mode():
        assert (attend(q, k, v, rows, columns) - expected).abs().max() <= 1e-5


def test_tables_of_another_length_are_stretched_as_segment_anything_does():
    from segment_anything.modeling.image_encoder import get_rel_pos

    table = torch.randn(13, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(offsets(table, 7), get_rel_pos(7, 7, table))
    assert (offsets(table, 10) - get_rel_pos(10, 10, table)).abs().max() <= 1e-6


def test_the_folded_form_gives_the_same_embeddings(sam):
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = sam.image_encoder(pixels)
        assert (SamEncoder(sam.image_encoder, attend=in_one)(pixels) - theirs).abs().max() <= 1e-5
        assert (SamEncoder(sam.image_encoder)(pixels) - theirs).abs().max() <= 1e-5


def test_half_products_change_embeddings_by_a_percent_and_the_parameters_not_at_all(sam):
    before = {key: value.clone() for key, value in sam.state_dict().items()}
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = SamEncoder(sam.image_encoder)(pixels)
        half = SamEncoder(sam.image_encoder, dtype=torch.bfloat16)(pixels)
    assert half.dtype == torch.float32
    assert 0 < (half - exact).std() / exact.std() < 0.01
    assert all(torch.equal(value, before[key]) for key, value in sam.state_dict().items())


@pytest.mark.slow
def test_compiled_embeddings_are_the_same(sam):
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = sam.image_encoder(pixels)
        made = SamEncoder(sam.image_encoder, compiled=True)(pixels)
    assert (made - theirs).abs().max() <= 1e-5


@pytest.mark.slow
def test_transformers_with_the_same_parameters_agrees(sam, ours):
    image = photograph(90, 120)
    boxes = boxes_of(90, 120)
    theirs = hf_sam(sam)
    [encoding] = ours.encode([image])
    pixels = prepared(image, encoding.frame, torch.device("cpu"))[None]
    with torch.inference_mode():
        said = theirs(
            pixel_values=pixels,
            input_boxes=in_input(boxes, encoding.frame)[None],
            multimask_output=True,
        )
        features = theirs.get_image_embeddings(pixels)
    assert (features - encoding.features).abs().max() <= 1e-5
    logits, ious = ours.decode(encoding, boxes=boxes, multimask=True)
    assert (logits - said.pred_masks[0]).abs().max() <= 3e-5
    assert (ious - said.iou_scores[0]).abs().max() <= 1e-5
    for mine, other in zip(logits, said.pred_masks[0], strict=True):
        cut = [(enlarge(x, encoding.frame) > THRESHOLD).numpy() for x in (mine, other)]
        assert all(iou(a, b) >= 0.999 for a, b in zip(*cut, strict=True))
