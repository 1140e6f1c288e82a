"""The networks' convolutions in 8-bit integers.

Where a result only corrects a picture, or is compared with a threshold, 8 bits are enough; and
processors multiply and add two times as many of them at once as of float32, with VNNI four times.
Elsewhere the same integers go through float32 arithmetic: what one machine shows is what another
shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.entropy.int8 import Int8Convolution, can_convolve, largest_pairs, to_bytes
from rnnconv_codec.networks.levels import (
    LEAST_SHARE,
    LEAST_WEIGHT,
    MAX_BYTE,
    MAX_SIGNED,
    MAX_WEIGHT,
    pair_weight,
)
from rnnconv_codec.networks.pointwise import as_rows, parts

Pointwise = Callable[[Tensor], Tensor]
"""What is done to each number alone."""

SIGNED_ZERO = 128
"""The byte that stands for 0 where values have signs."""

ALL = slice(None)

INPUT_SCALE = "input_scale"
"""Name of the parameter of a convolution that can be computed in 8 bits."""


def add_input_scale(convolution: nn.Conv2d, iterations: int) -> None:
    """Give a convolution the largest magnitudes of its inputs, (iterations, channels).

    With them it can be computed in 8 bits; `training.calibration` measures them.
    """
    ones = torch.ones(iterations, convolution.in_channels)
    convolution.register_parameter(INPUT_SCALE, nn.Parameter(ones, requires_grad=False))


def has_input_scale(convolution: nn.Conv2d) -> bool:
    """Whether the convolution is to be computed in 8 bits."""
    return hasattr(convolution, INPUT_SCALE)


def input_scale(convolution: nn.Conv2d, iteration: int) -> Tensor:
    """The largest magnitude of each of its inputs, (channels,), in an iteration, 0-based."""
    scale: Tensor = convolution.get_parameter(INPUT_SCALE).detach()
    return scale[iteration]


@dataclass(frozen=True)
class Levels:
    """How values become bytes: round(value / step) + zero.

    Attributes:
        step: per channel, (C,).
        zero: the byte of value 0.
        largest: byte that there is.
    """

    step: Tensor
    zero: int
    largest: int = MAX_BYTE

    @classmethod
    def signed(cls, largest: Tensor) -> Levels:
        """For values up to these magnitudes, (C,).

        Steps in proportion to each channel's magnitude would be best for the values. But a step
        is multiplied into the weights of its channel, and the finer it is, the coarser the
        integers that are left of them. The geometric mean with one step for all was better than
        either (docs/PERFORMANCE.md).
        """
        whole = largest.max()
        return cls(
            (largest.clamp(min=LEAST_SHARE * whole) * whole).sqrt() / MAX_SIGNED, SIGNED_ZERO
        )

    @classmethod
    def positive(cls, largest: Tensor) -> Levels:
        """For values from 0 up to the largest of these, (C,)."""
        return cls((largest.max() / MAX_BYTE).expand(len(largest)), 0)

    def scaled(self, by: Tensor) -> Levels:
        """The same bytes for values that have been multiplied by this, (C,)."""
        return replace(self, step=self.step * by)

    @cached_property
    def _factor(self) -> Tensor | float:
        """1 / step: of all channels, if they have the same, as a scalar costs nothing to apply."""
        factor = 1 / self.step
        return float(factor[0]) if bool((factor == factor[0]).all()) else factor

    def of(self, values: Tensor, prepare: Pointwise | None = None) -> Tensor:
        """The bytes of values (N, C, h, w); what is beyond the largest is cut off.

        Args:
            values: float32.
            prepare: applied to the values first, to some cells at a time, (n, C) → (n, C).
        """
        batch, channels, height, width = values.shape
        rows = as_rows(values)
        found = torch.empty(rows.shape, dtype=torch.uint8)
        for part in parts(*rows.shape):
            prepared = rows[part] if prepare is None else prepare(rows[part])
            _bytes_of(prepared * self._factor, self.zero, out=found[part])
        return found.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _bytes_of(scaled: Tensor, zero: int, *, out: Tensor | None = None) -> Tensor:
    """Values in steps as bytes, where `zero` stands for 0; what does not fit is cut off."""
    whole = scaled.round_().clamp_(-zero, MAX_BYTE - zero)
    if zero == SIGNED_ZERO:
        return signed_bytes(whole.to(torch.int8), out=out)
    found = to_bytes(whole.add_(zero))
    return found if out is None else out.copy_(found)


def signed_bytes(values: Tensor, *, out: Tensor | None = None) -> Tensor:
    """int8 as the bytes that are `SIGNED_ZERO` larger: from float32 the shortest way to bytes."""
    return torch.bitwise_xor(values.view(torch.uint8), SIGNED_ZERO, out=out)


def weight_steps(weight: Tensor, largest: int) -> Tensor:
    """Of each output of a weight the step (O,) with which it fits into int8, and pairs do.

    Args:
        weight: float32 (O, I, k, k).
        largest: byte that it is multiplied with.
    """
    steps = torch.maximum(
        weight.abs().amax((1, 2, 3)) / MAX_WEIGHT, largest_pairs(weight) / pair_weight(largest)
    )
    return steps.clamp(min=LEAST_WEIGHT)


class ByteConvolution(nn.Module):
    """A convolution of bytes.

    Args:
        weight: float32 (O, I, k, k).
        bias: float32 (O,), or None.
        input: levels of the input.
        stride: of the convolution.
        padding: of the convolution; 0 in float32 is what is padded with.
        output: levels of the result if it is to be bytes. Where their zero is 0, negative values
            become 0.
        at_rest: (I,), values of the inputs for which, away from borders, the bias makes up for
            the rounding of the weights.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        input: Levels,
        *,
        stride: int = 1,
        padding: int = 0,
        output: Levels | None = None,
        at_rest: Tensor | None = None,
    ) -> None:
        super().__init__()
        self._input, self._output = input, output
        self._stride, self._padding = stride, padding
        scaled = weight * input.step.view(1, -1, 1, 1)
        scale = weight_steps(scaled, input.largest)
        integers = (scaled / scale.view(-1, 1, 1, 1)).round().to(torch.int8)
        bias = torch.zeros(len(weight)) if bias is None else bias
        if at_rest is not None:
            lost = scaled - integers * scale.view(-1, 1, 1, 1)
            bias = bias + lost.sum((2, 3)) @ (at_rest / input.step)
        if output is not None:
            scale, bias = scale / output.step, bias / output.step
        if can_convolve(integers, largest=input.largest, stride=stride, padding=padding):
            self._convolution: Int8Convolution | None = Int8Convolution(
                integers,
                bias,
                scale,
                stride=stride,
                padding=padding,
                input_zero=input.zero,
                output_zero=None if output is None else output.zero,
            )
        else:
            self._convolution = None
            self._weight = (integers * scale.view(-1, 1, 1, 1)).contiguous(
                memory_format=torch.channels_last
            )
            self._bias = bias

    def forward(self, input: Tensor) -> Tensor:
        """The result, float32 or bytes (N, O, h', w').

        Args:
            input: (N, I, h, w), float32 or already its bytes.
        """
        values = input if input.dtype == torch.uint8 else self._input.of(input)
        if self._convolution is not None:
            return self._convolution(values)
        integers = values.float().sub_(self._input.zero)
        result = functional.conv2d(integers, self._weight, self._bias, self._stride, self._padding)
        if self._output is None:
            return result
        return _bytes_of(result, self._output.zero)


def byte_convolution(
    convolution: nn.Conv2d,
    input: Levels,
    *,
    inputs: slice = ALL,
    gain: Tensor | None = None,
    bias: Tensor | None = None,
    output: Levels | None = None,
) -> ByteConvolution:
    """A convolution of a network in 8 bits.

    Args:
        convolution: padded and moving alike along both axes.
        input: levels of its input.
        inputs: the channels that it is given, of those that it has weights for.
        gain: what its outputs are multiplied by, (O,) or scalar.
        bias: (O,), in place of its own, which is not multiplied.
        output: see `ByteConvolution`.
    """
    weight = convolution.weight.detach()[:, inputs]
    own = convolution.bias
    if gain is not None:
        assert own is None
        weight = weight * gain.expand(len(weight)).view(-1, 1, 1, 1)
    if bias is None and own is not None:
        bias = own.detach()
    stride, padding = int(convolution.stride[0]), int(convolution.padding[0])
    return ByteConvolution(weight, bias, input, stride=stride, padding=padding, output=output)
