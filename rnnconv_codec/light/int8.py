"""The 8-bit convolutions of `networks.int8` with NumPy: the same integers, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnconv_codec.light.convolution import Convolution, Floats
from rnnconv_codec.networks.levels import (
    LEAST_SHARE,
    LEAST_WEIGHT,
    MAX_BYTE,
    MAX_SIGNED,
    MAX_WEIGHT,
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
        scaled = weight * input.step[:, None, None]
        scale = np.maximum(np.abs(scaled).max((1, 2, 3)) / np.float32(MAX_WEIGHT), LEAST_WEIGHT)
        integers = np.rint(scaled / scale[:, None, None, None])
        if output is not None:
            scale = scale / output.step
            bias = None if bias is None else bias / output.step
        self._convolution = Convolution(integers * scale[:, None, None, None], bias)

    def __call__(self, input: Floats) -> Floats:
        """The result (h, w, O) of (h, w, I)."""
        result = self._convolution(input if self._input is None else self._input.of(input))
        if self._output is None:
            return result
        np.rint(result, out=result)
        return np.clip(result, self._output.least, self._output.most, out=result)
