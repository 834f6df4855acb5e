"""Cosines of pictures and texts against the models' own logits."""

import numpy as np
import pytest
import torch
import transformers as hf

from annotators.models.image_text import ImageText
from annotators.models.torch_model import photographs
from tests.annotators.models.scenes import SIZES, WEIRD

pytestmark = pytest.mark.slow
TEXTS = ["the red mug", "blue ball", "the"]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_cosines_are_the_logits_without_scale_and_shift(kind, tiny):
    folder = tiny(kind)
    model, processor = (
        hf.AutoModel.from_pretrained(folder).eval(),
        hf.AutoProcessor.from_pretrained(folder),
    )
    padding = "max_length" if kind == "siglip" else True
    inputs = processor(text=TEXTS, images=photographs(SIZES), padding=padding, return_tensors="pt")
    if kind == "siglip":
        inputs.pop("attention_mask", None)
    with torch.inference_mode():
        logits = model(**inputs).logits_per_image
    shift = model.logit_bias.detach() if kind == "siglip" else 0.0
    wanted = ((logits - shift) / model.logit_scale.detach().exp()).numpy()
    scorer = ImageText(expert="test", options={"model": str(folder)})
    found = scorer.similarities(SIZES, TEXTS)
    assert found.shape == (len(SIZES), len(TEXTS))
    assert np.abs(found - wanted).max() <= 1e-5
    assert np.ptp(found, axis=0).min() > 1e-3
    assert np.ptp(found, axis=1).min() > 1e-3


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pictures_and_texts_do_not_touch_each_other(kind, tiny):
    folder = str(tiny(kind))
    whole = ImageText(expert="test", options={"model": folder}).similarities(SIZES, TEXTS)
    for i, picture in enumerate(SIZES):
        for j, text in enumerate(TEXTS):
            alone = ImageText(expert="test", options={"model": folder})
            assert alone.similarities([picture], [text])[0, 0] == pytest.approx(
                whole[i, j], abs=1e-6
            )


def test_no_text_fails_it(tiny):
    found = ImageText(expert="test", options={"model": str(tiny("clip"))}).similarities(
        SIZES[:1], [*WEIRD, ""]
    )
    assert np.isfinite(found).all()


def test_nothing_asked_is_nothing_loaded():
    scorer = ImageText(expert="test", options={"model": "/nowhere"})
    assert scorer.similarities([], ["mug"]).shape == (0, 1)
    assert scorer.similarities(SIZES, []).shape == (4, 0)
