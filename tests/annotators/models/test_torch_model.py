"""Loading and chunking under every expert with weights: wrong folders told apart, memory halved, pixels kept."""

import json
import shutil

import numpy as np
import pytest

from annotators.models.encodings import Encodings
from annotators.models.prompt import cut, fill, plain
from annotators.models.torch_model import TorchModel, halving, in_chunks, pick_device, pick_dtype
from annotators.registry import make_expert
from tests.annotators.models.scenes import LANDSCAPE, SIZES, WEIRD, said

EXPERTS = ("clipseg", "florence2", "grounding_dino", "owlv2")


@pytest.mark.parametrize("name", EXPERTS)
def test_making_an_expert_loads_nothing_and_asks_for_a_model(name):
    with pytest.raises(ValueError, match="missing a required argument: 'model'"):
        make_expert(name, {})
    made = make_expert(name, {"model": "/no/such/folder"})
    with pytest.raises(ValueError, match="/no/such/folder"):
        _ = made.identity


@pytest.mark.parametrize("name", EXPERTS)
def test_an_expert_abstains_without_phrases_and_without_weights(name):
    made = make_expert(name, {"model": "/no/such/folder"})
    call = made.ground if hasattr(made, "ground") else made.segment_text
    assert call([LANDSCAPE], [[]]) == [[]]
    assert call([], []) == []
    with pytest.raises(ValueError, match="/no/such/folder"):
        call([LANDSCAPE], [said("the mug")])


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERTS)
def test_a_folder_of_another_model_is_refused_by_name(name, tiny):
    made = make_expert(name, {"model": str(tiny("clip"))})
    call = made.ground if hasattr(made, "ground") else made.segment_text
    with pytest.raises(
        ValueError,
        match=f"expert '{name}': weights .* are a 'clip' model; expected a model of type",
    ):
        call([LANDSCAPE], [said("the mug")])


def broken(folder, tmp_path, kind):
    here = tmp_path / kind
    shutil.copytree(folder, here)
    if kind == "without config":
        (here / "config.json").unlink()
    elif kind == "without weights":
        (here / "model.safetensors").rename(here / "pytorch_model.bin")
    elif kind == "cut weights":
        (here / "model.safetensors").write_bytes((here / "model.safetensors").read_bytes()[:5000])
    elif kind == "without a layer":
        from safetensors.numpy import load_file, save_file

        tensors = load_file(here / "model.safetensors")
        del tensors["box_head.dense0.weight"]
        save_file(tensors, here / "model.safetensors", {"format": "pt"})
    elif kind == "another width":
        config = json.loads((here / "config.json").read_text())
        config["vision_config"]["hidden_size"] = 64
        (here / "config.json").write_text(json.dumps(config))
    elif kind == "without processor":
        for path in here.glob("*process*"):
            path.unlink()
    return here


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "words"),
    [("without config", "no folder with a config.json"), ("without weights", "hold no .safetensors file"),
     ("cut weights", "do not load as Owlv2ForObjectDetection"), ("without a layer", "lack 1 parameters"),
     ("another width", "do not load as Owlv2ForObjectDetection"), ("without processor", "no usable processor files")],
)  # fmt: skip
def test_a_damaged_folder_is_one_clear_error(kind, words, tiny, tmp_path):
    here = broken(tiny("owlv2"), tmp_path, kind)
    with pytest.raises(ValueError, match=words) as caught:
        make_expert("owlv2", {"model": str(here)}).ground([LANDSCAPE], [said("the mug")])
    assert "expert 'owlv2'" in str(caught.value)
    assert kind in str(caught.value), "the folder is named"


@pytest.mark.slow
def test_identity_and_provenance_leave_out_where_it_runs(tiny):
    folder = str(tiny("owlv2"))
    one = make_expert("owlv2", {"model": folder, "batch_size": 1, "device": "cpu"}).identity
    two = make_expert("owlv2", {"model": folder, "batch_size": 9}).identity
    other = make_expert("owlv2", {"model": folder, "box_threshold": 0.2}).identity
    assert one == two
    assert other.config_hash != one.config_hash


@pytest.mark.slow
def test_compiled_parts_are_compiled(tiny):
    options = {"model": str(tiny("owlv2")), "compile": True}
    model = TorchModel(expert="owlv2", classes={"owlv2": "Owlv2ForObjectDetection"}, options=options,
                       compiled=("owlv2.vision_model",))  # fmt: skip
    assert model.net.owlv2.vision_model._compiled_call_impl is not None
    assert model.net._compiled_call_impl is None


@pytest.mark.slow
def test_devices_and_dtypes_are_what_they_say():
    import torch

    cpu = pick_device("cpu")
    assert pick_dtype("auto", cpu) == torch.float32
    assert pick_dtype("bfloat16", cpu) == torch.bfloat16
    assert pick_dtype("auto", torch.device("cuda")) == torch.bfloat16
    with pytest.raises(ValueError, match="float33"):
        pick_dtype("float33", cpu)
    with pytest.raises(ValueError, match="abacus"):
        pick_device("abacus")
    if not torch.cuda.is_available():
        assert pick_device("auto") == cpu
        with pytest.raises(ValueError, match="no CUDA device"):
            pick_device("cuda")


def test_chunks_hold_alike_rows_and_answers_keep_their_order():
    rows = ["a", "bb", "c", "dd", "e", "ff", "g"]
    asked = []
    found = in_chunks(
        rows, lambda chunk: asked.append(chunk) or [x.upper() for x in chunk], most=3, alike=len
    )
    assert found == [row.upper() for row in rows]
    assert asked == [["a", "c", "e"], ["g"], ["bb", "dd", "ff"]]


@pytest.mark.slow
def test_a_chunk_that_does_not_fit_is_halved():
    import torch

    fitted = []

    def forward(rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("no memory")
        fitted.append(len(rows))
        return [row * 10 for row in rows]

    assert halving([1, 2, 3, 4, 5], forward) == [10, 20, 30, 40, 50]
    assert fitted == [2, 1, 2]

    def never(rows):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        halving([1, 2], never)


def test_the_same_pixels_are_encoded_once_and_the_oldest_goes_first():
    made = []
    kept = Encodings(keep=2)

    def encode(images):
        made.extend(images)
        return [f"{image.shape} {image.sum()}" for image in images]

    a, b, c, _ = SIZES
    first = kept.of([a, b, a.copy(), c], encode)
    assert len(made) == 3
    assert first[0] == first[2] != first[1]
    assert kept.of([a, c], encode) == [first[0], first[3]]
    assert len(made) == 3
    assert kept.of([b, a, c], encode)[1:] == [first[0], first[3]]
    assert len(made) == 4
    flat = np.zeros((2, 6, 3), np.uint8)
    assert len(set(kept.of([flat, flat.reshape(6, 2, 3), flat + 1], encode))) == 3


@pytest.mark.parametrize("text", WEIRD)
def test_plain_text_is_one_line_that_encodes(text):
    kept = plain(text)
    assert kept.encode()
    assert "\n" not in kept
    assert "<" not in kept


def test_a_prompt_of_nothing_is_nothing():
    assert fill("a photo of {}", " <\x00> ") == ""
    assert fill("a {}", "{} cup") == "a {} cup"


@pytest.mark.slow
def test_a_text_is_cut_between_tokens():
    from tests.annotators.models.tiny_models import bart_tokenizer

    words = bart_tokenizer()
    assert cut(words, "the mug", 100) == "the mug"
    short = cut(words, "mug " * 50, 7)
    assert "mug mug".startswith(short[:7])
    assert len(words(short, add_special_tokens=False)["input_ids"]) <= 7
