"""The convolutional gated recurrent unit (Toderici et al. 2017, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnconv_codec.networks.strips import reach

Convolve = Callable[[Tensor], Tensor]

_MAX_POWER = 30.0
"""From here on tanh(x / 2) is 1, and exp(x) has yet to overflow."""


class ConvGRUCell(nn.Module):
    """ConvGRU cell whose reset gate acts before the hidden convolution of the candidate.

    With x = conv_ih(input) split into x_r, x_z, x_u and h = conv_hh(hidden) into h_r, h_z:

        r = σ(x_r + h_r),  z = σ(x_z + h_z),  u = tanh(x_u + conv_u(r ⊙ hidden))
        hidden' = (1 - z) ⊙ hidden + z ⊙ u

    Args:
        input_channels: channels of the input.
        hidden_channels: channels H of the hidden state.
        kernel_size: of `conv_ih`, the input convolution with 3·H outputs in the order r, z, u.
        stride: of `conv_ih`.
        padding: of `conv_ih`.
        dilation: of `conv_ih`.
        hidden_kernel_size: of `conv_hh`, the hidden convolution with 2·H outputs in the order
            r, z; odd, padded so that the size stays.
        bias: whether the convolutions have biases.
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        hidden_kernel_size: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if hidden_kernel_size % 2 == 0:
            raise ValueError(f"hidden_kernel_size must be odd, not {hidden_kernel_size}")
        self.input_channels = input_channels
        self.hidden_channels = hidden_channels
        self.conv_ih = nn.Conv2d(
            input_channels, 3 * hidden_channels, kernel_size, stride, padding, dilation, bias=bias
        )
        self.conv_hh = nn.Conv2d(
            hidden_channels,
            2 * hidden_channels,
            hidden_kernel_size,
            padding=hidden_kernel_size // 2,
            bias=bias,
        )
        self.conv_u = nn.Conv2d(hidden_channels, hidden_channels, 1, bias=bias)

    def reach(self, stride: int) -> int:
        """Rows of pixels that a step looks beyond its own cells, its input having this stride."""
        step = int(self.conv_ih.stride[0])
        return max(reach(self.conv_ih, stride), reach(self.conv_hh, stride * step))

    def forward(self, input: Tensor, hidden: Tensor | None) -> Tensor:
        """One step.

        Args:
            input: (N, input_channels, H, W).
            hidden: (N, hidden_channels, H', W') with H', W' the output size of `conv_ih`, or
                None for a state of zeros.

        Returns:
            The new hidden state, (N, hidden_channels, H', W'), each value in (-1, 1).
        """
        return self.step(self.conv_ih(input), hidden, self.conv_hh, self.conv_u)

    def step(
        self, from_input: Tensor, hidden: Tensor | None, conv_hh: Convolve, conv_u: Convolve
    ) -> Tensor:
        """The step with convolutions that are computed in another way.

        Args:
            from_input: what `conv_ih` makes of the input.
            hidden: as for `forward`.
            conv_hh: computes that convolution.
            conv_u: computes that convolution.
        """
        x_gates, x_u = from_input.split([2 * self.hidden_channels, self.hidden_channels], 1)
        if hidden is None:
            return self._first(x_gates, x_u)
        # In place where autograd allows it: for tensors of this size, taking fresh memory costs
        # more than the arithmetic.
        gates = conv_hh(hidden).add_(x_gates).sigmoid_()
        reset, update = gates.chunk(2, 1)
        candidate = tanh_(conv_u(reset * hidden).add_(x_u))
        return torch.addcmul(hidden, update, candidate - hidden)

    def _first(self, x_gates: Tensor, x_u: Tensor) -> Tensor:
        """The step from a state of zeros, of which the hidden convolutions leave their biases."""
        x_z = x_gates[:, self.hidden_channels :]
        if self.conv_hh.bias is not None and self.conv_u.bias is not None:
            x_z = x_z + self.conv_hh.bias[self.hidden_channels :].view(1, -1, 1, 1)
            x_u = x_u + self.conv_u.bias.view(1, -1, 1, 1)
        return torch.sigmoid(x_z) * tanh_(x_u.clone())


def tanh_(values: Tensor) -> Tensor:
    """Compute tanh in place; where no gradient is asked for, in two thirds of torch's time.

        tanh(x) = e / (e + 2),  e = exp(2x) - 1

    As torch's own it keeps the digits of small values, of which decoders' states are made.
    """
    if torch.is_grad_enabled():
        return values.tanh_()
    power = values.mul_(2).clamp_(max=_MAX_POWER).expm1_()
    return power.div_(power + 2)
