"""SAM's two-way transformer (arXiv 2304.02643, app. A) that can hide padded tokens, under segment-anything's names.

segment-anything's own has no way to hide a token, so a padded instruction would give another mask than the same one
alone. Names and shapes of the parameters are the same, and without anything to hide so is the result
(`tests/trainer/models/base/test_mask_decoder.py`).

Letters: b samples, t tokens, n places of the image, d width.
"""

from segment_anything.modeling.common import MLPBlock
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class TwoWayTransformer(nn.Module):
    """Tokens and image attend to each other `depth` times; then the tokens look at the image once more.

    Args:
        dim: width d of tokens and image.
        depth: blocks.
        heads: attention heads.
        mlp: inner width of the blocks' MLPs.
        downsample: how much narrower attention between tokens and image is than d.
    """

    def __init__(self, *, dim: int, depth: int, heads: int, mlp: int, downsample: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim=dim, heads=heads, mlp=mlp, downsample=downsample, first=i == 0)
            for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, heads=heads, downsample=downsample)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_place: Tensor, tokens: Tensor, real: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """image bnd, image_place nd, tokens btd, real bool bt (False = nobody looks at it) -> tokens, image.

        Each row needs one real token at least.
        """
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, image_place, real)
        seen = self.final_attn_token_to_image(queries + tokens, keys + image_place, keys)
        return self.norm_final_attn(queries + seen), keys


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP on tokens, image to tokens; norms come after, as in SAM.

    The `first` block's self-attention replaces the tokens, which are their own places, and adds nothing to them.
    """

    def __init__(self, *, dim: int, heads: int, mlp: int, downsample: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, heads=heads, downsample=1)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads=heads, downsample=downsample)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLPBlock(dim, mlp, nn.ReLU)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads=heads, downsample=downsample)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        token_place: Tensor,
        image_place: Tensor,
        real: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        if self.first:
            queries = self.self_attn(queries, queries, queries, real)
        else:
            q = queries + token_place
            queries = queries + self.self_attn(q, q, queries, real)
        queries = self.norm1(queries)
        k = keys + image_place
        seen = self.cross_attn_token_to_image(queries + token_place, k, keys)
        queries = self.norm2(queries + seen)
        queries = self.norm3(queries + self.mlp(queries))
        told = self.cross_attn_image_to_token(k, queries + token_place, queries, real)
        return queries, self.norm4(keys + told)


class Attention(nn.Module):
    """Multi-head attention of `dim / downsample` channels."""

    def __init__(self, dim: int, *, heads: int, downsample: int) -> None:
        super().__init__()
        inner = dim // downsample
        if dim % downsample or inner % heads:
            raise ValueError(
                f"{heads} heads of {dim} channels, {downsample} times narrower; expected a width that divides evenly"
            )
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None) -> Tensor:
        """Queries bqd over keys and values bkd; real bool bk, False = hidden."""
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        hidden = None if real is None else real[:, None, None, :]
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=hidden)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))
