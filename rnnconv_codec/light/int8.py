"""The 8-bit convolutions of `networks.int8` with NumPy: the same integers, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnconv_codec.light.convolution import Convolution, Floats
from rnnconv_codec.networks.levels import (
    LEAST_SHARE,
    LEAST_WEIGHT,
    MAX_BYTE,
    MAX_CODE,
    MAX_SIGNED,
    MAX_WEIGHT,
    pair_weight,
)


@dataclass(frozen=True)
class Levels:
    """How values become integers: round(value / step), cut to the range from `least` to `most`."""

    step: Floats
    least: int
    most: int

    @classmethod
    def signed(cls, largest: Floats) -> Levels:
        """See `networks.int8.Levels.signed`."""
        whole = largest.max()
        step = np.sqrt(np.maximum(largest, np.float32(LEAST_SHARE) * whole) * whole) / MAX_SIGNED
        return cls(step.astype(np.float32), -MAX_SIGNED - 1, MAX_SIGNED)

    @classmethod
    def positive(cls, largest: Floats) -> Levels:
        """See `networks.int8.Levels.positive`."""
        step = np.full(len(largest), largest.max() / MAX_BYTE, np.float32)
        return cls(step, 0, MAX_BYTE)

    def of(self, values: Floats) -> Floats:
        """The integers of values (h, w, C), as float32."""
        scaled: Floats = values / self.step
        np.rint(scaled, out=scaled)
        return np.clip(scaled, self.least, self.most, out=scaled)


def rounded(weight: Floats, *, of_codes: bool = False) -> Floats:
    """(O, I, k, k) in whole steps; see `networks.int8.weight_steps`.

    Args:
        weight: of bytes, or of codes.
        of_codes: which are so small that pairs need no thought.
    """
    # NumPy is quick along one axis only.
    flat = weight.reshape(len(weight), -1)
    step = np.maximum(flat.max(1), -flat.min(1)) / np.float32(MAX_WEIGHT)
    if not of_codes:
        pairs = np.maximum(_pairs(np.maximum(weight, 0)), _pairs(np.maximum(-weight, 0)))
        step = np.maximum(step, pairs / np.float32(pair_weight(MAX_BYTE)))
    step = np.maximum(step, np.float32(LEAST_WEIGHT))[:, None]
    whole: Floats = flat / step
    np.rint(whole, out=whole)
    whole *= step
    shaped: Floats = whole.reshape(weight.shape)
    return shaped


def _pairs(weight: Floats) -> Floats:
    """Of each output (O,) the largest sum of weights of inputs 2i and 2i + 1 of (O, I, k, k)."""
    sums = weight[:, ::2].copy()
    sums[:, : weight.shape[1] // 2] += weight[:, 1::2]
    largest: Floats = sums.reshape(len(sums), -1).max(1)
    return largest


class ByteConvolution:
    """See `networks.int8.ByteConvolution`; stride 1, padded so that the size stays.

    Args:
        weight: (O, I, k, k).
        bias: (O,), or None.
        input: levels of the input.
        output: levels of the result, if it is to be integers.
        of_integers: the input will be integers already.
    """

    def __init__(
        self,
        weight: Floats,
        bias: Floats | None,
        input: Levels,
        output: Levels | None = None,
        *,
        of_integers: bool = False,
    ) -> None:
        self._input = None if of_integers else input
        self._output = output
        weight = rounded(weight * input.step[:, None, None])
        if output is not None:
            weight = weight / output.step[:, None, None, None]
            bias = None if bias is None else bias / output.step
        self._convolution = Convolution(weight, bias)

    def __call__(self, input: Floats) -> Floats:
        """The result (h, w, O) of (h, w, I)."""
        result = self._convolution(input if self._input is None else self._input.of(input))
        if self._output is None:
            return result
        np.rint(result, out=result)
        return np.clip(result, self._output.least, self._output.most, out=result)


class CodeConvolution:
    """See `networks.code_convolution.CodeConvolution`.

    Args:
        weight: (O, I, k, k), k odd; may be overwritten.
        bias: (O,).
        at_rest: (I,), the codes -1 or +1 for which rounding changes nothing.
    """

    def __init__(self, weight: Floats, bias: Floats, at_rest: Floats) -> None:
        kernel = weight.shape[2]
        middle = (slice(None), slice(None), kernel // 2, kernel // 2)
        exact = weight.copy()
        if kernel > 1:
            centre = rounded(weight[middle][..., None, None], of_codes=True)[..., 0, 0]
            weight[middle] -= centre
            weight = rounded(weight, of_codes=True)
            weight[middle] += centre
        else:
            weight = rounded(weight, of_codes=True)
        exact -= weight
        lost = exact.reshape(len(weight), -1) @ np.repeat(at_rest, kernel**2)
        self._convolution = Convolution(weight / np.float32(MAX_CODE), bias + lost)

    def __call__(self, codes: Floats) -> Floats:
        """The result (h, w, O) of codes (h, w, I), -1 to +1."""
        return self._convolution(np.rint(codes * np.float32(MAX_CODE)))
