"""Attention with SAM's decomposed relative position (MViTv2, arXiv 2112.01526, eq. 4), without an (N, N) table.

A score is q.k / sqrt(d) + q.R[dy] + q.R[dx]: the two last terms depend on the key's row and column alone. The plain way
builds all N * N scores several times over (805 MB each for one image of ViT-B). Both forms here are exact:

`in_pieces`, for CPUs: about a million scores at a time, filled with the position terms, added to by the matrix product,
normalised and multiplied with v while they lie in the cache.
`in_one`, for GPUs: the position terms are folded into longer vectors, q' = [q / sqrt(d), q.R[dy], q.R[dx]] and
k' = [k, onehot(y), onehot(x)], so that a fused kernel needs no bias; on a CPU the longer product costs more than it
saves (measured: 1.9 against 0.8 s for 4096 tokens and 12 heads; `scaled_dot_product_attention` with a bias 1.3 s).

Letters: g groups (heads of windows of images), n = s * s tokens of a window in rows of s, d width of a head.
"""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention

PIECE = 2**20
"""Scores worked on at a time: 4 MiB in float32."""
ALIGNED = 8
"""Widths of heads that fused kernels take are multiples of this."""


def offsets(table: Tensor, side: int) -> Tensor:
    """What position r of a query and k of a key add: (s, s, d) from a table of the 2 s - 1 offsets.

    A table of another length is interpolated, as segment-anything does at every call.
    """
    if len(table) != 2 * side - 1:
        table = interpolate(table.t()[None], size=2 * side - 1, mode="linear")[0].t()
    at = torch.arange(side, device=table.device)
    return table[at[:, None] - at[None, :] + side - 1]


def position_terms(q: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """What each query adds for each row and each column of keys: two (g, n, s).

    From q (g, n, d) and offsets (s, s, d).
    """
    groups, tokens, width = q.shape
    side = len(rows)
    grid = q.view(groups, side, side, width)
    by_row = torch.einsum("gyxd,ykd->gyxk", grid, rows).reshape(groups, tokens, side)
    by_column = torch.einsum("gyxd,xkd->gyxk", grid, columns).reshape(groups, tokens, side)
    return by_row, by_column


def in_pieces(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention (g, n, d), a piece of the scores at a time; all arguments of one dtype, no gradients.

    Args:
        q: queries (g, n, d), not scaled.
        k: keys (g, n, d).
        v: values (g, n, d).
        rows: offsets (s, s, d) between rows.
        columns: offsets (s, s, d) between columns.
    """
    groups, tokens, width = q.shape
    by_row, by_column = position_terms(q, rows, columns)
    scaled, out = q * width**-0.5, torch.empty_like(q)
    if (together := PIECE // tokens**2) > 0:
        for first in range(0, groups, together):
            some = slice(first, first + together)
            scores = (by_row[some, :, :, None] + by_column[some, :, None, :]).flatten(2)
            scores.baddbmm_(scaled[some], k[some].transpose(1, 2))
            torch.softmax(scores, -1, out=scores)
            torch.bmm(scores, v[some], out=out[some])
        return out
    band = max(1, PIECE // tokens)
    for group in range(groups):
        for first in range(0, tokens, band):
            some = slice(first, first + band)
            scores = (by_row[group, some, :, None] + by_column[group, some, None, :]).flatten(1)
            scores.addmm_(scaled[group, some], k[group].t())
            torch.softmax(scores, -1, out=scores)
            torch.mm(scores, v[group], out=out[group, some])
    return out


def in_one(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Attention (g, n, d) by one fused kernel; arguments as of `in_pieces`."""
    groups, tokens, width = q.shape
    side = len(rows)
    by_row, by_column = position_terms(q, rows, columns)
    eye = torch.eye(side, dtype=k.dtype, device=k.device)
    places = torch.cat([eye.repeat_interleave(side, 0), eye.repeat(side, 1)], dim=1)
    queries = torch.cat([q * width**-0.5, by_row, by_column], dim=2)
    keys = torch.cat([k, places.expand(groups, tokens, 2 * side)], dim=2)
    more = -queries.shape[2] % ALIGNED
    return scaled_dot_product_attention(
        pad(queries, (0, more))[None], pad(keys, (0, more))[None], v[None], scale=1.0
    )[0]
