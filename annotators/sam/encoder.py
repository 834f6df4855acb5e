"""SAM's image encoder (ViTDet, arXiv 2203.16527), faster with the same parameters and the same embeddings.

What differs from segment-anything's `ImageEncoderViT`, none of it in what is computed: attention without (N, N) tables
(`annotators.sam.attention`); tables of relative positions laid out once, not at every call; windows are padded after
the projection to q, k and v, since a padding token projects to the bias, and cropped before the projection back. In
half precision the products take half weights, cast once, while the residual stream, norms, patches and neck stay
float32. `compiled` hands each block to torch.compile; windowed and global blocks are compiled once each.

Letters: b images, h w tokens (64 x 64 of 1024 pixels), c width of the encoder, g d as in `annotators.sam.attention`.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from annotators.sam.attention import in_one, in_pieces, offsets

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class SamEncoder(nn.Module):
    """The fast form of an `ImageEncoderViT`, whose parameters it shares where `dtype` is theirs.

    Args:
        vit: segment-anything's encoder, float32, with relative positions, on the device where it will run.
        dtype: of the products in the blocks.
        compiled: whether blocks are compiled, which takes a minute at the first image.
        attend: form of attention; by default the one for the device.
    """

    def __init__(
        self,
        vit: Any,
        *,
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
        attend: Attend | None = None,
    ) -> None:
        super().__init__()
        self.patches: nn.Module = vit.patch_embed
        self.places: Tensor | None = vit.pos_embed
        self.neck: nn.Module = vit.neck
        grid: int = vit.img_size // vit.patch_embed.proj.kernel_size[0]
        chosen: Any = attend or attention_for(vit.patch_embed.proj.weight.device)
        self.blocks = nn.ModuleList(
            EncoderBlock(block, grid=grid, dtype=dtype, attend=chosen) for block in vit.blocks
        )
        if compiled:
            for block in self.blocks:
                block.compile(dynamic=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised, padded images float32 (b, 3, side, side) to embeddings float32 (b, out, h, w)."""
        x = self.patches(pixels)
        if self.places is not None:
            x = x + self.places
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class EncoderBlock(nn.Module):
    """One transformer block over windows of `window` squared tokens, or over all tokens when that is the whole grid."""

    rows: Tensor
    columns: Tensor

    def __init__(self, block: Any, *, grid: int, dtype: torch.dtype, attend: Attend) -> None:
        super().__init__()
        self.window: int = block.window_size or grid
        self.heads: int = block.attn.num_heads
        self.dtype, self.attend = dtype, attend
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.qkv, self.proj = in_dtype(block.attn.qkv, dtype), in_dtype(block.attn.proj, dtype)
        self.lin1, self.lin2 = in_dtype(block.mlp.lin1, dtype), in_dtype(block.mlp.lin2, dtype)
        with torch.no_grad():
            rows = offsets(block.attn.rel_pos_h, self.window).to(dtype)
            columns = offsets(block.attn.rel_pos_w, self.window).to(dtype)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens float32 (b, h, w, c) to the same."""
        q, k, v = self.heads_of(self.qkv(self.norm1(x).to(self.dtype))).unbind(0)
        seen = self.attend(q, k, v, self.rows, self.columns)
        x = x + self.proj(self.tokens_of(seen, x.shape))
        return x + self.lin2(gelu(self.lin1(self.norm2(x).to(self.dtype))))

    def heads_of(self, projected: Tensor) -> Tensor:
        """(b, h, w, 3 c) to q, k and v of each head of each window: (3, g, window * window, d), contiguous."""
        b, h, w, wide = projected.shape
        side = self.window
        more_h, more_w = -h % side, -w % side
        if more_h or more_w:
            whole = self.qkv.bias.expand(b, h + more_h, w + more_w, wide).clone()
            whole[:, :h, :w] = projected
            projected = whole
        high, across = (h + more_h) // side, (w + more_w) // side
        cut = projected.view(b, high, side, across, side, 3, self.heads, -1)
        parts = cut.permute(5, 0, 1, 3, 6, 2, 4, 7)  # 3, b, window row and column, head, y, x, d
        return parts.reshape(3, b * high * across * self.heads, side * side, -1)

    def tokens_of(self, seen: Tensor, shape: torch.Size) -> Tensor:
        """(g, window * window, d) back to (b, h, w, c) of `shape`, without the padding."""
        b, h, w, c = shape
        side = self.window
        high, across = -(-h // side), -(-w // side)
        cut = seen.view(b, high, across, self.heads, side, side, -1)
        whole = cut.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, high * side, across * side, c)
        return whole[:, :h, :w]


def attention_for(device: torch.device) -> Any:
    """The form of attention that is faster on `device`."""
    # A loop over pieces would be unrolled by the compiler into thousands of operations.
    return torch.compiler.disable(in_pieces) if device.type == "cpu" else in_one


def in_dtype(linear: nn.Linear, dtype: torch.dtype) -> nn.Linear:
    """The layer itself when it has `dtype`, else a copy in it."""
    return linear if linear.weight.dtype == dtype else copy.deepcopy(linear).to(dtype)
