"""Original checkpoints: sized by their shapes, and one clear error for everything else."""

from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry

from annotators.sam.checkpoint import _empty_parts, load_parts
from annotators.sam.checkpoint_file import NAMES, checkpoint_file
from tests.annotators.sam.tiny_sam import save, tiny_sam


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_the_published_sizes_are_told_by_their_shapes(size):
    with torch.device("meta"):
        theirs = sam_model_registry[size]()
        parts = _empty_parts(theirs.state_dict())
    pairs = (
        (parts.encoder, theirs.image_encoder),
        (parts.prompts, theirs.prompt_encoder),
        (parts.decoder, theirs.mask_decoder),
    )
    for mine, other in pairs:
        assert repr(mine) == repr(other)
        shapes = [{k: v.shape for k, v in part.state_dict().items()} for part in (mine, other)]
        assert shapes[0] == shapes[1]
    heads = [block.attn.num_heads for block in parts.encoder.blocks]
    assert heads == [block.attn.num_heads for block in theirs.image_encoder.blocks]
    windows = [block.window_size for block in parts.encoder.blocks]
    assert windows == [block.window_size for block in theirs.image_encoder.blocks]
    assert parts.side == 1024


def test_every_parameter_is_that_of_the_file_even_when_it_was_saved_in_half(tmp_path):
    sam = tiny_sam()
    path = tmp_path / "half.pth"
    torch.save({key: value.half() for key, value in sam.state_dict().items()}, path)
    parts = load_parts(path)
    own = {f"image_encoder.{k}": v for k, v in parts.encoder.state_dict().items()}
    own |= {f"prompt_encoder.{k}": v for k, v in parts.prompts.state_dict().items()}
    own |= {f"mask_decoder.{k}": v for k, v in parts.decoder.state_dict().items()}
    assert own.keys() == sam.state_dict().keys()
    assert all(torch.equal(v, sam.state_dict()[k].half().float()) for k, v in own.items())
    assert not any(part.training for part in (parts.encoder, parts.prompts, parts.decoder))


def wrong_files(folder: Path):
    state = tiny_sam().state_dict()
    text = folder / "text.pth"
    text.write_text("not a checkpoint")
    cut = save(tiny_sam(), folder / "cut.pth")
    cut.write_bytes(cut.read_bytes()[:-5000])
    code = folder / "code.pth"
    torch.save({"image_encoder.pos_embed": Path("x")}, code)  # an object: would be run, is refused
    wrapped = folder / "wrapped.pth"
    torch.save({"model": state}, wrapped)
    other = folder / "other.pth"
    torch.save(torch.nn.Linear(3, 3).state_dict(), other)
    more = folder / "more.pth"
    torch.save(state | {"memory.weight": torch.zeros(3)}, more)
    hq = folder / "hq.pth"
    torch.save(state | {"mask_decoder.hf_token.weight": torch.zeros(1, 32)}, hq)
    less = folder / "less.pth"
    torch.save({k: v for k, v in state.items() if "iou_token" not in k}, less)
    bent = folder / "bent.pth"
    torch.save(state | {"image_encoder.neck.2.weight": torch.zeros(3, 3)}, bent)
    return [text, cut, code, wrapped, other, more, hq, less, bent]


@pytest.mark.slow
def test_whatever_is_no_sam_is_refused_with_where_to_get_one(tmp_path):
    for path in wrong_files(tmp_path):
        with pytest.raises(ValueError, match=r"wget https://dl\.fbaipublicfiles\.com") as caught:
            load_parts(path)
        assert str(path) in str(caught.value)


def test_a_missing_file_is_refused_with_the_command_for_that_very_file(tmp_path):
    for name in NAMES:
        with pytest.raises(ValueError, match="no such file") as caught:
            checkpoint_file(str(tmp_path / name))
        assert f"segment_anything/{name}`" in str(caught.value)
    with pytest.raises(ValueError, match="folder"):
        checkpoint_file(str(tmp_path))
