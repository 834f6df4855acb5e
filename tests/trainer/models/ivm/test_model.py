"""IVM's model: the published size, masks in the frame of the image, learning in the trained parts alone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor

from tests.trainer.models.tiny_ivm import model_of, tokens_of
from tests.trainer.models.tiny_llava import llava_1_5_7b, save_llava
from trainer.models.frozen.image import FrozenImage
from trainer.models.frozen.sam import FrozenSam
from trainer.models.ivm.llava import Llava, LlavaParts
from trainer.models.ivm.model import IvmModel
from trainer.models.saved_model import load_trained, trained_tensors

pytestmark = pytest.mark.slow  # transformers is imported

TEXTS = ["find the red square", "x", "where is the blue mug?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("llava"))


def photographs(n: int, h: int = 40, w: int = 56) -> Tensor:
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(9))


def reference() -> IvmModel:
    """The published configuration, without storage."""
    from transformers import LlavaForConditionalGeneration

    clip = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    norm: Any = partial(torch.nn.LayerNorm, eps=1e-6)
    with torch.device("meta"):
        vit = ImageEncoderViT(
            depth=32, embed_dim=1280, img_size=1024, mlp_ratio=4, num_heads=16, patch_size=16,
            norm_layer=norm, use_rel_pos=True,
            global_attn_indexes=(7, 15, 23, 31), window_size=14, out_chans=256,
        )  # fmt: skip
        net = LlavaForConditionalGeneration(llava_1_5_7b()).model
        return IvmModel(
            image=FrozenImage(FrozenSam(vit), rounded=torch.float16),
            lmm=Llava(LlavaParts(net=net, tokenizer=None, mean=clip[0], std=clip[1])),
            pad=32001,
        )


def test_the_published_configuration_trains_16614784_parameters() -> None:
    model = reference()
    assert all(p.is_meta for p in model.parameters())

    def trained(part: torch.nn.Module) -> int:
        return sum(p.numel() for p in part.parameters() if p.requires_grad)

    assert trained(model.lmm) == 4_194_304
    assert trained(model.projector) == 8_915_200
    assert trained(model.decoder) == 3_505_280
    assert trained(model) == 16_614_784
    assert model.lmm.image_tokens == 576
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    assert 7.4e9 < frozen < 7.7e9


def test_logits_lie_in_the_frame_of_the_image(folder: Path) -> None:
    model, tokens = model_of(folder).eval(), tokens_of(folder)
    rows = tokens.encode(TEXTS)
    logits = model(photographs(3), rows)
    assert logits.shape == (3, 1, 40, 56)
    assert logits.dtype == torch.float32
    seen = model.encode(photographs(3), rows)
    assert [m.shape for m in seen.maps] == [(3, *model.map_channels, 4, 4)]
    assert seen.pooled.shape == (3, model.text_dim)
    assert torch.equal(model.decode(seen), logits)


def test_a_kept_embedding_takes_the_place_of_the_image_encoder(folder: Path) -> None:
    model, rows = model_of(folder).eval(), tokens_of(folder).encode(TEXTS)
    image = photographs(3)
    assert torch.equal(model(image, rows, model.embed(image)), model(image, rows))
    other = model(image, rows, model.embed(image.flip(3)))
    assert (other - model(image, rows)).abs().max() > 1e-4


def test_a_batch_gives_what_its_samples_give_alone(folder: Path) -> None:
    model, tokens = model_of(folder).eval(), tokens_of(folder)
    image = photographs(3)
    with torch.no_grad():
        together = model(image, tokens.encode(TEXTS))
        for i, text in enumerate(TEXTS):
            alone = model(image[i : i + 1], tokens.encode([text]))
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=1e-4)


def test_another_instruction_gives_another_mask(folder: Path) -> None:
    model, tokens = model_of(folder).eval(), tokens_of(folder)
    image = photographs(1)
    one, other = (model(image, tokens.encode([text])) for text in TEXTS[:2])
    assert (one - other).abs().max() > 1e-4


def test_gradients_reach_what_is_trained_and_nothing_else(folder: Path) -> None:
    model = model_of(folder)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    model(photographs(2), tokens_of(folder).encode(TEXTS[:2])).square().mean().backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in trained} == {"lmm", "projector", "decoder"}
    for name, parameter in model.named_parameters():
        if name not in trained:
            assert parameter.grad is None, name
        elif not name.endswith("k_proj.bias"):
            assert parameter.grad is not None
            assert parameter.grad.any(), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_steps_lower_the_loss_and_leave_the_frozen_parts_alone(
    folder: Path, checkpointing: bool
) -> None:
    model, rows = model_of(folder, checkpointing=checkpointing), tokens_of(folder).encode(TEXTS)
    image = photographs(3)
    target = (image.mean(1, keepdim=True) > 0.5).float()
    before = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(4):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(image, rows), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert losses[-1] < losses[0]
    for name, parameter in model.named_parameters():
        if name in before:
            assert torch.equal(parameter, before[name]), name


def test_what_is_trained_is_all_that_has_to_be_kept(folder: Path) -> None:
    model, rows = model_of(folder).eval(), tokens_of(folder).encode(TEXTS)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    kept = trained_tensors(model)
    assert sum(t.numel() for t in kept.values()) < sum(p.numel() for p in model.parameters()) / 3
    torch.manual_seed(77)
    other = model_of(folder).eval()
    other.get_buffer("decoder.pe_layer.positional_encoding_gaussian_matrix").normal_()
    image = photographs(3)
    assert (other(image, rows) - model(image, rows)).abs().max() > 1e-3
    load_trained(other, kept)
    assert torch.equal(other(image, rows), model(image, rows))


def test_it_runs_under_autocast(folder: Path) -> None:
    model, rows = model_of(folder).eval(), tokens_of(folder).encode(TEXTS)
    plain = model(photographs(3), rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(photographs(3), rows)
    assert mixed.dtype == torch.float32
    assert (mixed - plain).abs().max() < 0.2 * plain.abs().max()
