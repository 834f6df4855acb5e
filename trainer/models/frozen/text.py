"""The frozen text encoder of a recipe: CLIP's or T5's through transformers, reading the tokens of its own tokenizer.

A text ends with the encoder's end token, and what follows is padding: so padding is told from the tokens alone, also
where a tokenizer pads with the end token itself, as CLIP's does. The vector of the whole text is what stands at the end
token for CLIP, which was trained to gather it there, and the mean over the tokens for T5, which was not.

Letters: b samples, t tokens, d width of the encoder.
"""

from typing import Any

import torch
from torch import Tensor, nn

from annotators.models.torch_model import check_kind, kind_of, load_complete
from annotators.models.weights import Named, fetch_weights, name_weights
from trainer.models.config import FrozenTextConfig
from trainer.models.frozen.image import products

CLASSES = {"clip": "CLIPTextModel", "clip_text_model": "CLIPTextModel", "t5": "T5EncoderModel"}
"""`model_type` of config.json -> class of transformers."""


class FrozenText(nn.Module):
    """Token ids -> hidden states, without gradients.

    Args:
        net: the text model, in the dtype it computes in.
        end: id of the token that ends a text.
        at_end: whether the end token stands for the whole text; else the mean of all does.
    """

    def __init__(self, net: nn.Module, *, end: int, at_end: bool) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.end, self.at_end = end, at_end
        config: Any = net.config
        self.dim: int = config.d_model if config.model_type == "t5" else config.hidden_size

    def train(self, mode: bool = True) -> "FrozenText":
        """Stays in evaluation mode: T5 has dropout."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens bt -> (float32 btd, float32 bd of the whole text, bool bt that is False for padding)."""
        real = up_to_end(tokens, self.end)
        with torch.autocast(tokens.device.type, enabled=False):
            out = self.net(input_ids=tokens, attention_mask=real.long())
        hidden = out.last_hidden_state.float()
        share = real.float()
        if self.at_end:
            last = real.sum(1, keepdim=True) - 1
            share = torch.zeros_like(share).scatter(1, last, 1.0)
        share = share / share.sum(1, keepdim=True)
        whole = (hidden * share[..., None]).sum(1)
        return hidden, whole, real


def up_to_end(tokens: Tensor, end: int) -> Tensor:
    """bool bt: True up to and with the first end token of a row.

    >>> up_to_end(torch.tensor([[7, 2, 2, 2], [7, 8, 9, 2]]), 2).int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 1]]
    """
    ends = (tokens == end).int()
    return ends.cumsum(1) - ends == 0


def name_text(config: FrozenTextConfig) -> Named:
    """Which weights these are; raises as `trainer.models.frozen.image.name_image`."""
    return name_weights(config.model, config.revision)


def load_frozen_text(config: FrozenTextConfig, *, end: int) -> FrozenText:
    """The encoder of a recipe, on the CPU.

    Raises:
        ValueError: the weights are not to be had, of another revision or of another model.
    """
    import transformers

    folder = fetch_weights(config.model, name_text(config).revision)
    check_kind(folder, "text encoder", config.model, [*CLASSES])
    kind = kind_of(folder)
    net = load_complete(getattr(transformers, CLASSES[kind]), folder, "text encoder")
    return FrozenText(net.to(products(config.dtype)), end=end, at_end=kind != "t5")
