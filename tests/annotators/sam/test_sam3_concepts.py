"""SAM 3 asked for a concept: equal to transformers' own pass and post-processing, each photograph encoded once."""

from functools import cache

import numpy as np
import pytest
import torch

from annotators.registry import make_expert
from annotators.sam.encodings import Encodings
from annotators.sam.masks_from_logits import stability_of
from tests.annotators.models.scenes import LANDSCAPE, ODD, PORTRAIT, THIN, TINY, WEIRD, check, said
from tests.annotators.sam.tiny_hf_sam import save_tiny

pytestmark = pytest.mark.slow  # together: seven sizes, two layouts

THRESHOLD = 0.3
LONG = "the blue ball on the very long table in the room of the house"
"""More letters, and so more tokens of the tiny tokenizer, than SAM 3 reads."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return cache(lambda kind: save_tiny(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="module")
def theirs(folder):
    """Kind -> network and processor as transformers loads them."""
    from transformers import Sam3Model, Sam3Processor

    def load(kind):
        net = Sam3Model.from_pretrained(folder(kind)).eval()
        return net, Sam3Processor.from_pretrained(folder(kind))

    return cache(load)


@pytest.fixture(scope="module")
def ours(folder):
    """Kind -> one expert for many tests."""
    return cache(
        lambda kind: make_expert("sam3", {"model": str(folder(kind)), "threshold": THRESHOLD})
    )


@pytest.fixture
def expert(folder):
    """An expert that has seen nothing yet."""
    return make_expert("sam3", {"model": str(folder("sam3")), "threshold": THRESHOLD})


def plain(theirs, kind, image, text):
    """transformers' own way; scores (n,), masks (n, h, w) and low-resolution logits, empty masks included."""
    from PIL import Image

    net, processor = theirs(kind)
    seen = processor(images=Image.fromarray(image), return_tensors="pt")
    words = processor.tokenizer(
        text, padding="max_length", max_length=32, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        out = net(pixel_values=seen["pixel_values"], **words)
    sizes = seen["original_sizes"].tolist()
    found = processor.post_process_instance_segmentation(
        out, threshold=THRESHOLD, target_sizes=sizes
    )[0]
    kept = (out.pred_logits.sigmoid() * out.presence_logits.sigmoid())[0] > THRESHOLD
    return found["scores"], found["masks"].bool(), out.pred_masks[0][kept]


@pytest.mark.parametrize("kind", ["sam3", "sam3_video"])
@pytest.mark.parametrize(
    "image", [LANDSCAPE, PORTRAIT, ODD, TINY, *THIN], ids=lambda i: str(i.shape)
)
def test_instances_are_those_of_transformers_own_post_processing(kind, image, ours, theirs):
    phrases = said("mug", LONG, "red")
    [found] = ours(kind).segment_text([image], [phrases])
    for number, phrase in enumerate(phrases):
        scores, masks, logits = plain(theirs, kind, image, phrase.text)
        own = [
            (float(scores[i]), masks[i].numpy(), float(stability_of(logits[i][None])[0]))
            for i in scores.argsort(descending=True, stable=True).tolist()
            if masks[i].any()
        ]
        mine = [candidate for candidate in found if candidate.phrase == number]
        assert len(mine) == len(own)
        for candidate, (score, mask, stability) in zip(mine, own, strict=True):
            assert candidate.mask_score == pytest.approx(score, abs=1e-5)
            assert candidate.made_by.score_raw == candidate.mask_score
            assert candidate.stability == pytest.approx(stability, abs=1e-3)
            cut = candidate.mask.array()
            assert (cut & mask).sum() >= 0.999 * (cut | mask).sum()
            assert candidate.proposal is None


def test_the_tiny_model_heeds_the_phrase_and_passes_the_threshold_sometimes(expert):
    """Without this, the equality above could be that of empty answers."""
    [found] = expert.segment_text([LANDSCAPE], [said("mug", "red", "zebra")])
    counts = [sum(candidate.phrase == number for candidate in found) for number in range(3)]
    assert all(counts)
    best = [max(c.mask_score for c in found if c.phrase == number) for number in range(3)]
    assert len({round(score, 3) for score in best}) == 3


def test_a_higher_threshold_keeps_the_surer_instances(expert, folder):
    [every] = expert.segment_text([LANDSCAPE], [said("mug")])
    at = sorted(candidate.mask_score for candidate in every)[len(every) // 2]
    strict = make_expert("sam3", {"model": str(folder("sam3")), "threshold": at})
    [fewer] = strict.segment_text([LANDSCAPE], [said("mug")])
    assert [c.mask for c in fewer] == [c.mask for c in every if c.mask_score > at]
    assert 0 < len(fewer) < len(every)


def test_a_photograph_is_encoded_once_for_all_phrases_samples_and_calls(expert):
    passes = []
    expert._torch.net.vision_encoder.register_forward_hook(lambda *_: passes.append(1))
    rows = [said("mug", "red"), said("ball"), [], said("\x00")]
    first = expert.segment_text([LANDSCAPE, LANDSCAPE.copy(), ODD, ODD], rows)
    assert len(passes) == 1  # nothing is asked about the other
    assert first[2:] == [[], []]
    assert expert.segment_text([LANDSCAPE], [rows[1]]) == [first[1]]
    assert len(passes) == 1


def test_a_batch_gives_what_single_calls_give_and_says_who_made_it(expert):
    images = [i.copy() for i in (LANDSCAPE, PORTRAIT, TINY, THIN[0], LANDSCAPE)]
    rows = [said("mug", "ball"), said("red"), said("mug"), said("the"), said("ball", "mug")]
    for image in images:
        image.setflags(write=False)
    batched = expert.segment_text(images, rows)
    assert sum(map(len, batched)) > len(images)
    expert._encodings = Encodings(1)
    for image, row, answers in zip(images, rows, batched, strict=True):
        assert expert.segment_text([image], [row]) == [answers]
        for answer in answers:
            check(answer, image, len(row), expert)
    assert expert.segment_text([], []) == []


def test_photographs_and_phrases_that_run_together_agree_with_those_alone(
    expert, ours, monkeypatch
):
    """As on a GPU; here batches are forced on a CPU."""
    monkeypatch.setattr(expert._torch, "at_once", lambda most: most)
    passes = []
    expert._torch.net.detr_decoder.register_forward_hook(lambda *_: passes.append(1))
    images, rows = [LANDSCAPE, PORTRAIT, ODD], [said("mug", "ball", "red")] * 3
    together = expert.segment_text(images, rows)
    assert len(passes) == 3  # one for all phrases of a photograph
    for row, alone in zip(together, ours("sam3").segment_text(images, rows), strict=True):
        assert [c.phrase for c in row] == [c.phrase for c in alone]
        for one, other in zip(row, alone, strict=True):
            assert one.mask_score == pytest.approx(other.mask_score, abs=1e-4)


def test_phrases_that_hold_anything_fail_no_batch(expert):
    rows = [said(text) for text in WEIRD]
    for answers in expert.segment_text([ODD] * len(WEIRD), rows):
        for answer in answers:
            check(answer, ODD, 1, expert)


def test_a_tracker_and_a_threshold_outside_of_scores_are_refused(folder):
    with pytest.raises(ValueError, match=r"'sam3_tracker' model; expected .* sam3 or sam3_video"):
        make_expert("sam3", {"model": str(folder("sam3_tracker"))}).segment_text(
            [ODD], [said("mug")]
        )
    with pytest.raises(ValueError, match="threshold is 30"):
        make_expert("sam3", {"model": "a/b", "threshold": 30})


def test_bfloat16_finds_much_the_same(expert, folder):
    rounded = make_expert(
        "sam3", {"model": str(folder("sam3")), "threshold": THRESHOLD, "dtype": "bfloat16"}
    )
    [fine], [coarse] = (e.segment_text([LANDSCAPE], [said("mug")]) for e in (expert, rounded))
    assert coarse[0].mask_score == pytest.approx(fine[0].mask_score, abs=0.1)
    assert coarse != fine


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_agrees_with_the_cpu(folder):
    options = {"model": str(folder("sam3")), "threshold": THRESHOLD, "dtype": "float32"}
    images, rows = [LANDSCAPE, ODD], [said("mug", "ball", "red")] * 2
    there = make_expert("sam3", {**options, "device": "cuda"}).segment_text(images, rows)
    here = make_expert("sam3", {**options, "device": "cpu"}).segment_text(images, rows)
    for ours, own in zip(there, here, strict=True):
        assert [c.phrase for c in ours] == [c.phrase for c in own]
        scores = [c.mask_score for c in ours]
        assert np.allclose(scores, [c.mask_score for c in own], atol=1e-3)
