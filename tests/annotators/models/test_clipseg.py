"""CLIPSeg against the model's own forward pass, and what a mask's score and stability mean."""

import numpy as np
import pytest
import torch
import transformers as hf

from annotators.models.clipseg import ClipSegExpert, probabilities
from annotators.models.torch_model import photographs
from tests.annotators.models.scenes import LANDSCAPE, SIZES, batches_agree, keeps_the_contract, said

pytestmark = pytest.mark.slow
TEXTS = ("the red mug", "blue ball")


def test_logits_are_those_of_the_model(tiny):
    folder = tiny("clipseg")
    model = hf.CLIPSegForImageSegmentation.from_pretrained(folder).eval()
    processor = hf.AutoProcessor.from_pretrained(folder)
    expert = ClipSegExpert(model=str(folder))
    for image in SIZES:
        seen = expert._encodings.of([image], expert._encode)[0]
        wanted = []
        for text in TEXTS:
            inputs = processor(text=[text], images=photographs([image]), return_tensors="pt")
            with torch.inference_mode():
                wanted.append(model(**inputs).logits.numpy().reshape(48, 48))
            assert np.abs(expert._logits(text, seen) - wanted[-1]).max() <= 1e-5
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3, "the text must matter"


def test_a_mask_is_the_resized_probability_cut(tiny):
    expert = ClipSegExpert(model=str(tiny("clipseg")), mask_threshold=0.5, spread=0.1)
    for image in SIZES:
        seen = expert._encodings.of([image], expert._encode)[0]
        soft = 1 / (1 + np.exp(-expert._logits(TEXTS[0], seen).astype(np.float64)))
        found = expert.segment_text([image], [said(TEXTS[0])])[0][0]
        rows, columns = (
            np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1)
            for n, m in zip(image.shape, soft.shape, strict=False)
        )
        tall = np.stack([np.interp(rows, np.arange(len(soft)), column) for column in soft.T], 1)
        full = np.stack([np.interp(columns, np.arange(soft.shape[1]), row) for row in tall])
        sure = np.abs(full - 0.5) > 1e-5
        assert (found.mask.array() == (full >= 0.5))[sure].all()
        assert abs(found.mask_score - full[full >= 0.5].mean()) < 1e-3
        assert abs(found.stability - (full >= 0.6).sum() / (full >= 0.4).sum()) < 0.02
        assert 0 < found.mask.area() < image.shape[0] * image.shape[1]


def test_nothing_above_the_threshold_is_no_candidate(tiny):
    expert = ClipSegExpert(model=str(tiny("clipseg")), mask_threshold=0.98, spread=0.01)
    assert expert.segment_text([LANDSCAPE], [said("the mug")]) == [[]]


def test_probabilities_keep_the_frame():
    logits = np.full((4, 4), -20.0, np.float32)
    logits[0, 3] = 20.0
    full = probabilities(logits, (40, 80))
    assert full.shape == (40, 80)
    assert full[0, -1] > 0.99
    assert full[0, 0] < 0.01
    assert full[-1, -1] < 0.01


@pytest.mark.parametrize("threshold", [0.0, 1.0, 0.03])
def test_a_threshold_at_the_edge_is_refused(threshold):
    with pytest.raises(ValueError, match="inside"):
        ClipSegExpert(model="org/name", mask_threshold=threshold)


def test_the_contract_holds(tiny):
    keeps_the_contract(lambda: ClipSegExpert(model=str(tiny("clipseg"))))


def test_rows_that_run_together_agree_with_rows_alone(tiny, monkeypatch):
    batches_agree(lambda: ClipSegExpert(model=str(tiny("clipseg"))), monkeypatch)


def test_bfloat16_stays_near(tiny):
    found = [
        ClipSegExpert(model=str(tiny("clipseg")), dtype=dtype).segment_text([LANDSCAPE], [said("the mug")])[0][0]
        for dtype in ("float32", "bfloat16")
    ]  # fmt: skip
    assert found[0] != found[1], "bfloat16 was not used"
    assert found[0].mask.iou(found[1].mask) > 0.9
