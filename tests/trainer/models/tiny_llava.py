"""A tiny random LLaVA-1.5 saved as its hub holds it: CLIP's tower, a Llama, and a tokenizer that works like Llama's.

The tokenizer is a BPE without pre-tokenizer that falls back to bytes, so that a line break is a byte of its own.
`llava_1_5_7b` is the configuration of the real one, for counting.
"""

from pathlib import Path
from typing import Any

import torch

from tests.annotators.models.tiny_models import randomise

TEXTS = [
    "find the red square ",
    "where is the blue mug ",
    "USER: ASSISTANT: ",
    " Can you follow instruction above based on the given image? ",
]
SIDE, PATCH = 28, 14


def tokenizer() -> Any:
    """Llama's kind of tokenizer over a few words."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    bpe.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False),
    )
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
    )
    made.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return made


def config(words: Any) -> Any:
    """Two layers of everything; another width for image and text."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
            image_size=SIDE, patch_size=PATCH, projection_dim=16,
        ),
        text_config=LlamaConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
            pad_token_id=words.pad_token_id, bos_token_id=1, eos_token_id=2,
        ),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
    )  # fmt: skip


def save_llava(folder: Path, *, seed: int = 0) -> Path:
    """Write weights, configuration and processor, ready for `from_pretrained`, and return the folder."""
    from transformers import CLIPImageProcessor, LlavaForConditionalGeneration, LlavaProcessor

    words = tokenizer()
    torch.manual_seed(seed)
    net = LlavaForConditionalGeneration(config(words)).eval()
    randomise(net, seed)
    net.save_pretrained(folder)
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    LlavaProcessor(
        image_processor=images,
        tokenizer=words,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def llava_1_5_7b() -> Any:
    """LLaVA-1.5-7B: CLIP ViT-L/14 at 336 pixels before Vicuna-7B."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
            image_size=336, patch_size=14, projection_dim=768,
        ),
        text_config=LlamaConfig(
            vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
            num_attention_heads=32, num_key_value_heads=32, max_position_embeddings=4096,
            rms_norm_eps=1e-5,
        ),
        image_token_index=32000,
        image_seq_length=576,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
