"""The whole ViT-B at its own size, with random parameters: what the tiny models show, once more where it counts."""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor, sam_model_registry

from annotators.registry import make_expert
from annotators.sam.encoder import SamEncoder
from annotators.sam.masks_from_logits import THRESHOLD, enlarge
from annotators.sam.prompted import PromptedSam
from tests.annotators.sam.test_sam import proposals
from tests.annotators.sam.tiny_sam import photograph, randomised, save, spread


@pytest.mark.slow
def test_vit_b_gives_the_embeddings_and_masks_of_segment_anything(tmp_path):
    torch.manual_seed(0)
    sam = spread(randomised(sam_model_registry["vit_b"]().eval()), times=2, shift=3)
    path = save(sam, tmp_path / "sam_vit_b_01ec64.pth")
    image = photograph(480, 640)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    ours = PromptedSam(path, device="cpu")
    [encoding] = ours.encode([image])
    assert encoding.features.shape == (1, 256, 64, 64)
    assert (encoding.features - predictor.features).abs().max() <= 1e-5
    box = np.array([60.0, 100.0, 400.0, 420.0])
    logits, ious = ours.decode(encoding, boxes=box[None], multimask=True)
    masks, their_ious, low = predictor.predict(box=box, multimask_output=True)
    assert np.abs(logits[0].numpy() - low).max() <= 1e-3 * low.std()
    np.testing.assert_allclose(ious[0].numpy(), their_ious, atol=1e-4)
    made = (enlarge(logits[0], encoding.frame) > THRESHOLD).numpy()
    for mine, theirs in zip(made, masks, strict=True):
        assert 0.01 < theirs.mean() < 0.99
        assert (mine & theirs).sum() / (mine | theirs).sum() >= 0.999

    with torch.inference_mode():
        pixels = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(1))
        exact = ours.encoder(pixels)
        half = SamEncoder(sam.image_encoder, dtype=torch.bfloat16)(pixels)
    assert (half - exact).std() / exact.std() < 0.01

    expert = make_expert("sam", {"model": str(path), "device": "cpu"})
    [found] = expert.segment([image], [proposals(image)])
    assert [candidate.proposal for candidate in found] == [0, 1]
