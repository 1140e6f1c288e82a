"""ConvGRU cells whose convolutions see one cell of the grid each, as matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnconv_codec.networks.cell import ConvGRUCell, Convolve, tanh_

CELLS_AT_A_TIME = 1024
"""Cells of the grid, for each thread, that go through all steps before the next ones do.

What is computed on the way from codes to state is ten times as large as the state. Of so many
cells most of it stays in a core's second cache until it is used; that of a whole picture goes to
memory and back at every step. Half or twice as many make no difference.
"""

TYPICAL_CHANNELS = 128
"""Of those cells."""


FromInput = Callable[[slice], Tensor]
"""Of some cells, what a `ConvGRUCell`'s input convolution makes of them: new rows (n, 3 H)."""

Product = Callable[[Tensor], Tensor]
"""From rows (n, I) to new rows (n, O)."""


class PointwiseCell:
    """A `ConvGRUCell` for inference whose hidden convolutions are 1x1.

    Args:
        cell: whose hidden convolutions these are.
        gates: computes its `conv_hh`, without bias, in another way.

    Attributes:
        bias: (3 H,), theirs, to be added to what is given as made of the input.
    """

    def __init__(self, cell: ConvGRUCell, gates: Product | None = None) -> None:
        hidden = cell.hidden_channels
        assert cell.conv_hh.bias is not None and cell.conv_u.bias is not None
        self._hidden = hidden
        self.bias = torch.cat([cell.conv_hh.bias, cell.conv_u.bias]).detach()
        self._add_gates: Callable[[Tensor, Tensor], Tensor]
        if gates is None:
            matrix = transposed(cell.conv_hh.weight.detach().view(2 * hidden, hidden))
            self._add_gates = lambda given, state: torch.addmm(given, state, matrix)
        else:
            self._add_gates = lambda given, state: gates(state).add_(given)
        self._candidate = transposed(cell.conv_u.weight.detach().view(hidden, hidden))

    def __call__(self, from_input: FromInput, state: Tensor | None, like: Tensor) -> Tensor:
        """The new state, (N, H, h, w).

        Args:
            from_input: of the input.
            state: (N, H, h, w), or None for zeros.
            like: (N, C, h, w), of which only N, h and w are looked at.
        """
        batch, _, height, width = like.shape
        before = None if state is None else as_rows(state)
        after = torch.empty(batch * height * width, self._hidden)
        for part in parts(len(after)):
            self._step(from_input(part), None if before is None else before[part], after[part])
        return after.view(batch, height, width, self._hidden).permute(0, 3, 1, 2)

    def _step(self, from_input: Tensor, state: Tensor | None, out: Tensor) -> None:
        """`ConvGRUCell.step` of some cells, as rows."""
        x_gates, x_u = from_input.split([2 * self._hidden, self._hidden], 1)
        if state is None:
            torch.mul(x_gates[:, self._hidden :].sigmoid(), tanh_(x_u), out=out)
            return
        reset, update = self._add_gates(x_gates, state).sigmoid_().chunk(2, 1)
        candidate = tanh_(torch.addmm(x_u, reset * state, self._candidate))
        torch.addcmul(state, update, candidate.sub_(state), out=out)


def parts(cells: int, channels: int = TYPICAL_CHANNELS) -> Iterator[slice]:
    """Consecutive parts of so many cells that go through all steps one after another.

    Those of few channels are larger, as each step has to be begun for each part.
    """
    step = CELLS_AT_A_TIME * max(1, TYPICAL_CHANNELS // channels) * torch.get_num_threads()
    for first in range(0, cells, step):
        yield slice(first, first + step)


def transposed(weight: Tensor) -> Tensor:
    """(O, I) → (I, O), in the order in which a product of rows reads it."""
    return weight.t().contiguous()


def as_rows(grid: Tensor) -> Tensor:
    """(N, C, h, w) → (N h w, C), without a copy if its channels are last in memory."""
    return grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])


def on_rows(convolve: Convolve) -> Product:
    """What a 1x1 convolution makes of rows."""
    return lambda rows: as_rows(convolve(rows[None, None].permute(0, 3, 1, 2)))


def product(weight: Tensor, bias: Tensor) -> Product:
    """With a weight (O, I), in float32."""
    matrix = transposed(weight)
    return lambda rows: torch.addmm(bias, rows, matrix)
