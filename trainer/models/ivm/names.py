"""The published file of IVM-V1.0 by name: which of its tensors is which of ours.

What its names are is a fact of the released classes (github.com/2toinf/IVM, read in the source): adapters of peft
inside a LlavaForConditionalGeneration of transformers before 4.52, a timm MLP, and a decoder under SAM's names. The
file itself, IVM-V1.0.bin of 66.5 MB, could not be opened where this was written; its size fits these tensors in
float32 and nothing more. The release loads it with `strict=False`, which hides what is missing; here everything must be
there, the decoder's random frequencies included, without which another model would answer.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.models.saved_model import load_trained, trained_tensors

PREFIXES = {
    "lmm.net.language_model.": "prompt_encoder.model.base_model.model.language_model.model.",
    "projector.": "prompt_encoder.text_proj.",
    "decoder.": "mask_decoder.",
}
"""Start of our name -> start of the published one; the rest is the same."""
LISTED = 8
"""Names that an error lists of each kind."""


def published_name(ours: str) -> str:
    """The published name of a trained tensor of `trainer.models.ivm.model.IvmModel`.

    >>> published_name("projector.fc1.bias")
    'prompt_encoder.text_proj.fc1.bias'
    """
    for start, theirs in PREFIXES.items():
        if ours.startswith(start):
            return theirs + ours.removeprefix(start)
    raise AssertionError(f"{ours} is no trained tensor of an IvmModel")


def load_published(model: nn.Module, file: Path) -> None:
    """Put the tensors of a published file into an `trainer.models.ivm.model.IvmModel`, as float32.

    Raises:
        ValueError: the file cannot be read, or its names or shapes are not those of the model; all kinds of
            disagreement are in one message.
    """
    found = read_published(file)
    wanted = {published_name(name): (name, value) for name, value in trained_tensors(model).items()}
    reshaped = [
        f"{name} {tuple(found[name].shape)} for {tuple(wanted[name][1].shape)}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name].shape != wanted[name][1].shape
    ]
    told = [
        _listed("lacks", sorted(wanted.keys() - found.keys())),
        _listed("has unknown", sorted(found.keys() - wanted.keys())),
        _listed("has of another shape", reshaped),
    ]
    if any(told):
        raise ValueError(
            f"{file} does not fit this model: it {'; it '.join(filter(None, told))}; expected IVM-V1.0.bin of the "
            f"release, and a recipe with its sizes"
        )
    load_trained(model, {wanted[name][0]: value.float() for name, value in found.items()})


def read_published(file: Path) -> Mapping[str, Tensor]:
    """The tensors of a .safetensors or a torch file; nothing in it is run.

    Raises:
        ValueError: it is neither, or there is none.
    """
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file; expected IVM-V1.0.bin of the release")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    except Exception as error:  # torch says "not a file of tensors" with a dozen types
        raise ValueError(
            f"{file} cannot be read as a table of tensors ({type(error).__name__})"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"{file} holds no plain table of tensors; expected a state dict")
    return found


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{what} {len(names)} tensors ({', '.join(names[:LISTED])}{more})"
