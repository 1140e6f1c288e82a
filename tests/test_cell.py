"""The ConvGRU cell is its equations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnnconv_codec.networks.cell import ConvGRUCell


def equations(cell: ConvGRUCell, inputs: Tensor, hidden: Tensor, stride: int, pad: int) -> Tensor:
    """DESIGN section 1, gate by gate, in float64."""
    size = cell.hidden_channels
    weights = {name: value.detach().double() for name, value in cell.state_dict().items()}
    x = functional.conv2d(
        inputs.double(), weights["conv_ih.weight"], weights["conv_ih.bias"], stride, pad
    )
    half = weights["conv_hh.weight"].shape[2] // 2
    h = functional.conv2d(
        hidden.double(), weights["conv_hh.weight"], weights["conv_hh.bias"], padding=half
    )
    reset = torch.sigmoid(x[:, :size] + h[:, :size])
    update = torch.sigmoid(x[:, size : 2 * size] + h[:, size:])
    reset_hidden = functional.conv2d(
        reset * hidden.double(), weights["conv_u.weight"], weights["conv_u.bias"]
    )
    candidate = torch.tanh(x[:, 2 * size :] + reset_hidden)
    return (1 - update) * hidden.double() + update * candidate


@pytest.mark.parametrize("hidden_kernel", [1, 3])
@pytest.mark.parametrize(("stride", "side"), [(1, 10), (2, 5)])
def test_cell_equals_its_equations(hidden_kernel: int, stride: int, side: int) -> None:
    torch.manual_seed(hidden_kernel + stride)
    cell = ConvGRUCell(7, 12, 3, stride, 1, hidden_kernel_size=hidden_kernel)
    inputs = torch.randn(2, 7, 10, 10)
    hidden = torch.randn(2, 12, side, side).tanh()

    with torch.no_grad():
        difference = cell(inputs, hidden) - equations(cell, inputs, hidden, stride, 1)

    assert float(difference.abs().max()) < 1e-6


def test_no_state_is_a_state_of_zeros() -> None:
    cell = ConvGRUCell(4, 6, padding=1)
    inputs = torch.randn(1, 4, 5, 8)

    without, zeros = cell(inputs, None), cell(inputs, torch.zeros(1, 6, 5, 8))

    assert torch.allclose(without, zeros, rtol=0, atol=1e-6)


def test_gates_come_in_the_order_reset_update_candidate() -> None:
    cell = ConvGRUCell(1, 1, kernel_size=1)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        assert cell.conv_ih.bias is not None
        cell.conv_ih.bias.copy_(torch.tensor([0.0, 100.0, 0.5]))  # z = 1: all candidate
    hidden = torch.full((1, 1, 1, 1), 0.25)

    result = float(cell(torch.zeros(1, 1, 1, 1), hidden).detach())

    assert result == pytest.approx(float(torch.tanh(torch.tensor(0.5))))


def test_parameters_are_named_and_shaped_as_designed() -> None:
    cell = ConvGRUCell(3, 8, kernel_size=5, hidden_kernel_size=3, bias=False)

    shapes = {name: tuple(value.shape) for name, value in cell.named_parameters()}

    assert shapes == {
        "conv_ih.weight": (24, 3, 5, 5),
        "conv_hh.weight": (16, 8, 3, 3),
        "conv_u.weight": (8, 8, 1, 1),
    }


def test_an_even_hidden_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        ConvGRUCell(1, 1, hidden_kernel_size=2)
