"""Tiny models with random parameters, saved as a hub would hold them: weights, configuration, tokenizer, processor.

`save(kind, folder)` writes one; `KINDS` lists them. Parameters are drawn anew from a seed and spread wide, those that
are constant when fresh (biases, scales, position tables) included, so that no term of a formula hides in a zero and
scores lie on both sides of any threshold. They see nothing: what they show is that two programs compute the same.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf

WORDS = [
    "the",
    "a",
    "on",
    "left",
    "red",
    "blue",
    "small",
    "mug",
    "ball",
    "box",
    "man",
    "shirt",
    "thing",
    "is",
    "where",
]
CARD = "---\nlicense: apache-2.0\n---\n# tiny\n"


def save(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write the tiny model called `kind` into `folder`, ready for `from_pretrained`, and return the folder."""
    torch.manual_seed(seed)
    model, processor = KINDS[kind]()
    randomise(model, seed)
    if kind == "florence2":
        speak(model, processor.tokenizer, seed)
    model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def randomise(model: Any, seed: int) -> None:
    """Draw every parameter anew; scales stay near one, the rest is wide enough to matter."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=rng)
            if "norm" in name and name.endswith("weight"):
                value.copy_(1.0 + 0.2 * noise)
            elif "bbox_embed" in name or name.endswith(("text_param", "vision_param")):
                value.copy_(0.15 * noise)  # boxes stay off the borders, words stay apart
            elif value.ndim >= 2:
                fan = value[0].numel() if "embed" not in name else 4
                reads = "text_backbone.encoder" in name or "text_enhancer" in name
                value.copy_(noise * ((0.7 if reads else 1.5) / fan**0.5))
            else:
                value.copy_(0.3 * noise)


def speak(model: Any, tokenizer: Any, seed: int) -> None:
    """Give a Florence-2 decoder a position table that leans towards words followed by location tokens.

    Its token embeddings are its output layer too, so a position that points along a token's embedding makes that token
    likely there; how likely, and what else comes, is left to the random rest.
    """
    rng = np.random.default_rng(seed)
    ids = tokenizer.convert_tokens_to_ids
    spans = [rng.integers(0, 1000, 4) for _ in range(6)]
    said = ["</s>", "<s>"]
    for number, (x, y, w, h) in enumerate(spans):
        low = (int(min(x, w)), int(min(y, h)))
        high = (int(max(x, w)), int(max(y, h)))
        said += ["mug"] if number % 2 == 0 else []
        said += [f"<loc_{v}>" for v in (*low, *high)]
    said += ["</s>"] * 4
    table = model.model.language_model.decoder.embed_positions.weight
    shared = model.model.language_model.shared.weight
    with torch.no_grad():
        shared *= 2.0
        for name, value in model.model.language_model.decoder.layers.named_parameters():
            if value.ndim == 2:
                value *= 0.45 if "encoder_attn" in name else 0.3
        for position, token in enumerate(said[1:]):
            table[position + 2] = 0.3 * table[position + 2] + 12.0 * shared[ids(token)]


def word_pieces() -> Any:
    """A BERT tokenizer with the ids that Grounding DINO wants for its delimiters (101, 102, 1012, 1029)."""
    tokens = [f"[unused{i}]" for i in range(1100)]
    fixed = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    for index, token in (fixed | {1012: ".", 1029: "?"}).items():
        tokens[index] = token
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens[200 : 200 + len(WORDS)] = WORDS
    tokens[300 : 300 + len(letters)] = list(letters)
    tokens[400 : 400 + len(letters)] = [f"##{letter}" for letter in letters]
    return hf.BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})


def clip_tokenizer(length: int) -> Any:
    """A CLIP tokenizer of single bytes and whole words; at most `length` tokens, its padding token is number 0."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = ["!", *(x for x in letters if x != "!"), *(f"{x}</w>" for x in letters)]
    tokens += [
        "th",
        "the</w>",
        "mu",
        "mug</w>",
        "re",
        "red</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    merges = [("t", "h"), ("th", "e</w>"), ("m", "u"), ("mu", "g</w>"), ("r", "e"), ("re", "d</w>")]
    vocab = {token: index for index, token in enumerate(tokens)}
    return hf.CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=length, pad_token="!")


def bart_tokenizer() -> Any:
    """A BART tokenizer of bytes and words, with Florence-2's location tokens and image token."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocab: dict[str, int] = {}
    for token in ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "mu", "mug", "<mask>"]:  # fmt: skip
        vocab[token] = len(vocab)
    made = hf.BartTokenizer(
        vocab=vocab,
        merges=[("m", "u"), ("mu", "g")],
        extra_special_tokens={"image_token": "<image>"},
    )
    extra = ["<od>", "</od>", "<sep>", "<poly>", "</poly>", *(f"<loc_{i}>" for i in range(1000))]
    made.add_tokens(extra)
    return made


def text(tokenizer: Any, length: int) -> dict[str, Any]:
    return dict(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=length, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def vision(side: int, patch: int = 8, layers: int = 2) -> dict[str, Any]:
    return dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=2, image_size=side,
        patch_size=patch,
    )  # fmt: skip


def grounding_dino(prefix: str = "GroundingDino") -> tuple[Any, Any]:
    swin = dict(
        model_type="swin", image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2],
        window_size=4, out_indices=[2, 3, 4],
    )  # fmt: skip
    bert = dict(
        model_type="bert", vocab_size=1100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=64,
    )  # fmt: skip
    config = getattr(hf, f"{prefix}Config")(
        backbone_config=hf.SwinConfig(**{k: v for k, v in swin.items() if k != "model_type"}),
        text_config=hf.BertConfig(**{k: v for k, v in bert.items() if k != "model_type"}),
        d_model=64, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48,
        encoder_attention_heads=4, decoder_attention_heads=4, num_queries=20, num_feature_levels=4, max_text_len=32,
    )  # fmt: skip
    model = getattr(hf, f"{prefix}ForObjectDetection")(config)
    images = hf.GroundingDinoImageProcessor(size={"shortest_edge": 48, "longest_edge": 96})
    return model, hf.GroundingDinoProcessor(images, word_pieces())


def owlv2() -> tuple[Any, Any]:
    words = clip_tokenizer(16)
    config = hf.Owlv2Config(
        text_config=text(words, 16), vision_config=vision(48), projection_dim=32
    )
    images = hf.Owlv2ImageProcessor(size={"height": 48, "width": 48})
    return hf.Owlv2ForObjectDetection(config), hf.Owlv2Processor(images, words)


def clipseg() -> tuple[Any, Any]:
    words = clip_tokenizer(24)
    config = hf.CLIPSegConfig(
        text_config=text(words, 24), vision_config=vision(32, layers=3), projection_dim=32, extract_layers=[0, 1, 2],
        reduce_dim=16, decoder_num_attention_heads=2, decoder_intermediate_size=32,
    )  # fmt: skip
    images = hf.ViTImageProcessor(size={"height": 48, "width": 48})
    return hf.CLIPSegForImageSegmentation(config), hf.CLIPSegProcessor(images, words)


def clip() -> tuple[Any, Any]:
    words = clip_tokenizer(24)
    config = hf.CLIPConfig(text_config=text(words, 24), vision_config=vision(32), projection_dim=24)
    images = hf.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return hf.CLIPModel(config), hf.CLIPProcessor(images, words)


def siglip() -> tuple[Any, Any]:
    words = clip_tokenizer(24)
    said = hf.SiglipTextConfig(**text(words, 24), projection_size=32)
    config = hf.SiglipConfig(text_config=said, vision_config=vision(32))
    images = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    return hf.SiglipModel(config), hf.SiglipProcessor(images, words)


def florence2() -> tuple[Any, Any]:
    words = bart_tokenizer()
    seen = dict(
        depths=[1, 1], patch_size=[7, 3], patch_stride=[4, 2], patch_padding=[3, 1], patch_prenorm=[False, True],
        embed_dim=[16, 32], num_heads=[2, 2], num_groups=[2, 2], window_size=4, projection_dim=32,
        drop_path_rate=0.0,
    )  # fmt: skip
    said = hf.BartConfig(
        vocab_size=len(words), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=160,
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    config = hf.Florence2Config(
        vision_config=seen, text_config=said, image_token_id=words.convert_tokens_to_ids("<image>"),
        bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    images = hf.CLIPImageProcessor(
        size={"height": 48, "width": 48}, do_center_crop=False, image_seq_length=37
    )
    images.image_seq_length = 37
    parse = json.loads(FLORENCE_PARSE)
    return hf.Florence2ForConditionalGeneration(config), hf.Florence2Processor(
        images, words, post_processor_config=parse
    )


FLORENCE_PARSE = """{"phrase_grounding": {"PARSE_TASK": "", "banned_grounding_tokens": ["it", "the image"]},
"description_with_bboxes": {}, "description_with_bboxes_or_polygons": {}, "pure_text": {}}"""

KINDS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "clip": clip,
    "clipseg": clipseg,
    "florence2": florence2,
    "grounding_dino": grounding_dino,
    "mm_grounding_dino": lambda: grounding_dino("MMGroundingDino"),
    "owlv2": owlv2,
    "siglip": siglip,
}
