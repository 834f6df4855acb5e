"""The frozen LLaVA: transformers' numbers, batches that equal single calls, an adapter in the language model alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.models.tiny_llava import SIDE, save_llava
from trainer.models.ivm.llava import Llava, LlavaParts, load_llava, load_llava_tokens, twin
from trainer.models.ivm.prompt import IMAGE, JUDGE, POLICY, LlavaTokens, Question, real_first

pytestmark = pytest.mark.slow  # transformers is imported

TEXTS = ["find the red square", "x", "where is the blue mug, und wo ist der Löffel?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def tokens(folder: Path) -> LlavaTokens:
    return load_llava_tokens(str(folder))


@pytest.fixture
def parts(folder: Path) -> LlavaParts:
    return load_llava(str(folder))


def adapted(parts: LlavaParts, **options: Any) -> Llava:
    """One whose adapter does something: a fresh one adds nothing."""
    torch.manual_seed(3)
    llava = Llava(parts, **options).eval()
    with torch.no_grad():
        for name, parameter in llava.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return llava


def photographs(n: int) -> Tensor:
    return torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


def test_tokens_are_those_of_llavas_own_processor(folder: Path, tokens: LlavaTokens) -> None:
    from transformers import LlavaProcessor

    processor: Any = LlavaProcessor.from_pretrained(folder)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    want = torch.empty(0)
    for text in TEXTS:
        want = processor(text=POLICY.format(text), images=image, return_tensors="pt")["input_ids"]
        assert torch.equal(tokens.encode([text]), want)
    assert int((want == tokens.image_id).sum()) == tokens.image_tokens == 4


def test_the_whole_equals_transformers_with_a_fresh_adapter(
    folder: Path, parts: LlavaParts
) -> None:
    from PIL import Image
    from transformers import LlavaForConditionalGeneration, LlavaProcessor

    photograph = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    processor: Any = LlavaProcessor.from_pretrained(folder)
    inputs = processor(
        text=POLICY.format(TEXTS[0]), images=Image.fromarray(photograph), return_tensors="pt"
    )
    net = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    with torch.no_grad():
        states = net(**inputs, output_hidden_states=True).hidden_states[-1]
    llava = Llava(parts).eval()
    image = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255.0
    tokens = load_llava_tokens(str(folder))
    for from_end, position in ((0, -1), (1, -2)):
        got = llava(image, tokens.encode([TEXTS[0]]), pad=tokens.pad, from_end=from_end)
        torch.testing.assert_close(got, states[:, position], atol=1e-4, rtol=1e-4)


def test_pixels_are_those_of_llavas_own_processor(folder: Path, parts: LlavaParts) -> None:
    from PIL import Image
    from transformers import LlavaProcessor

    y, x = np.mgrid[:60, :60]
    waves = np.stack([np.sin(x / 7) * np.cos(y / 9), np.sin(y / 5), np.cos((x + y) / 11)], 2)
    photograph = (waves * 100 + 128).astype(np.uint8)
    processor: Any = LlavaProcessor.from_pretrained(folder)
    want = processor.image_processor(Image.fromarray(photograph), return_tensors="pt")
    image = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255.0
    got = Llava(parts).pixels(image)
    torch.testing.assert_close(got, want["pixel_values"], atol=0.02, rtol=0)


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("from_end", [0, 1])
def test_a_batch_equals_single_calls_wherever_its_padding_is(
    parts: LlavaParts, tokens: LlavaTokens, side: str, from_end: int
) -> None:
    llava, image = adapted(parts), photographs(3)
    right = tokens.encode(TEXTS)
    ends = (right != tokens.pad).sum(1)
    assert len(set(ends.tolist())) == 3
    extra = {"left": (5, 0), "right": (0, 4), "both": (2, 3)}[side]
    rows = torch.nn.functional.pad(right, extra, value=tokens.pad)
    if side == "left":
        rows = torch.stack(
            [r.roll(right.shape[1] - int(n)) for r, n in zip(rows, ends, strict=True)]
        )
        assert (rows[:, -1] != tokens.pad).all()
    with torch.no_grad():
        together = llava(image, rows, pad=tokens.pad, from_end=from_end)
        for i, text in enumerate(TEXTS):
            alone = llava(
                image[i : i + 1], tokens.encode([text]), pad=tokens.pad, from_end=from_end
            )
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
    naive = llava(image, rows, pad=tokens.pad, from_end=from_end + 1)
    assert (naive - together).abs().max() > 1e-2


def test_only_the_language_models_q_and_v_are_adapted(parts: LlavaParts) -> None:
    llava = Llava(parts)
    learnt = {
        name.partition(".lora_")[0] for name, p in llava.named_parameters() if p.requires_grad
    }
    assert learnt == {
        f"net.language_model.layers.{i}.self_attn.{which}_proj" for i in (0, 1) for which in "qv"
    }
    assert any("vision_tower" in name and "q_proj" in name for name, _ in llava.named_parameters())
    assert {*llava.state_dict()} == {name for name, _ in llava.named_parameters()}


def test_gradients_reach_the_adapter_and_nothing_else(
    parts: LlavaParts, tokens: LlavaTokens
) -> None:
    for checkpointing in (False, True):
        llava = adapted(twin(parts), checkpointing=checkpointing, dropout=0.0).train()
        state = llava(photographs(2), tokens.encode(TEXTS[:2]), pad=tokens.pad, from_end=1)
        state.square().sum().backward()
        for name, parameter in llava.named_parameters():
            if "lora_" in name:
                assert parameter.grad is not None
                assert parameter.grad.abs().sum() > 0, name
            else:
                assert parameter.grad is None, name


def test_checkpointing_changes_no_gradient(parts: LlavaParts, tokens: LlavaTokens) -> None:
    found = []
    for checkpointing in (False, True):
        llava = adapted(twin(parts), checkpointing=checkpointing, dropout=0.0).train()
        state = llava(photographs(2), tokens.encode(TEXTS[:2]), pad=tokens.pad, from_end=1)
        state.square().sum().backward()
        found.append([p.grad for p in llava.parameters() if p.requires_grad])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)


def test_frozen_weights_in_half_precision_keep_a_float32_adapter(folder: Path) -> None:
    llava = Llava(load_llava(str(folder), dtype=torch.bfloat16))
    kinds = {p.dtype for p in llava.parameters() if p.requires_grad}
    rest = {p.dtype for p in llava.parameters() if not p.requires_grad}
    assert (kinds, rest) == ({torch.float32}, {torch.bfloat16})
    tokens = load_llava_tokens(str(folder))
    state = llava(photographs(1), tokens.encode(["x"]), pad=tokens.pad, from_end=0)
    assert state.dtype == torch.float32
    assert state.isfinite().all()


def test_twins_share_every_frozen_parameter_and_no_adapter(
    parts: LlavaParts, tokens: LlavaTokens
) -> None:
    other = twin(parts)
    one, two = adapted(parts), Llava(other).eval()
    mine, theirs = dict(one.named_parameters()), dict(two.named_parameters())
    assert mine.keys() == theirs.keys()
    for name, parameter in mine.items():
        assert (parameter is theirs[name]) == ("lora_" not in name), name
    rows = tokens.encode(["x"])
    a, b = (m(photographs(1), rows, pad=tokens.pad, from_end=0) for m in (one, two))
    assert (a - b).abs().max() > 1e-2


def test_the_question_makes_the_discriminators_prompt_of_the_generators(
    tokens: LlavaTokens,
) -> None:
    judge = LlavaTokens(tokenizer=tokens.tokenizer, image_tokens=4, template=JUDGE)
    question = Question.between(tokens, judge)
    assert torch.equal(question.ask(tokens.encode(TEXTS)), judge.encode(TEXTS))
    left = torch.stack(
        [
            row.roll(3)
            for row in torch.nn.functional.pad(tokens.encode(TEXTS), (0, 3), value=tokens.pad)
        ]
    )
    asked = question.ask(left)
    want = torch.nn.functional.pad(judge.encode(TEXTS), (0, 3), value=tokens.pad)
    assert torch.equal(asked, want)


def test_a_tokenizer_that_joins_lines_is_refused(tokens: LlavaTokens) -> None:
    odd = LlavaTokens(tokenizer=tokens.tokenizer, image_tokens=4, template="{} " + POLICY)
    with pytest.raises(ValueError, match="keeps lines apart"):
        Question.between(tokens, odd)


def test_marks_in_an_instruction_and_long_ones_are_harmless(tokens: LlavaTokens) -> None:
    rows = tokens.encode([f"look {IMAGE} here </s> <pad>\nUSER:", "the red square " * 400])
    assert ((rows == tokens.image_id).sum(1) == 4).all()
    assert "</s>" not in tokens.tokenizer.decode(rows[0]).replace("/s", "")
    few = LlavaTokens(tokenizer=tokens.tokenizer, image_tokens=4, max_tokens=3)
    assert (
        few.encode(["find the red square " * 9]).shape[1]
        < tokens.encode(["find the red square " * 9]).shape[1]
    )


def test_padding_goes_to_the_end_and_words_keep_their_order() -> None:
    rows = torch.tensor([[0, 5, 0, 6, 7], [1, 2, 3, 4, 5]])
    turned, real = real_first(rows, rows != 0)
    assert turned.tolist() == [[5, 6, 7, 0, 0], [1, 2, 3, 4, 5]]
    assert real.sum(1).tolist() == [3, 5]


def test_other_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ValueError, match="expected a model of type llava"):
        load_llava(str(tmp_path))
