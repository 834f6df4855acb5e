"""A small transformer that says what is at hidden places, from features of the visible ones.

The decoder of MAE (arXiv 2111.06377): visible features in their places, one learnt vector for every hidden place,
positions added to all, a few blocks over the whole grid. Only the hidden places are answered. It is thrown away after
pre-training. CFM-ViT (arXiv 2309.00775) is said to use two blocks; their width is not known to us. Half the encoder's
is ours: two blocks over all patches then cost about a twenty-fifth of a twelve-block encoder.

Letters: b samples, k visible and n hidden places of a list, l patches of the grid, d width of the encoder.
"""

import torch
from torch import Tensor, nn

from trainer.models.vit.encoder import Block, fixed_positions, placed_on
from trainer.models.vit.shown import Shown


class Decoder(nn.Module):
    """Features bkd of visible patches -> answers (b, n, answer_dim) at the hidden ones.

    Args:
        from_dim: d.
        dim: own width, a multiple of 4 and of `heads`.
        depth: number of blocks.
        heads: of each block.
        answer_dim: width of an answer.
        table_hw: rows and columns of patches that positions are made for; other grids are interpolated from them.
    """

    positions: Tensor

    def __init__(
        self,
        *,
        from_dim: int,
        dim: int,
        depth: int,
        heads: int,
        answer_dim: int,
        table_hw: tuple[int, int],
    ) -> None:
        super().__init__()
        self.table_hw = table_hw
        self.enter = nn.Linear(from_dim, dim)
        self.unknown = nn.Parameter(0.02 * torch.randn(dim))
        self.register_buffer("positions", fixed_positions(*table_hw, dim), persistent=False)
        self.blocks = nn.ModuleList(Block(dim, heads=heads, mlp_ratio=4.0) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.answer = nn.Linear(dim, answer_dim)

    def forward(
        self, features: Tensor, *, visible: Shown, hidden: Shown, grid_hw: tuple[int, int]
    ) -> Tensor:
        """`features` of the patches that `visible` lists; answers at those that `hidden` lists, padding included."""
        r, s = grid_hw
        grid = visible.back(self.enter(features), self.unknown, r * s)
        grid = grid + placed_on(grid_hw, self.positions, self.table_hw).to(grid.dtype)
        for block in self.blocks:
            grid = block(grid)
        return self.answer(self.norm(hidden.of(grid)))
