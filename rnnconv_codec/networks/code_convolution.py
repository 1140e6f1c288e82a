"""Convolutions of codes in 8-bit integers: the first thing that a decoder does.

Codes are bytes without any rounding, so only the weights lose something. What they lose would be
added to the decoder's state in every iteration and every cell, also where nothing is coded: most
codes are those that stand for a coefficient of 0. So the bias makes up for it there, and errors
are left only where codes say something (docs/PERFORMANCE.md: 1.8 % BD-rate without it, 0.01 with).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnconv_codec.networks.int8 import ByteConvolution, Levels, weight_steps
from rnnconv_codec.networks.levels import MAX_CODE

CODE_ZERO = MAX_CODE + 1
"""The byte between those of -1 and +1."""

LARGEST_CODE = CODE_ZERO + MAX_CODE


def code_bytes(codes: Tensor) -> Tensor:
    """Codes as the bytes that a `CodeConvolution` takes, of the same shape and layout.

    Args:
        codes: int8, -1 or +1; or float32 between them, where only expected values are known.
    """
    if codes.is_floating_point():
        levels = (codes * MAX_CODE).round_().to(torch.int8)
    else:
        levels = codes * MAX_CODE
    return levels.add_(CODE_ZERO).view(torch.uint8)


def split(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the centre off a kernel, but for what it is more than steps of 7 bits.

    The centre of the decoder's kernels is ten times as large as what is around it, which would be
    lost in steps that fit the centre.

    Args:
        weight: (O, I, k, k), k odd.

    Returns:
        (O, I, 1, 1) and (O, I, k, k).
    """
    middle = weight.shape[2] // 2
    inner = slice(middle, middle + 1)
    centre = weight[:, :, inner, inner]
    step = weight_steps(centre, LARGEST_CODE).view(-1, 1, 1, 1)
    coarse = (centre / step).round() * step
    rest = weight.clone()
    rest[:, :, inner, inner] -= coarse
    return coarse, rest


class CodeConvolution(nn.Module):
    """A convolution of codes, padded so that the size stays.

    Args:
        weight: float32 (O, I, k, k), k odd.
        bias: float32 (O,).
        at_rest: (I,), the codes -1 or +1 for which rounding changes nothing.
    """

    def __init__(self, weight: Tensor, bias: Tensor, at_rest: Tensor) -> None:
        super().__init__()
        inputs, kernel = weight.shape[1:3]
        levels = Levels(torch.full((inputs,), 1 / MAX_CODE), CODE_ZERO, LARGEST_CODE)
        self._centre: ByteConvolution | None = None
        if kernel > 1:
            centre, weight = split(weight)
            self._centre = ByteConvolution(centre, None, levels, at_rest=at_rest)
        self._rest = ByteConvolution(weight, bias, levels, padding=kernel // 2, at_rest=at_rest)

    def forward(self, codes: Tensor) -> Tensor:
        """The result (N, O, h, w), float32, of `code_bytes` (N, I, h, w)."""
        result: Tensor = self._rest(codes)
        return result if self._centre is None else result.add_(self._centre(codes))
