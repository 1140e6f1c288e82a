"""Convolutions of 8-bit integers, where the processor has instructions for them.

The context model's activations are 0..255, its weights -128..127. Processors with VNNI multiply
and add those in 32-bit integers, four times as many at once as in float32, and without rounding:
the accumulators are the same. Older ones add pairs of products in 16 bits, which saturate, so on
them (and wherever anything else is in doubt) the context model stays with float32.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that may keep oneDNN from instructions which the processor has."""

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


@lru_cache(maxsize=1)
def int8_is_exact() -> bool:
    """Whether `Int8Convolution` can be had here and gives exact integers.

    The processor must have VNNI, nothing may keep oneDNN from using it, and a convolution of the
    largest values, which saturates in 16 bits, must come out right.
    """
    if any(name in os.environ for name in ISA_LIMITS):
        return False
    try:
        if not (torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()):
            return False
        return _probe()
    except (AttributeError, RuntimeError, TypeError):  # another torch, without these
        return False


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
