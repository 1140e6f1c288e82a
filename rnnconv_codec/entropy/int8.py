"""Convolutions of 8-bit integers, where the processor has instructions for them.

The context model's activations are 0..255, its weights -128..127. Processors with VNNI multiply
and add those in 32-bit integers, four times as many at once as in float32, and without rounding:
the accumulators are the same. Older ones, with AVX2, take twice as many at once as in float32, but
add pairs of products, of inputs 2i and 2i + 1, in 16 bits, which saturate: there, weights whose
pairs could become too large are cut in two. Wherever anything is in doubt the context model stays
with float32.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from enum import Enum
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that may keep oneDNN from instructions which the processor has."""

MAX_INPUT = 255

MAX_PAIR_OF_PRODUCTS = 2**15 - 1

HALF_OF_PAIR = MAX_PAIR_OF_PRODUCTS // MAX_INPUT // 2
"""Two weights of this size cannot saturate, nor what is left of -128..127 without it."""

LARGE = 2 * HALF_OF_PAIR - 2
"""Makes the largest pair of weights that does not saturate of 1 and 1."""

CUT_ROWS = 16
"""What is cut off is filled up with zeros to a multiple of so many outputs."""

PROBE_SEED = 1
PROBE_CHANNELS = 96
PROBE_SIDE = 16
PROBE_INPUTS = 48
"""Of the channels, those that are not zero: more of the largest products pass 2^24."""


def to_bytes(values: Tensor) -> Tensor:
    """Integers 0..255 of any type as uint8; torch converts floating point to it one by one."""
    return (values.to(torch.int16) if values.is_floating_point() else values).to(torch.uint8)


class Int8Convolution:
    """A convolution in oneDNN's layout.

    Args:
        weight: int8 (O, I, k, k).
        bias: float32 (O,), added to the result.
        scale: float32 (O,), that the sums are multiplied by; powers of two if it is to be exact.
        stride: along both axes.
        padding: the same; by default that which keeps the size, for an odd k.
        input_zero: what is subtracted from the input; padding is with 0 after that.
        output_zero: if given, the result is rounded, this is added, and it is cut to bytes; if
            it is 0, negative results become 0.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        *,
        stride: int = 1,
        padding: int | None = None,
        input_zero: int = 0,
        output_zero: int | None = None,
    ) -> None:
        outputs, _, kernel, _ = weight.shape
        self._stride = [stride, stride]
        self._padding = 2 * [kernel // 2 if padding is None else padding]
        self._input_zero, self._output_zero = input_zero, output_zero
        self._scales = scale
        self._zeros = torch.zeros(outputs, dtype=torch.int64)
        self._bias = bias
        self._weight = torch.ops.onednn.qconv_prepack(
            weight, scale, 1.0, input_zero, self._stride, self._padding, [1, 1], 1, None
        )

    def __call__(self, input: Tensor) -> Tensor:
        """`scale` · sum + `bias`, (N, O, h', w'): float32, or bytes if there is an `output_zero`.

        Args:
            input: integers 0..255, (N, I, h, w), of any type.
        """
        is_bytes = self._output_zero is not None
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            to_bytes(input).contiguous(memory_format=torch.channels_last),
            1.0,
            self._input_zero,
            self._weight,
            self._scales,
            self._zeros,
            self._bias,
            self._stride,
            self._padding,
            [1, 1],
            1,
            1.0,
            self._output_zero or 0,
            torch.uint8 if is_bytes else torch.float32,
            "relu" if self._output_zero == 0 else "none",
            [],
            "",
        )
        return result


class SplitConvolution:
    """An `Int8Convolution` whose weights saturate where pairs of products are added in 16 bits.

    Those of the outputs that need it are cut in two, each half of a size that fits.

    Args:
        weight: int8 (O, I, k, k).
        bias: see `Int8Convolution`.
        scale: the same.
        largest: of the inputs, at most `MAX_INPUT`.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, scale: Tensor, largest: int = MAX_INPUT
    ) -> None:
        self._rows = saturating(weight, largest).nonzero()[:, 0]
        half = weight.clamp(-HALF_OF_PAIR, HALF_OF_PAIR)
        first = weight.index_copy(0, self._rows, half[self._rows])
        shape = cut_shape(weight, len(self._rows))
        rest, rest_scale = weight.new_zeros(shape), torch.ones(shape[0])
        rest[: len(self._rows)] = (weight - half)[self._rows]
        rest_scale[: len(self._rows)] = scale[self._rows]
        self._first = Int8Convolution(first, bias, scale)
        self._rest = Int8Convolution(rest, torch.zeros(shape[0]), rest_scale)

    def __call__(self, input: Tensor) -> Tensor:
        """See `Int8Convolution`."""
        values = to_bytes(input).contiguous(memory_format=torch.channels_last)
        rest = self._rest(values)[:, : len(self._rows)]
        return self._first(values).index_add_(1, self._rows, rest)


def cut_shape(weight: Tensor, rows: int) -> torch.Size:
    """Of what is cut off so many of the outputs of a weight; there are few such shapes.

    oneDNN makes and keeps a program for each.
    """
    return torch.Size([math.ceil(rows / CUT_ROWS) * CUT_ROWS, *weight.shape[1:]])


def int8_operations() -> dict[Any, Callable[..., int]]:
    """How to count what these convolutions do, for `torch.utils.flop_counter.FlopCounterMode`.

    Empty where torch does not have them.
    """
    operator = getattr(torch.ops.onednn, "qconv2d_pointwise", None)
    return {} if operator is None else {operator: _operations}


def _operations(*shapes: Any, out_shape: Any = None, **_: Any) -> int:
    weight = shapes[3]  # of `qconv2d_pointwise`'s arguments; a multiply-add is two operations
    operations: int = 2 * math.prod(weight) * math.prod(out_shape) // out_shape[1]
    return operations


class Int8Arithmetic(Enum):
    """What this machine can do with `Int8Convolution`."""

    NONE = "none"
    """Nothing that could be relied on."""

    IN_PAIRS = "in pairs"
    """Exact integers, unless the sum of two neighbouring products leaves 16 bits."""

    EXACT = "exact"
    """Exact integers."""


@lru_cache(maxsize=1)
def int8_arithmetic() -> Int8Arithmetic:
    """What can be had here.

    For exact sums the processor must have VNNI, nothing may keep oneDNN from using it, and a
    convolution of the largest values, which saturates in 16 bits, must come out right.
    """
    try:
        if not torch.backends.mkldnn.is_available():
            return Int8Arithmetic.NONE
        limited = any(name in os.environ for name in ISA_LIMITS)
        if not limited and torch.cpu._is_vnni_supported() and _probe():
            return Int8Arithmetic.EXACT
        shape = (PROBE_CHANNELS, PROBE_CHANNELS, 3, 3)
        if torch.cpu._is_avx2_supported() and _pairs_are_neighbours(shape, 1, 1):
            return Int8Arithmetic.IN_PAIRS
    except (AttributeError, RuntimeError, TypeError):  # another torch, without these
        pass
    return Int8Arithmetic.NONE


def can_convolve(
    weight: Tensor, *, largest: int = MAX_INPUT, stride: int = 1, padding: int | None = None
) -> bool:
    """Whether an `Int8Convolution` with these arguments would be exact here.

    Args:
        weight: int8 (O, I, k, k).
        largest: of the inputs, at most `MAX_INPUT`.
        stride: see `Int8Convolution`.
        padding: the same.
    """
    arithmetic = int8_arithmetic()
    if arithmetic is not Int8Arithmetic.IN_PAIRS:
        return arithmetic is Int8Arithmetic.EXACT
    padding = weight.shape[2] // 2 if padding is None else padding
    return not bool(saturating(weight, largest).any()) and _pairs_are_neighbours(
        tuple(weight.shape), stride, padding
    )


def exact_convolution(
    weight: Tensor, bias: Tensor, scale: Tensor, largest: int
) -> Int8Convolution | SplitConvolution | None:
    """An exact convolution in 8 bits, if there is one; arguments as of `SplitConvolution`."""
    if can_convolve(weight, largest=largest):
        return Int8Convolution(weight, bias, scale)
    shapes = (weight.shape, cut_shape(weight, int(saturating(weight, largest).sum())))
    if all(shape[0] and can_convolve(weight.new_zeros(shape)) for shape in shapes):
        return SplitConvolution(weight, bias, scale, largest)
    return None


def largest_pairs(weight: Tensor) -> Tensor:
    """Of each output (O,), the largest sum of a pair of weights (O, I, k, k) of the same sign."""
    return torch.maximum(_pairs(weight.clamp(min=0)), _pairs(weight.clamp(max=0).neg()))


def _pairs(weight: Tensor) -> Tensor:
    sums = weight[:, ::2].clone()
    sums[:, : weight.shape[1] // 2] += weight[:, 1::2]
    return sums.amax((1, 2, 3))


def saturating(weight: Tensor, largest: int) -> Tensor:
    """Of which outputs (O,) of a weight, int8 (O, I, k, k), pairs of products can saturate.

    Args:
        weight: int8.
        largest: of the inputs.
    """
    return largest_pairs(weight.int()) * largest > MAX_PAIR_OF_PRODUCTS


@cache
def _pairs_are_neighbours(shape: tuple[int, ...], stride: int, padding: int) -> bool:
    """Whether a convolution of this shape adds, in 16 bits, products of inputs 2i and 2i + 1.

    Which of two weights is large differs from pair to pair, so any other pair would saturate.
    """
    outputs, inputs, kernel, _ = shape
    generator = torch.Generator().manual_seed(PROBE_SEED)
    first = torch.randint(0, 2, (outputs, (inputs + 1) // 2, kernel, kernel), generator=generator)
    pairs = torch.stack([first * LARGE + 1, (1 - first) * LARGE + 1], 2).flatten(1, 2)
    sign = torch.where(torch.arange(outputs) % 2 == 0, 1, -1)
    weight = (pairs[:, :inputs] * sign.view(-1, 1, 1, 1)).to(torch.int8)
    side = PROBE_SIDE + kernel
    largest = torch.full((1, inputs, side, side), MAX_INPUT, dtype=torch.uint8)
    convolution = Int8Convolution(
        weight, torch.zeros(outputs), torch.ones(outputs), stride=stride, padding=padding
    )
    # What looks beyond the border sums up less.
    border = math.ceil(padding / stride)
    found = convolution(largest)
    found = found[:, :, border : found.shape[2] - border, border : found.shape[3] - border]
    expected = (weight.sum((1, 2, 3)) * MAX_INPUT).float().view(1, -1, 1, 1)
    return torch.equal(found, expected.expand_as(found))


def _probe() -> bool:
    weight = torch.full((PROBE_CHANNELS, PROBE_CHANNELS, 3, 3), 127, dtype=torch.int8)
    weight[::2] = -128
    scale = torch.exp2(-(torch.arange(PROBE_CHANNELS) % 16).float())
    bias = torch.arange(PROBE_CHANNELS) * scale
    largest = torch.zeros(1, PROBE_CHANNELS, PROBE_SIDE, PROBE_SIDE)
    largest[:, :PROBE_INPUTS] = 255
    found = Int8Convolution(weight, bias, scale)(largest)[0, :, 1:-1, 1:-1]
    expected = weight[:, 0, 0, 0].double() * 255 * 9 * PROBE_INPUTS * scale + bias
    return bool((found.double() == expected.view(-1, 1, 1)).all())
