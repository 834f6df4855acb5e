"""A transformers model behind an expert: found, checked, loaded at first use, run batched on the device there is.

How an expert uses it (the class itself is light; torch is imported when `net` or `processor` is first read):

    self._torch = TorchModel(expert=self.name, classes={"owlv2": "Owlv2ForObjectDetection"}, options=options)
    self._torch.identity                                  # Identity, without loading weights; may raise ValueError
    inputs = self._torch.processor(images=..., text=...)  # AutoProcessor of the same folder
    with self._torch.running():                           # inference mode, autocast if dtype is not float32
        out = self._torch.net(**self._torch.on_device(inputs))
    answers = in_chunks(rows, forward, most=self._torch.at_once(batch_size), alike=shape_of)

Two decisions. Weights stay float32 and `dtype` is what autocast computes in: half weights break models that mix in
float32 tables, and masks and boxes are float32 at the end. A batch must give what single calls give, and matrix
products round differently at another batch size; so on a CPU, which gains little from batches, `at_once` is 1 and the
promise holds bit for bit, and on a GPU rows run together, equal up to rounding. Images of unequal shape are never
padded to run together, which changes results by more than rounding; texts are, their padding being masked.

`Encodings` (annotators.models.encodings) is the encode-once companion.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from annotators.identity import Identity
from annotators.models.weights import fetch_weights, name_weights
from annotators.protocols import Image
from annotators.registry import config_hash

DTYPES = ("auto", "float32", "bfloat16", "float16")
T = TypeVar("T")
R = TypeVar("R")


def pick_device(device: str) -> Any:
    """The torch.device that `device` means: "auto" is the CUDA device where there is one, else the CPU.

    Raises:
        ValueError: it names a CUDA device and there is none.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device {device!r}, but this machine has no CUDA device; give auto or cpu"
        )
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r}: {error}; expected auto, cpu or cuda") from None


def pick_dtype(dtype: str, device: Any) -> Any:
    """The torch.dtype to compute in: "auto" is float32 on a CPU and bfloat16 on CUDA.

    Raises:
        ValueError: it is none of `DTYPES`.
    """
    import torch

    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}; expected one of {', '.join(DTYPES)}")
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    return getattr(torch, dtype)


def running(device: Any, dtype: Any) -> Any:
    """Context in which a network answers: no gradients, products in `dtype`."""
    import torch

    @contextmanager
    def context() -> Iterator[None]:
        mixed = torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)
        with torch.inference_mode(), mixed:
            yield

    return context()


class TorchModel:
    """One model with its processor, for one expert.

    Args:
        expert: registered name of the expert.
        classes: `model_type` of config.json -> class of transformers that loads it; the kinds the expert takes.
        options: all of the expert's options: `model` and, where it has them, `revision`, `device`, `dtype`, `compile`.
        prompt_version: how the expert words what it asks; part of its identity.
        compiled: submodules that `compile` gives to torch.compile; empty: the forward pass as a whole.
    """

    def __init__(
        self,
        *,
        expert: str,
        classes: Mapping[str, str],
        options: Mapping[str, Any],
        prompt_version: str = "",
        compiled: Sequence[str] = (),
    ) -> None:
        self.expert, self.classes, self.options = expert, dict(classes), dict(options)
        self.prompt_version, self.compiled = prompt_version, tuple(compiled)
        self.config_hash = config_hash(expert, options)

    @cached_property
    def identity(self) -> Identity:
        """Who answers.

        Raises:
            ValueError: the weights are not to be had.
        """
        named = name_weights(self.options["model"], self.options.get("revision"))
        return Identity(
            expert=self.expert,
            model=named.model,
            revision=named.revision,
            prompt_version=self.prompt_version,
            licence=named.licence,
            config_hash=self.config_hash,
        )

    @cached_property
    def folder(self) -> Path:
        """Where the weights lie, fetched if need be, of the kind that the expert takes.

        Raises:
            ValueError: they are not to be had, or are of another kind.
        """
        model = self.options["model"]
        local = Path(model).expanduser().exists()
        folder = fetch_weights(model, None if local else self.identity.revision)
        check_kind(folder, self.expert, model, [*self.classes])
        return folder

    @cached_property
    def device(self) -> Any:
        return pick_device(self.options.get("device", "auto"))

    @cached_property
    def dtype(self) -> Any:
        return pick_dtype(self.options.get("dtype", "auto"), self.device)

    @cached_property
    def net(self) -> Any:
        """The network, in evaluation mode on its device.

        Raises:
            ValueError: the weights are not to be had, of another kind, or incomplete.
        """
        import transformers

        folder = self.folder
        chosen = getattr(transformers, self.classes[kind_of(folder)])
        net = load_complete(chosen, folder, self.expert).to(self.device)
        if self.options.get("compile"):
            for part in [net.get_submodule(name) for name in self.compiled] or [net]:
                part.compile()
        return net

    @cached_property
    def processor(self) -> Any:
        """Image processor and tokenizer as they were saved with the weights.

        Raises:
            ValueError: the folder lacks them.
        """
        from transformers import AutoProcessor

        return load_processor(AutoProcessor, self.folder, self.expert)

    def running(self) -> Any:
        """Context for a forward pass."""
        return running(self.device, self.dtype)

    def exact(self) -> Any:
        """Context for the last small layers, in float32: box coordinates do not survive bfloat16's 8 bits."""
        import torch

        return running(self.device, torch.float32)

    def on_device(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors of `inputs` on the model's device."""
        return {key: value.to(self.device) for key, value in inputs.items()}

    def at_once(self, batch_size: int) -> int:
        """How many rows may run together: `batch_size` on a GPU, one on a CPU."""
        return batch_size if self.device.type == "cuda" else 1


def photographs(images: Sequence[Image]) -> list[Any]:
    """RGB uint8 (h, w, 3) arrays as PIL images: an array three pixels high is taken for channels first, these not."""
    from PIL import Image as pil

    return [pil.fromarray(np.ascontiguousarray(image)) for image in images]


def kind_of(folder: Path) -> str:
    """`model_type` of a folder's config.json, or "" when there is none."""
    config = folder / "config.json"
    if not config.is_file():
        return ""
    try:
        return str(json.loads(config.read_text("utf-8")).get("model_type", ""))
    except (json.JSONDecodeError, AttributeError, UnicodeDecodeError):
        return ""


def check_kind(folder: Path, expert: str, model: str, kinds: Sequence[str]) -> None:
    """Hold a folder of weights to the kinds of model that an expert takes.

    Raises:
        ValueError: it is of another kind, no folder of transformers, or without safetensors.
    """
    found = kind_of(folder)
    if found not in kinds:
        what = f"a {found!r} model" if found else "no folder with a config.json of transformers"
        raise ValueError(
            f"expert {expert!r}: weights {model} are {what}; expected a model of type {' or '.join(kinds)}"
        )
    if not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"expert {expert!r}: weights {model} hold no .safetensors file; pickled weights are not loaded: save "
            f"them again with save_pretrained, or choose a revision that has safetensors"
        )


def load_complete(chosen: Any, folder: Path, expert: str, *, dtype: Any = None) -> Any:
    """`chosen.from_pretrained(folder)` in evaluation mode, every parameter from the file, in `dtype` (float32).

    Raises:
        ValueError: the file cannot be read, or lacks parameters (which would stay random).
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    bars, words = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # it lists what the file holds beyond the model; what lacks is an error below
    try:
        net, told = chosen.from_pretrained(
            folder,
            dtype=dtype or torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(
            f"expert {expert!r}: weights {folder} do not load as {chosen.__name__}: {error}"
        ) from error
    finally:
        logging.set_verbosity(words)
        if bars:
            logging.enable_progress_bar()
    if missing := sorted(told["missing_keys"]):
        raise ValueError(
            f"expert {expert!r}: weights {folder} lack {len(missing)} parameters of {chosen.__name__} "
            f"({', '.join(missing[:3])}, ...); they are damaged or of another model"
        )
    return net.eval()


def load_processor(chosen: Any, folder: Path, expert: str) -> Any:
    """`chosen.from_pretrained(folder)` for a processor, image processor or tokenizer, from local files alone.

    Raises:
        ValueError: the folder lacks its files.
    """
    try:
        return chosen.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"expert {expert!r}: weights {folder} have no usable processor files ({error}); save the processor "
            f"beside the model"
        ) from error


def in_chunks(
    rows: Sequence[T],
    forward: Callable[[list[T]], Sequence[R]],
    *,
    most: int,
    alike: Callable[[T], Hashable] = lambda row: None,
) -> list[R]:
    """`forward` over all rows, those of equal `alike` together and at most `most` at once; answers in row order.

    A chunk that the GPU has no memory for is halved until it fits; a single row that does not fit raises.
    """
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[alike(row)].append(index)
    found: dict[int, R] = {}
    for indices in groups.values():
        for start in range(0, len(indices), most):
            chunk = indices[start : start + most]
            answers = halving([rows[i] for i in chunk], forward)
            found.update(zip(chunk, answers, strict=True))
    return [found[index] for index in range(len(rows))]


def halving(rows: list[T], forward: Callable[[list[T]], Sequence[R]]) -> list[R]:
    """`forward(rows)`, in halves where the GPU has no memory for all.

    Raises:
        torch.OutOfMemoryError: it has none for a single row.
    """
    import torch

    try:
        return list(forward(rows))
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(rows) // 2
    return halving(rows[:middle], forward) + halving(rows[middle:], forward)
