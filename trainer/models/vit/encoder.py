"""A plain vision transformer (arXiv 2010.11929) that can be shown only some of its patches.

Pre-norm blocks, no class token: what stands for the whole image is the mean over its patches, as in CFM-ViT (arXiv
2309.00775). Positions are added to the patches, before any is hidden, and follow the image: a grid other than
`table_hw` gets the table's positions interpolated, so that a frame of twice the size is the same place seen closer.

Letters: b samples, h w pixels, r s rows and columns of patches, l = r * s patches, k <= l of them shown, d width.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainer.models.tiny.encoders import Attention
from trainer.models.vit.config import VitConfig


class Block(nn.Module):
    """Self-attention and MLP, pre-norm."""

    def __init__(self, dim: int, *, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        inner = int(dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(dim)
        self.attend = Attention(dim, heads=heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """x bkd; real bool bk, False = padding that nobody looks at."""
        y = self.norm1(x)
        x = x + self.attend(y, y, real)
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """Images b3hw in [0, 1] -> tokens bld -> features bkd."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.dim = config.dim
        self.table_hw = config.table_hw
        self.project = nn.Conv2d(3, config.dim, config.patch, stride=config.patch)
        rows, columns = config.table_hw
        table = fixed_positions(rows, columns, config.dim)
        if config.positions == "learnt":
            self.positions = nn.Parameter(0.02 * torch.randn(rows * columns, config.dim))
        else:
            self.register_buffer("positions", table, persistent=False)
        self.blocks = nn.ModuleList(
            Block(config.dim, heads=config.heads, mlp_ratio=config.mlp_ratio)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)

    def grid_of(self, image: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of an image bchw."""
        h, w = image.shape[2:]
        assert h % self.patch == 0, (h, self.patch)
        assert w % self.patch == 0, (w, self.patch)
        return h // self.patch, w // self.patch

    def embed(self, image: Tensor, placed: Tensor | None = None) -> Tensor:
        """Patch embeddings bld of b3hw in [0, 1], with their positions.

        placed: bool b; a sample where it is False gets no positions at all (PED, arXiv 2309.00775). All have them when
        None.
        """
        patches = self.project(image * 2.0 - 1.0).flatten(2).transpose(1, 2)
        positions = self.positions_of(self.grid_of(image)).to(patches.dtype)
        if placed is None:
            return patches + positions
        return patches + positions * placed[:, None, None].to(patches.dtype)

    def positions_of(self, grid_hw: tuple[int, int]) -> Tensor:
        """Positions (r * s, d) for a grid of r rows and s columns."""
        return placed_on(grid_hw, self.positions, self.table_hw)

    def encode(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """Tokens bkd -> features bkd, normalised; real bool bk, False = padding. Padded places hold no meaning."""
        for block in self.blocks:
            tokens = block(tokens, real)
        return self.norm(tokens)

    def forward(self, image: Tensor) -> Tensor:
        """Feature map bdrs of the whole image b3hw."""
        r, s = self.grid_of(image)
        return self.encode(self.embed(image)).transpose(1, 2).unflatten(2, (r, s))


def placed_on(grid_hw: tuple[int, int], table: Tensor, table_hw: tuple[int, int]) -> Tensor:
    """A table of positions (table_hw[0] * table_hw[1], d) on a grid of r rows and s columns: (r * s, d)."""
    if grid_hw == table_hw:
        return table
    resized = functional.interpolate(
        table.unflatten(0, table_hw).permute(2, 0, 1)[None],
        size=grid_hw,
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )
    return resized[0].flatten(1).T


def fixed_positions(rows: int, columns: int, dim: int) -> Tensor:
    """Sines and cosines of row and column (rows * columns, dim), dim a multiple of 4; row by row (arXiv 2111.06377)."""
    rates = 10000.0 ** (-torch.arange(dim // 4) / (dim // 4))
    y = torch.arange(rows)[:, None] * rates
    x = torch.arange(columns)[:, None] * rates
    ys = y.repeat_interleave(columns, 0)
    xs = x.repeat(rows, 1)
    return torch.cat([xs.sin(), xs.cos(), ys.sin(), ys.cos()], 1)
