"""A frozen LLaVA with a LoRA of its own: image and prompt in, the last layer's state at one token out.

As in IVM (arXiv 2405.19783, released code) the low-rank updates (arXiv 2106.09685) sit on q_proj and v_proj of the
language model alone; names of its layers are matched whole, since CLIP's tower has a q_proj and a v_proj too. Generator
and discriminator are two of these: `twin` shares every frozen parameter and has an adapter of its own, so that neither
can train the other's, and no adapter is switched between two forward passes.

Position -2 of a padded batch is the release's trap: it means another token for each length. Here rows are first turned
so that padding is at the end, where causal attention cannot see it, and the position is counted from the last real
token. The head that writes words is not kept. transformers asks once a pass whether sequences were packed, which waits
for the device; nothing else here does.

Letters: b samples, t tokens, d width of the language model, h w pixels of the frame.
"""

import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from annotators.models.torch_model import check_kind, load_complete, load_processor
from annotators.models.weights import fetch_weights
from trainer.models.frozen.sam import squash
from trainer.models.ivm.prompt import LlavaTokens, real_first

ADAPTED = r"language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)"
"""Which modules of a LlavaModel get an adapter: full match."""


class LlavaParts(NamedTuple):
    """What lies in a folder of LLaVA: the frozen network without its head, and how it is shown texts and images."""

    net: Any
    """transformers' LlavaModel."""
    tokenizer: Any
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Llava(nn.Module):
    """State of the last layer, after its norm, at a token counted from the end.

    Args:
        parts: a frozen LLaVA without adapters; its network is changed in place.
        rank: of the updates.
        alpha: updates are scaled by alpha / rank.
        dropout: on what enters an update, in training.
        checkpointing: compute the layers' activations again in the backward pass instead of keeping them.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        parts: LlavaParts,
        *,
        rank: int = 8,
        alpha: int = 16,
        dropout: float = 0.05,
        checkpointing: bool = False,
    ) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        super().__init__()
        parts.net.requires_grad_(False)
        lora = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=ADAPTED
        )
        self.net: Any = inject_adapter_in_model(lora, parts.net)
        for parameter in self.net.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        if checkpointing:
            _recompute_layers(self.net.language_model)
        self.width: int = self.net.config.text_config.hidden_size
        self.image_tokens = image_tokens(self.net.config)
        self.image_id: int = self.net.config.image_token_id
        side: int = self.net.config.vision_config.image_size
        self.size_hw = (side, side)
        for name, values in (("mean", parts.mean), ("std", parts.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, image: Tensor, tokens: Tensor, *, pad: int, from_end: int) -> Tensor:
        """float32 bd: the state at the real token that `from_end` real ones follow.

        Args:
            image: float b3hw, RGB in [0, 1], of any size.
            tokens: int64 bt of whole prompts, each with its image tokens, padded anywhere.
            pad: id of the padding.
            from_end: 0 = the last real token.
        """
        rows, real = real_first(tokens, tokens != pad)
        states = self.net.language_model(
            inputs_embeds=self._embed(image, rows), use_cache=False
        ).last_hidden_state
        at = real.sum(1) - 1 - from_end
        return states[torch.arange(len(rows), device=rows.device), at].float()

    @torch.no_grad()
    def _embed(self, image: Tensor, rows: Tensor) -> Tensor:
        """What enters the language model, btd: words, and the image's patches at the image tokens."""
        words = self.net.get_input_embeddings()(rows)
        seen = self.net.get_image_features(pixel_values=self.pixels(image).to(words.dtype))
        patches = torch.stack(list(seen.pooler_output))
        return words.masked_scatter((rows == self.image_id)[..., None], patches.to(words.dtype))

    def pixels(self, image: Tensor) -> Tensor:
        """What CLIP's tower is shown of b3hw: the whole frame, squashed (bicubic) and normalised, float32."""
        return (squash(image.float(), self.size_hw, mode="bicubic") - self.mean) / self.std


def _recompute_layers(net: Any) -> None:
    """Tell a model of transformers to keep no activations inside its layers; version 5 has two names for it."""
    enable = getattr(net, "activation_checkpointing_enable", net.gradient_checkpointing_enable)
    enable({"use_reentrant": False})


def twin(parts: LlavaParts) -> LlavaParts:
    """A second network over the same frozen parameters; to be made before either has an adapter."""
    shared = {id(p): p for p in parts.net.parameters()}
    return parts._replace(net=copy.deepcopy(parts.net, shared))


def image_tokens(config: Any) -> int:
    """Places that one image takes in a prompt, from a LlavaConfig."""
    grid = config.vision_config.image_size // config.vision_config.patch_size
    return grid * grid + (0 if config.vision_feature_select_strategy == "default" else 1)


def load_llava(
    model: str, *, revision: str | None = None, dtype: torch.dtype | None = None
) -> LlavaParts:
    """Read LLaVA-1.5 from a folder of transformers or the hub, frozen, in `dtype` (float32).

    Raises:
        ValueError: the weights are not to be had, of another kind, or incomplete.
    """
    from transformers import LlavaForConditionalGeneration

    folder: Path = _llava_folder(model, revision)
    processor = load_processor_of(folder)
    net = load_complete(LlavaForConditionalGeneration, folder, "ivm", dtype=dtype).model
    images = processor.image_processor
    return LlavaParts(
        net=net.requires_grad_(False),
        tokenizer=processor.tokenizer,
        mean=tuple(images.image_mean),
        std=tuple(images.image_std),
    )


def load_llava_tokens(
    model: str, *, revision: str | None = None, max_tokens: int = 256
) -> LlavaTokens:
    """The tokens of `load_llava`'s model, without its weights.

    Raises:
        ValueError: as there.
    """
    from transformers import AutoConfig

    folder: Path = _llava_folder(model, revision)
    return LlavaTokens(
        tokenizer=load_processor_of(folder).tokenizer,
        image_tokens=image_tokens(AutoConfig.from_pretrained(folder, local_files_only=True)),
        max_tokens=max_tokens,
    )


def load_processor_of(folder: Path) -> Any:
    """LlavaProcessor of a folder.

    Raises:
        ValueError: its files are missing.
    """
    from transformers import LlavaProcessor

    return load_processor(LlavaProcessor, folder, "ivm")


def _llava_folder(model: str, revision: str | None) -> Path:
    folder = fetch_weights(model, None if Path(model).expanduser().exists() else revision)
    check_kind(folder, "ivm", model, ["llava"])
    return folder
