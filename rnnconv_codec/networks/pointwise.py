"""ConvGRU cells whose convolutions see one cell of the grid each, as matrix products."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rnnconv_codec.networks.cell import ConvGRUCell, tanh_

CELLS_AT_A_TIME = 1024
"""Cells of the grid, for each thread, that go through all steps before the next ones do.

What is computed on the way from codes to state is ten times as large as the state. Of so many
cells most of it stays in a core's second cache until it is used; that of a whole picture goes to
memory and back at every step. Half or twice as many make no difference.
"""


class PointwiseCell:
    """A `ConvGRUCell` for inference whose hidden convolution, and maybe that of its input, is 1x1.

    Args:
        cell: whose hidden convolution is 1x1.
        inputs: (3 H, C) in place of the weights of `conv_ih`; None if that is not 1x1, and what
            it makes of the input, with its bias, will be given.
        bias: (3 H,) in place of that of `conv_ih`, or 0 if that is already in what is given.
    """

    def __init__(self, cell: ConvGRUCell, inputs: Tensor | None, bias: Tensor) -> None:
        hidden = cell.hidden_channels
        assert cell.conv_hh.bias is not None and cell.conv_u.bias is not None
        self._hidden = hidden
        self._bias = bias + torch.cat([cell.conv_hh.bias, cell.conv_u.bias]).detach()
        self._inputs = None if inputs is None else _transposed(inputs)
        self._gates = _transposed(cell.conv_hh.weight.detach().view(2 * hidden, hidden))
        self._candidate = _transposed(cell.conv_u.weight.detach().view(hidden, hidden))

    def __call__(self, given: Tensor, state: Tensor | None) -> Tensor:
        """The new state, (N, H, h, w).

        Args:
            given: the input (N, C, h, w), or what `conv_ih` makes of it.
            state: (N, H, h, w), or None for zeros.
        """
        batch, _, height, width = given.shape
        cells = as_rows(given)
        before = None if state is None else as_rows(state)
        after = given.new_empty(len(cells), self._hidden)
        for part in parts(len(cells)):
            self._step(cells[part], None if before is None else before[part], after[part])
        return after.view(batch, height, width, self._hidden).permute(0, 3, 1, 2)

    def _step(self, given: Tensor, state: Tensor | None, out: Tensor) -> None:
        """`ConvGRUCell.step` of some cells, as rows."""
        if self._inputs is None:
            from_input = given + self._bias
        else:
            from_input = torch.addmm(self._bias, given, self._inputs)
        x_gates, x_u = from_input.split([2 * self._hidden, self._hidden], 1)
        if state is None:
            torch.mul(x_gates[:, self._hidden :].sigmoid(), tanh_(x_u), out=out)
            return
        reset, update = torch.addmm(x_gates, state, self._gates).sigmoid_().chunk(2, 1)
        candidate = tanh_(torch.addmm(x_u, reset * state, self._candidate))
        torch.addcmul(state, update, candidate.sub_(state), out=out)


def parts(cells: int) -> Iterator[slice]:
    """Consecutive parts of so many cells that go through all steps one after another."""
    step = CELLS_AT_A_TIME * torch.get_num_threads()
    for first in range(0, cells, step):
        yield slice(first, first + step)


def _transposed(weight: Tensor) -> Tensor:
    return weight.t().contiguous()


def as_rows(grid: Tensor) -> Tensor:
    """(N, C, h, w) → (N h w, C), without a copy if its channels are last in memory."""
    return grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])
