"""The integer context model as a weights file holds it: read and checked, without torch.

What computes with it (`integer_model` with torch, `light.context_model` with NumPy) relies on the
checks made here: no partial sum can leave the range in which float32 is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.fixed_point import (
    EXACT_LIMIT,
    FRACTION_BITS,
    MAX_ACTIVATION,
    MAX_SHIFT,
)
from rnnconv_codec.entropy.probability_table import TABLE_LENGTH, ProbabilityTable
from rnnconv_codec.errors import IntegerRangeError, WeightsFormatError
from rnnconv_codec.networks.config import CodeGrid, ContextModelConfig

MAX_FIXED_BIAS = 1 << 20
"""Biases added in fixed point are below this; trained ones are below a thousand."""

CONTEXT_PREFIX = "context."
TABLE_NAME = CONTEXT_PREFIX + "table"

Integers = NDArray[np.int64]


def block(channels: int, group: int, groups: int) -> slice:
    """The channels of one of `groups` channel groups."""
    return slice(group * channels // groups, (group + 1) * channels // groups)


@dataclass(frozen=True)
class StoredLayer:
    """A convolution: ⌊(weight * input + bias) / 2^shift⌋, padded so that the size stays.

    Attributes:
        weight: int8 (O, I, k, k).
        bias: (O,), with the half that makes the shift round half up.
        shift: right shift (O,) of the result, -FRACTION_BITS..MAX_SHIFT.
    """

    weight: NDArray[np.int8]
    bias: Integers
    shift: Integers


@dataclass(frozen=True)
class StoredGrid:
    """The context model of a grid; see `context_model.GridContextModel`.

    Attributes:
        iteration_bias: (iterations, hidden), in fixed point.
        feature_bias: the same.
        accumulate: int8 (iterations, hidden, C, 3, 3): what codes add to the running state.
        state_half: (hidden,): what is added before `state_shift`.
        state_shift: (hidden,): right shift from the running state to fixed point.
        from_coarser: None for the coarsest grid.
        from_finer: None if the grid does not see the next finer one.
        hidden: the 3x3 layers, one after the other.
        pointwise: of the context, inside an iteration.
        masked: of the codes.
        heads: from the context to the logits, one per iteration.
        masked_heads: the same from the features inside the iteration.
    """

    iteration_bias: Integers
    feature_bias: Integers
    accumulate: NDArray[np.int8]
    state_half: Integers
    state_shift: Integers
    from_coarser: StoredLayer | None
    from_finer: StoredLayer | None
    hidden: list[StoredLayer]
    pointwise: StoredLayer
    masked: StoredLayer
    heads: list[StoredLayer]
    masked_heads: list[StoredLayer]


def read_table(tensors: Mapping[str, NDArray[Any] | None]) -> ProbabilityTable:
    """The probability table of a weights file.

    Raises:
        WeightsFormatError: it is missing or has another type or shape.
        IntegerRangeError: it holds probabilities that cannot be coded with.
    """
    table = tensors.get(TABLE_NAME)
    if table is None or table.dtype != np.int32 or table.shape != (TABLE_LENGTH,):
        raise WeightsFormatError("the weights have no fitting probability table")
    return ProbabilityTable(table)


def read_grid(
    tensors: Mapping[str, NDArray[Any] | None],
    index: int,
    grid: CodeGrid,
    iterations: int,
    config: ContextModelConfig,
    *,
    finer: bool,
) -> StoredGrid:
    """Read the context model of a grid.

    Args:
        tensors: of the weights file, by name; None for one whose type NumPy does not have.
        index: of the grid, the coarsest is 0.
        grid: its codes.
        iterations: of the codec.
        config: sizes.
        finer: whether it sees the next finer grid.

    Raises:
        WeightsFormatError: a tensor is missing or has another type or shape.
        IntegerRangeError: a partial sum could leave the range where float32 is exact.
    """
    hidden, channels = config.hidden_channels, grid.channels
    read = _TensorReader(tensors, f"{CONTEXT_PREFIX}{index}.")
    iteration_bias = read.fixed_bias("iteration_bias", (iterations, hidden))
    feature_bias = read.fixed_bias("feature_bias", (iterations, hidden))
    accumulate, state_half, state_shift = read.accumulators((iterations, hidden, channels, 3, 3))
    from_coarser: StoredLayer | None = None
    if index:
        shape = (4 * hidden, hidden, 1)
        from_coarser = read.layers("from_coarser", shape, largest_input=MAX_ACTIVATION)[0]
    from_finer: StoredLayer | None = None
    if finer:
        shape = (hidden, 4 * hidden, 1)
        from_finer = read.layers("from_finer", shape, bias=False, largest_input=MAX_ACTIVATION)[0]
    shape = (hidden, hidden, 3)
    layers = read.layers("hidden", shape, largest_input=MAX_ACTIVATION)
    if config.hidden_layers > 1:
        layers += read.layers(
            "deeper", shape, count=config.hidden_layers - 1, largest_input=MAX_ACTIVATION
        )
    pointwise = read.layers("pointwise", (hidden, hidden, 1), largest_input=MAX_ACTIVATION)[0]
    masked = read.layers("masked", (hidden, channels, 3), largest_input=1, bias=False)[0]
    shape = (channels, hidden, 1)
    heads = read.layers("heads", shape, count=iterations, largest_input=MAX_ACTIVATION)
    masked_heads = read.layers(
        "masked_heads", shape, count=iterations, bias=False, largest_input=MAX_ACTIVATION
    )
    return StoredGrid(
        iteration_bias,
        feature_bias,
        accumulate,
        state_half,
        state_shift,
        from_coarser,
        from_finer,
        layers,
        pointwise,
        masked,
        heads,
        masked_heads,
    )


class _TensorReader:
    """Takes tensors out of a weights file and checks type, shape and range of each."""

    def __init__(self, tensors: Mapping[str, NDArray[Any] | None], prefix: str) -> None:
        self._tensors = tensors
        self._prefix = prefix

    def integers(self, name: str, shape: tuple[int, ...], dtype: type[Any]) -> NDArray[Any]:
        """A tensor of integers."""
        tensor = self._tensors.get(self._prefix + name)
        if tensor is None:
            raise WeightsFormatError(f"the weights have no {self._prefix}{name}")
        if tensor.shape != shape or tensor.dtype != dtype:
            raise WeightsFormatError(
                f"{self._prefix}{name}: {tensor.dtype} {tensor.shape}, "
                f"expected {np.dtype(dtype)} {shape}"
            )
        return tensor

    def shift(self, name: str, shape: tuple[int, ...]) -> Integers:
        """Right shifts in their range."""
        shift = self.integers(name, shape, np.int8).astype(np.int64)
        if int(shift.min()) < -FRACTION_BITS or int(shift.max()) > MAX_SHIFT:
            raise IntegerRangeError(f"{self._prefix}{name}: shift out of range")
        return shift

    def fixed_bias(self, name: str, shape: tuple[int, ...]) -> Integers:
        """A bias in fixed point."""
        bias = self.integers(name, shape, np.int32).astype(np.int64)
        if int(np.abs(bias).max()) > MAX_FIXED_BIAS:
            raise IntegerRangeError(f"{self._prefix}{name}: bias out of range")
        return bias

    def layers(
        self,
        name: str,
        shape: tuple[int, int, int],
        *,
        largest_input: int,
        bias: bool = True,
        count: int | None = None,
    ) -> list[StoredLayer]:
        """One layer, or one per iteration: outputs, inputs and kernel size in `shape`."""
        outputs, inputs, kernel = shape
        lead = () if count is None else (count,)
        weight = self.integers(f"{name}.weight", (*lead, outputs, inputs, kernel, kernel), np.int8)
        shift = self.shift(f"{name}.shift", (*lead, outputs))
        rounded = _half(shift)
        if bias:
            rounded = rounded + self.integers(f"{name}.bias", (*lead, outputs), np.int32)
        bound = _magnitudes(weight, (-3, -2, -1)) * largest_input + np.abs(rounded)
        largest = _largest_scaled(bound, shift)
        if largest >= EXACT_LIMIT:
            raise IntegerRangeError(
                f"{self._prefix}{name}: a partial sum could reach {largest}, "
                f"beyond 2^24: it would not be exact in float32"
            )
        return [
            StoredLayer(*parts)
            for parts in zip(
                weight.reshape(-1, outputs, inputs, kernel, kernel),
                rounded.reshape(-1, outputs),
                shift.reshape(-1, outputs),
                strict=True,
            )
        ]

    def accumulators(self, shape: tuple[int, ...]) -> tuple[NDArray[np.int8], Integers, Integers]:
        """Weights of the running state, and the half and the shift that bring it to fixed point."""
        weight = self.integers("accumulate.weight", shape, np.int8)
        shift = self.shift("accumulate.shift", shape[1:2])
        half = _half(shift)
        # The running state adds up all iterations: their sum is what must stay exact.
        bound = _magnitudes(weight, (0, 2, 3, 4)) + half
        if _largest_scaled(bound, shift) >= EXACT_LIMIT:
            raise IntegerRangeError("the running state could leave the exact range of float32")
        return weight, half, shift


def _magnitudes(weight: NDArray[np.int8], axes: tuple[int, ...]) -> Integers:
    # In 16 bits, where -128 has a magnitude.
    magnitudes: Integers = np.abs(weight, dtype=np.int16).sum(axes, dtype=np.int64)
    return magnitudes


def _largest_scaled(bound: Integers, shift: Integers) -> int:
    """The largest of these bounds once a negative shift has multiplied them."""
    return int((bound << np.maximum(-shift, 0)).max())


def _half(shift: Integers) -> Integers:
    """What is added before a right shift so that it rounds half up."""
    return np.where(shift > 0, 1 << (np.maximum(shift, 1) - 1), 0)
