"""SAM models of transformers behind our interface: equal to transformers' own passes, each image encoded once."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from annotators.candidate import Proposal, Provenance
from annotators.registry import make_expert
from annotators.sam.automatic import automatic_masks
from annotators.sam.encodings import Encodings
from annotators.sam.hf_prompted import AT_ONCE, CLASSES, HFPrompted
from annotators.sam.masks_from_logits import enlarge, masks_from_logits
from tests.annotators.sam.tiny_hf_sam import KINDS, save_tiny

pytestmark = pytest.mark.slow  # together: six kinds, six sizes

PROCESSORS = {
    "sam": "SamProcessor", "sam_hq": "SamHQProcessor", "sam2": "Sam2Processor", "sam2_video": "Sam2Processor",
    "sam3_tracker": "Sam3TrackerProcessor", "sam3_video": "Sam3TrackerProcessor",
}  # fmt: skip
SIZES = ((48, 80), (90, 50), (33, 47), (3, 200), (1, 1), (64, 64))
"""Landscape, portrait, odd, a strip whose rows look like channels, a pixel, and the square that the models see."""


def photo(height, width, seed=0):
    """Noise that may not be written to."""
    made = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    made.setflags(write=False)
    return made


def boxes_in(height, width, count=5, seed=0):
    """Boxes of all sizes and places, float32 XYXY."""
    corners = np.random.default_rng(seed).random((count, 2, 2)) * [width, height]
    return np.sort(corners, axis=1).reshape(count, 4).astype(np.float32)


def proposals(boxes, phrase=0):
    made_by = Provenance(expert="test", config_hash="c" * 12)
    return [
        Proposal(box=tuple(float(v) for v in box), phrase=phrase, score=0.5, made_by=made_by)
        for box in boxes
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Kind -> folder of its tiny model, made when first asked for."""
    made = cache(lambda kind: save_tiny(kind, tmp_path_factory.mktemp(kind)))
    for kind in KINDS:
        made(kind)
    return made


@pytest.fixture(scope="module")
def prompted(folder):
    """Kind -> our interface to it; has room for few encodings, so that most are made anew."""
    return cache(
        lambda kind: HFPrompted(
            expert="sam_hf", options={"model": str(folder(kind))}, keep=2, batch_size=3
        )
    )


@pytest.fixture(scope="module")
def theirs(folder):
    """Kind -> network and processor as transformers loads them."""
    import transformers

    def load(kind):
        net = getattr(transformers, CLASSES[kind]).from_pretrained(folder(kind)).eval()
        return net, getattr(transformers, PROCESSORS[kind]).from_pretrained(folder(kind))

    return cache(load)


def plain(theirs, kind, image, *, prompts, **how):
    """transformers' own way: processor, whole forward pass, post-processing; outputs, full logits."""
    from PIL import Image

    net, processor = theirs(kind)
    inputs = processor(images=Image.fromarray(image), return_tensors="pt", **prompts)
    sizes = {k: inputs.pop(k) for k in ("original_sizes", "reshaped_input_sizes") if k in inputs}
    with torch.no_grad():
        out = net(**inputs, **how)
    full = processor.post_process_masks(out.pred_masks, **sizes, binarize=False)[0]
    return out, full


def far(ours, own):
    """Largest difference in units of the largest value."""
    return float((ours - own).abs().max() / own.abs().max())


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_boxes_get_what_transformers_own_pass_gives(kind, size, multimask, prompted, theirs):
    image, boxes = photo(*size), boxes_in(*size)
    [encoding] = prompted(kind).encode([image])
    logits, ious = prompted(kind).decode(encoding, boxes=boxes, multimask=multimask)
    given = {"input_boxes": [boxes.tolist()]}
    out, full = plain(theirs, kind, image, prompts=given, multimask_output=multimask)
    assert logits.shape == out.pred_masks[0].shape
    assert logits.shape[1] == (3 if multimask else 1)
    assert far(logits, out.pred_masks[0]) <= 1e-5
    assert far(ious, out.iou_scores[0]) <= 1e-5
    for row, found in enumerate(masks_from_logits(logits, ious, encoding.frame)):
        choice = int(ious[row].argmax())
        ours, own = enlarge(logits[row, choice][None], encoding.frame)[0], full[row, choice]
        assert float((ours - own).abs().max() / out.pred_masks.abs().max()) <= 1e-5
        cut = (full[row, out.iou_scores[0, row].argmax()] > 0).numpy()
        mask = found.mask if found else np.zeros(size, bool)
        assert (mask & cut).sum() >= 0.999 * (mask | cut).sum()


@pytest.mark.parametrize("kind", KINDS)
def test_another_box_gives_another_answer(kind, prompted):
    """Without this, equality would not show that boxes reach the model in the right frame."""
    image = photo(48, 80)
    [encoding] = prompted(kind).encode([image])
    there, _ = prompted(kind).decode(encoding, boxes=np.array([[5.0, 5, 40, 30]]))
    near, _ = prompted(kind).decode(encoding, boxes=np.array([[5.0, 6, 40, 31]]))
    assert far(near, there) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_points_get_what_transformers_own_pass_gives(kind, prompted, theirs):
    image = photo(48, 80)
    points = np.random.default_rng(1).random((3, 2, 2)) * [80, 48]
    labels = np.array([[1, 1], [1, 0], [0, 1]])
    [encoding] = prompted(kind).encode([image])
    logits, ious = prompted(kind).decode(encoding, points=points, labels=labels)
    given = {"input_points": [points.tolist()], "input_labels": [labels.tolist()]}
    out, _ = plain(theirs, kind, image, prompts=given)
    assert far(logits, out.pred_masks[0]) <= 1e-5
    assert far(ious, out.iou_scores[0]) <= 1e-5


def test_the_hq_token_alone_gives_its_one_mask_and_the_highest_predicted_iou(folder, theirs):
    image, boxes = photo(48, 80), boxes_in(48, 80)
    ours = HFPrompted(
        expert="sam_hf", options={"model": str(folder("sam_hq"))}, keep=1, batch_size=1, hq_token_only=True
    )  # fmt: skip
    [encoding] = ours.encode([image])
    logits, ious = ours.decode(encoding, boxes=boxes)
    out, _ = plain(
        theirs, "sam_hq", image, prompts={"input_boxes": [boxes.tolist()]}, hq_token_only=True
    )
    assert logits.shape[1] == ious.shape[1] == 1
    assert far(logits, out.pred_masks[0]) <= 1e-5
    assert torch.equal(ious[:, 0].argsort(), out.iou_scores[0].max(1).values.argsort())


def test_the_hq_token_is_refused_where_there_is_none(folder):
    expert = make_expert("sam_hf", {"model": str(folder("sam")), "hq_token_only": True})
    with pytest.raises(ValueError, match=r"hq_token_only.*'sam' model.*expected a sam_hq model"):
        expert.segment([photo(20, 20)], [proposals([(2, 2, 9, 9)])])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_mixed_sizes_gives_what_single_calls_give(kind, folder):
    images = [photo(*size, seed=i) for i, size in enumerate(SIZES)]
    rows = [proposals(boxes_in(*size, count=i % 4), phrase=i) for i, size in enumerate(SIZES)]
    expert = make_expert("sam_hf", {"model": str(folder(kind)), "batch_size": 4})
    batched = expert.segment(images, rows)
    expert.prompted.encodings = Encodings(1)
    assert batched == [expert.segment([i], [r])[0] for i, r in zip(images, rows, strict=True)]
    assert batched[0] == []
    assert any(batched)
    for i, row in enumerate(batched):
        for candidate in row:
            assert candidate.mask.size_hw == SIZES[i]
            assert candidate.mask.area() > 0
            assert candidate.phrase == i
            assert candidate.proposal in range(i % 4)


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_boxes_that_run_together_agree_with_those_alone(
    kind, folder, prompted, monkeypatch
):
    """As on a GPU; here batches are forced on a CPU."""
    ours = HFPrompted(
        expert="sam_hf", options={"model": str(folder(kind))}, keep=1, batch_size=len(SIZES)
    )
    monkeypatch.setattr(ours.model, "at_once", lambda most: most)
    monkeypatch.setitem(AT_ONCE, "cpu", 64)
    passes = []
    ours.net.vision_encoder.register_forward_hook(lambda *_: passes.append(1))
    images = [photo(*size, seed=i) for i, size in enumerate(SIZES)]
    together = ours.encode(images)
    assert len(passes) == 1
    for size, image, encoding in zip(SIZES, images, together, strict=True):
        [alone] = prompted(kind).encode([image])
        assert encoding.frame == alone.frame
        logits, ious = ours.decode(encoding, boxes=boxes_in(*size))
        rows = [prompted(kind).decode(alone, boxes=box[None]) for box in boxes_in(*size)]
        assert far(logits, torch.cat([row[0] for row in rows])) <= 1e-4
        assert far(ious, torch.cat([row[1] for row in rows])) <= 1e-4


def test_an_image_is_encoded_once_for_all_boxes_samples_and_calls(folder):
    expert = make_expert("sam_hf", {"model": str(folder("sam2"))})
    passes = []
    expert.prompted.net.vision_encoder.register_forward_hook(lambda *_: passes.append(1))
    one, other = photo(48, 80), photo(48, 80, seed=1)
    rows = [proposals(boxes_in(48, 80)), proposals(boxes_in(48, 80, seed=2)), [], proposals([])]
    first = expert.segment([one, one.copy(), other, other], rows)
    assert len(passes) == 1  # no box is about the other
    assert expert.segment([one], [rows[1]]) == [first[1]]
    assert len(passes) == 1
    expert.segment([other], [rows[0]])
    assert len(passes) == 2


def test_on_a_cpu_the_decoder_sees_at_most_two_prompts_at_once(prompted):
    ours, seen = prompted("sam"), []
    handle = ours.net.mask_decoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["sparse_prompt_embeddings"].shape[1]),
        with_kwargs=True,
    )
    [encoding] = ours.encode([photo(48, 80)])
    ours.decode(encoding, boxes=boxes_in(48, 80))
    handle.remove()
    assert seen == [2, 2, 1]


def test_candidates_say_who_made_them_and_the_identity_carries_the_licence(folder):
    path = str(folder("sam"))
    expert = make_expert("sam_hf", {"model": path})
    who = expert.identity
    assert who.licence == "apache-2.0"
    assert who.revision.startswith("sha256:")
    [[candidate, *_]] = expert.segment([photo(48, 80)], [proposals(boxes_in(48, 80))])
    made_by = candidate.made_by
    assert (made_by.expert, made_by.model, made_by.revision) == ("sam_hf", path, who.revision)
    assert made_by.config_hash == who.config_hash
    assert candidate.mask_score == pytest.approx(min(1.0, max(0.0, made_by.score_raw)))
    same = make_expert("sam_hf", {"model": path, "batch_size": 9, "device": "cpu", "keep": 3})
    assert same.identity == who
    assert make_expert("sam_hf", {"model": path, "multimask": True}).identity != who


def test_an_unknown_kind_of_model_is_refused_with_those_known(folder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    expert = make_expert("sam_hf", {"model": str(tmp_path)})
    with pytest.raises(ValueError, match="'bert' model") as error:
        expert.segment([photo(20, 20)], [proposals([(2, 2, 9, 9)])])
    assert all(kind in str(error.value) for kind in KINDS)


def test_weights_that_are_not_there_are_refused_when_the_identity_is_asked():
    expert = make_expert("sam_hf", {"model": "no/such/folder"})
    with pytest.raises(ValueError, match="no such file or folder"):
        _ = expert.identity


def test_construction_loads_no_heavy_library_and_asks_for_the_model():
    code = (
        "from annotators.registry import make_expert\n"
        "[make_expert(name, {'model': 'a/b'}) for name in ('sam_hf', 'sam3')]\n"
        "import sys; print(*({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    with pytest.raises(ValueError, match=r"missing a required .*'model'"):
        make_expert("sam_hf", {})


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_automatic_masks_come_from_a_grid_of_points(kind, prompted):
    masks = automatic_masks(
        prompted(kind), photo(40, 60), points_per_side=3, least_predicted_iou=-9.0, least_stability=0.0
    )  # fmt: skip
    assert masks
    assert all(each.mask.shape == (40, 60) and each.mask.any() for each in masks)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_the_encoder_rounds_and_the_decoder_does_not(kind, folder, prompted):
    image, boxes = photo(48, 80), boxes_in(48, 80)
    rounded = HFPrompted(
        expert="sam_hf", options={"model": str(folder(kind)), "dtype": "bfloat16"}, keep=1, batch_size=1
    )  # fmt: skip
    [coarse], [fine] = rounded.encode([image]), prompted(kind).encode([image])
    for a, b in zip(tensors(coarse), tensors(fine), strict=True):
        assert a.dtype == torch.float32
        assert 1e-6 < float((a - b).norm() / b.norm()) < 0.1
    logits, _ = rounded.decode(coarse, boxes=boxes)
    exact, _ = prompted(kind).decode(coarse, boxes=boxes)
    assert torch.equal(logits, exact)


def tensors(encoding):
    """All tensors of an encoding, whatever its model."""
    found = []
    for value in encoding.features.values():
        found += value if isinstance(value, list) else [value]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_alone_is_given_to_the_compiler(kind, folder):
    net = HFPrompted(
        expert="sam_hf", options={"model": str(folder(kind)), "compile": True}, keep=1, batch_size=1
    ).net  # fmt: skip
    compiled = [name for name, part in net.named_modules() if part._compiled_call_impl]
    assert compiled == ["vision_encoder"]


@pytest.mark.slow
def test_a_compiled_encoder_gives_the_same_masks(folder, prompted):
    image, boxes = photo(48, 80), boxes_in(48, 80)
    compiled = HFPrompted(
        expert="sam_hf", options={"model": str(folder("sam")), "compile": True}, keep=1, batch_size=1
    )  # fmt: skip
    [ours], [plain_one] = compiled.encode([image]), prompted("sam").encode([image])
    logits, _ = compiled.decode(ours, boxes=boxes)
    own, _ = prompted("sam").decode(plain_one, boxes=boxes)
    assert far(logits, own) <= 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_agrees_with_the_cpu(kind, folder):
    images = [photo(*size, seed=i) for i, size in enumerate(SIZES)]
    rows = [proposals(boxes_in(*size)) for size in SIZES]
    options = {"model": str(folder(kind)), "dtype": "float32"}
    there = make_expert("sam_hf", {**options, "device": "cuda"}).segment(images, rows)
    here = make_expert("sam_hf", {**options, "device": "cpu"}).segment(images, rows)
    for ours, own in zip(there, here, strict=True):
        assert len(ours) == len(own)
        for a, b in zip(ours, own, strict=True):
            assert a.mask.iou(b.mask) >= 0.99
            assert a.made_by.score_raw == pytest.approx(b.made_by.score_raw, abs=1e-3)
