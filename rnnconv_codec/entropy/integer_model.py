"""The context model in exact integers: what encoders and decoders run (DESIGN, section 3).

All values are integers. They are held in a floating-point type because convolutions are fast
there; as every partial sum stays below 2^24 (checked when the model is made), no order of
summation, thread count, instruction set or device can change a bit. The same class runs in
float64 and, as the oracle of the tests, in int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rnnconv_codec.entropy.context_model import (
    ContextModel,
    GridContextModel,
    QuantisedConv2d,
    block,
)
from rnnconv_codec.entropy.fixed_point import FRACTION_BITS, MAX_ACTIVATION, MAX_LOGIT, UNIT
from rnnconv_codec.entropy.int8 import exact_convolution, to_bytes
from rnnconv_codec.entropy.probability_table import make_table
from rnnconv_codec.entropy.stored_context import (
    CONTEXT_PREFIX,
    TABLE_NAME,
    Integers,
    StoredLayer,
    read_grid,
    read_table,
)
from rnnconv_codec.networks.config import CodeGrid, ContextModelConfig
from rnnconv_codec.networks.strips import Strip

_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column, in a cell of a coarser grid, of the four cells of the finer one."""

STACKED = ("deeper", "heads", "masked_heads")
"""Layers of which there are several, one after the other in one tensor."""


def as_arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any] | None]:
    """The tensors as NumPy arrays, in the same memory; None for types that NumPy does not have."""
    return {name: _as_array(tensor) for name, tensor in tensors.items()}


def _as_array(tensor: Tensor) -> NDArray[Any] | None:
    try:
        array: NDArray[Any] = tensor.detach().numpy()
    except TypeError:
        return None
    return array


def export_context(model: ContextModel) -> dict[str, Tensor]:
    """The integer tensors of a trained context model, by the names of a weights file."""
    tensors = {TABLE_NAME: torch.from_numpy(make_table())}
    with torch.no_grad():
        for index, grid in enumerate(model.grids):
            assert isinstance(grid, GridContextModel)
            for name, tensor in _export_grid(grid).items():
                tensors[f"{CONTEXT_PREFIX}{index}.{name}"] = tensor.contiguous()
    return tensors


def _export_grid(grid: GridContextModel) -> dict[str, Tensor]:
    shifts = grid.accumulator_shifts()
    scale = torch.exp2(shifts).view(-1, 1, 1, 1)
    iterations = range(len(grid.heads))
    tensors = {
        "accumulate.weight": torch.stack(
            [(grid.accumulator_weight(t) * scale).round().to(torch.int8) for t in iterations]
        ),
        "accumulate.shift": (shifts - FRACTION_BITS).to(torch.int8),
        "iteration_bias": _fixed(grid.iteration_bias),
        "feature_bias": _fixed(grid.feature_bias),
    }
    layers: dict[str, list[QuantisedConv2d]] = {
        "hidden": [grid.hidden],
        "pointwise": [grid.pointwise],
        "masked": [grid.masked],
        "heads": [_layer(head) for head in grid.heads],
        "masked_heads": [_layer(head) for head in grid.masked_heads],
    }
    if grid.from_coarser is not None:
        layers["from_coarser"] = [grid.from_coarser]
    if grid.from_finer is not None:
        layers["from_finer"] = [grid.from_finer]
    if len(grid.deeper):
        layers["deeper"] = [_layer(layer) for layer in grid.deeper]
    for name, modules in layers.items():
        exported = [_export_layer(module) for module in modules]
        for part in exported[0]:
            values = [layer[part] for layer in exported]
            tensors[f"{name}.{part}"] = torch.stack(values) if name in STACKED else values[0]
    return tensors


def _layer(module: torch.nn.Module) -> QuantisedConv2d:
    assert isinstance(module, QuantisedConv2d)
    return module


def _fixed(values: Tensor) -> Tensor:
    return torch.floor(values * UNIT + 0.5).to(torch.int32)


def _export_layer(layer: QuantisedConv2d) -> dict[str, Tensor]:
    weight, bias, shifts = layer.quantised()
    scale = torch.exp2(shifts).view(-1, 1, 1, 1)
    exported = {
        "weight": (weight * scale).round().to(torch.int8),
        # Accumulators on activations have FRACTION_BITS more bits than those on codes.
        "shift": (shifts + layer.input_bits - FRACTION_BITS).to(torch.int8),
    }
    if bias is not None:
        exported["bias"] = (bias * torch.exp2(shifts + layer.input_bits)).round().to(torch.int32)
    return exported


@dataclass(frozen=True)
class _Layer:
    """A convolution ready to run.

    In floating point, weight and bias are already divided by 2^shift: exponents change, no bit
    of a sum does, and the shift is a floor.

    Attributes:
        weight: int8 (O, I, k, k).
        bias: integers (O,), with the half that makes the shift round half up.
        shift: right shift (O,) of the result, -FRACTION_BITS..MAX_SHIFT.
        dtype: of the arithmetic: float32, float64 or int64.
        largest: of the inputs, which are integers from 0 on.
    """

    weight: Tensor
    bias: Tensor
    shift: Tensor
    dtype: torch.dtype
    largest: int

    @property
    def margin(self) -> int:
        """Rows of cells that it looks beyond its own, and that are padded with zeros."""
        return self.weight.shape[2] // 2

    @cached_property
    def _convolve(self) -> Callable[[Tensor], Tensor]:
        """Prepared when it is first used: few layers run where few iterations are decoded."""
        if self.dtype == torch.int64:
            weight = self.weight.to(torch.int64)
            return partial(_convolve_integers, weight=weight, bias=self.bias, padding=self.margin)
        scale = torch.exp2(-self.shift.to(self.dtype))
        bias = self.bias.to(self.dtype) * scale
        # float64 is there to be compared with, and stays what it is.
        if self.dtype == torch.float32:
            in_8_bits = exact_convolution(self.weight, bias, scale, self.largest)
            if in_8_bits is not None:
                return in_8_bits
        weight = self.weight.to(self.dtype) * scale.view(-1, 1, 1, 1)
        return partial(_convolve, weight=weight, bias=bias, padding=self.margin)

    def __call__(self, input: Tensor) -> Tensor:
        """⌊(weight * input + bias) / 2^shift⌋, a tensor of its own; `input` has any type."""
        result = self.sums(input)
        return self.shifted(result) if self.dtype == torch.int64 else result.floor_()

    def sums(self, input: Tensor) -> Tensor:
        """The sums weight * input + bias; in floating point over 2^shift, exact all the same."""
        return self._convolve(input)

    def shifted(self, sums: Tensor) -> Tensor:
        """⌊sums / 2^shift⌋ of `sums`, or of what several of them add up to."""
        if self.dtype != torch.int64:
            return sums.floor()
        shift = self.shift.view(1, -1, 1, 1)
        return (sums << (-shift).clamp(min=0)) >> shift.clamp(min=0)

    def rows(self, rows: slice) -> _Layer:
        """The layer with only some of its outputs."""
        return replace(self, weight=self.weight[rows], bias=self.bias[rows], shift=self.shift[rows])

    def columns(self, columns: slice | Tensor) -> _Layer:
        """The layer with only some of its inputs, or with all of them in another order."""
        return replace(self, weight=self.weight[:, columns].contiguous())


def _convolve(input: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """A convolution in the weight's floating-point type."""
    return functional.conv2d(input.to(weight.dtype), weight, bias, padding=padding)


def _convolve_integers(input: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    """A convolution in int64, by shifting and adding: the oracle."""
    size = weight.shape[2]
    height, width = input.shape[2:]
    padded = functional.pad(input.to(weight.dtype), (padding,) * 4)
    result = bias.view(1, -1, 1, 1).expand(input.shape[0], -1, height, width).clone()
    for row in range(size):
        for column in range(size):
            window = padded[:, :, row : row + height, column : column + width]
            result += torch.einsum("oi,nihw->nohw", weight[:, :, row, column], window)
    return result


def _clip(values: Tensor) -> Tensor:
    """To the range of activations, in place."""
    return values.clamp_(0, MAX_ACTIVATION)


class IntegerGridModel:
    """The integer context model of one grid."""

    def __init__(
        self,
        tensors: Mapping[str, NDArray[Any] | None],
        index: int,
        grid: CodeGrid,
        iterations: int,
        config: ContextModelConfig,
        dtype: torch.dtype,
        *,
        finer: bool,
    ) -> None:
        hidden, channels = config.hidden_channels, grid.channels
        self.groups = config.groups
        self.stride = grid.stride
        self.channels = channels
        self.hidden_channels = hidden
        self.dtype = dtype
        stored = read_grid(tensors, index, grid, iterations, config, finer=finer)
        self._iteration_bias = self._broadcast(stored.iteration_bias)
        self._feature_bias = self._broadcast(stored.feature_bias)
        # The first brings the half that makes the shift of the state round half up.
        halves = [stored.state_half] + [np.zeros_like(stored.state_half)] * (iterations - 1)
        self._accumulators = [
            self._layer(StoredLayer(weight, half, stored.state_shift), of_codes=True)
            for weight, half in zip(stored.accumulate, halves, strict=True)
        ]
        self._from_coarser: list[_Layer] = []
        if stored.from_coarser is not None:
            layer = self._layer(stored.from_coarser)
            # A layer per phase: oneDNN takes several times as long for many outputs at once.
            self._from_coarser = [layer.rows(slice(phase, None, 4)) for phase in range(4)]
        self._from_finer: _Layer | None = None
        if stored.from_finer is not None:
            layer = self._layer(stored.from_finer)
            self._from_finer = layer.columns(torch.arange(4 * hidden).view(hidden, 4).T.flatten())
        self._hidden = [self._layer(layer) for layer in stored.hidden]
        pointwise, masked = self._layer(stored.pointwise), self._layer(stored.masked, of_codes=True)
        heads = [self._layer(layer) for layer in stored.heads]
        masked_heads = [self._layer(layer) for layer in stored.masked_heads]
        self._pointwise = [
            pointwise.rows(block(hidden, group, self.groups)) for group in range(self.groups)
        ]
        self._heads = [
            [layer.rows(block(channels, group, self.groups)) for group in range(self.groups)]
            for layer in heads
        ]
        self._masked = [
            masked.rows(block(hidden, group, self.groups)).columns(
                slice(block(channels, group, self.groups).start)
            )
            for group in range(self.groups)
        ]
        self._masked_heads = [
            [
                layer.rows(block(channels, group, self.groups)).columns(
                    slice(block(hidden, group, self.groups).stop)
                )
                for group in range(self.groups)
            ]
            for layer in masked_heads
        ]

    def _layer(self, stored: StoredLayer, *, of_codes: bool = False) -> _Layer:
        weight, bias = torch.from_numpy(stored.weight), torch.from_numpy(stored.bias)
        largest = 1 if of_codes else MAX_ACTIVATION
        return _Layer(weight, bias, torch.from_numpy(stored.shift), self.dtype, largest)

    def _broadcast(self, bias: Integers) -> Tensor:
        """A bias (iterations, C) as (iterations, 1, C, 1, 1)."""
        return torch.from_numpy(bias).to(self.dtype)[:, None, :, None, None]

    def _state_in_fixed_point(self, state: Tensor) -> Tensor:
        return self._accumulators[0].shifted(state)

    def accumulation(self, bits: Tensor, iteration: int) -> Tensor:
        """What the codes (N, C, h, w) of an iteration, 0/1, add to the running state."""
        return self._accumulators[iteration].sums(bits)

    def features(self, state: Tensor, iteration: int) -> Tensor:
        """What the next finer and the next coarser grid see of a running state, as bytes."""
        features = self._state_in_fixed_point(state).add_(self._feature_bias[iteration])
        return to_bytes(_clip(features))

    @property
    def sees_finer(self) -> bool:
        """Whether `context` takes features of the next finer grid."""
        return self._from_finer is not None

    def context(
        self,
        state: Tensor | None,
        coarser: Tensor | None,
        finer: Tensor | None,
        iteration: int,
        size: tuple[int, int],
    ) -> Tensor:
        """What earlier iterations and coarser grids tell about `size` = (h, w) cells.

        See `GridContextModel` for the arguments. All are of the same rows of the picture; less
        than `halo` rows from where these begin or end inside of it, the result is not that of
        the whole.

        Returns:
            (1, hidden, h, w), integers 0..`MAX_ACTIVATION`, as bytes.
        """
        bias = self._iteration_bias[iteration]
        if state is None:
            shape = (1, self.hidden_channels, *size)
            context = torch.empty(shape, dtype=self.dtype, memory_format=torch.channels_last)
            context.copy_(bias.expand(shape))
        else:
            context = self._state_in_fixed_point(state).add_(bias)
        if self._from_coarser:
            assert coarser is not None
            for (row, column), layer in zip(_PHASES, self._from_coarser, strict=True):
                context[:, :, row::2, column::2] += layer(coarser)
        if self._from_finer is not None and finer is not None:
            phases = [finer[:, :, row::2, column::2] for row, column in _PHASES]
            context += self._from_finer(torch.cat(phases, 1))
        activations = to_bytes(_clip(context))
        for layer in self._hidden:
            activations = to_bytes(_clip(layer(activations).add_(activations)))
        return activations

    @property
    def halo(self) -> int:
        """Rows of cells that `context` looks beyond its own."""
        return sum(layer.margin for layer in self._hidden)

    @property
    def margin(self) -> int:
        """Rows of cells that `from_codes` and `accumulation` look beyond their own."""
        return max(self._masked[0].margin, self._accumulators[0].margin)

    def from_codes(self, group: int, bits: Tensor) -> Tensor:
        """What the codes of the groups before this one, 0/1, add to its hidden features."""
        return self._masked[group](bits)

    def features_of_group(self, group: int, context: Tensor, from_codes: Tensor | None) -> Tensor:
        """Hidden features of a group, as bytes; the first has no codes before it."""
        features = self._pointwise[group](context)
        return to_bytes(_clip(features if from_codes is None else features.add_(from_codes)))

    def logits_of_group(
        self, group: int, iteration: int, context: Tensor, features: Tensor
    ) -> Tensor:
        """Logits of a group from the hidden features of the groups up to it."""
        from_context = self._heads[iteration][group](context)
        logits = self._masked_heads[iteration][group](features).add_(from_context)
        return logits.clamp_(-MAX_LOGIT, MAX_LOGIT)


class GroupPass:
    """One iteration of one grid: the logits of its channel groups, one group after another.

    What the groups need of each other is kept in bytes and in the range 0..255, so that a
    picture of any size takes few of them.

    Args:
        model: of the grid.
        iteration: 0-based.
        strips: of the padded picture, in which all is done.
        context: from a strip to its rows of `IntegerGridModel.context`.
        width: cells of a row.
    """

    def __init__(
        self,
        model: IntegerGridModel,
        iteration: int,
        strips: Sequence[Strip],
        context: Callable[[Strip], Tensor],
        width: int,
    ) -> None:
        self._model = model
        self._iteration = iteration
        self._strips = strips
        self._size = (strips[-1].last // model.stride, width)
        self._context = self._bytes(model.hidden_channels)
        self._features = self._bytes(model.hidden_channels)
        self._bits = self._bytes(model.channels)
        self._group = 0
        for strip in strips:
            self._context[:, :, strip.cells(model.stride)] = context(strip)

    def logits(self) -> Tensor:
        """Logits (1, C/groups, h, w), int16, of the next group: integers in ±`MAX_LOGIT`."""
        model, group = self._model, self._group
        channels = block(model.channels, group, model.groups)
        hidden = block(model.hidden_channels, group, model.groups)
        logits = torch.empty(1, channels.stop - channels.start, *self._size, dtype=torch.int16)
        for strip in self._strips:
            rows = strip.cells(model.stride)
            context = self._context[:, :, rows]
            from_codes: Tensor | None = None
            if group:
                outer = strip.widened(model.margin * model.stride)
                bits = self._bits[:, : channels.start, outer.cells(model.stride)]
                from_codes = model.from_codes(group, bits)
                from_codes = from_codes[:, :, strip.cells_in(outer, model.stride)]
            self._features[:, hidden, rows] = model.features_of_group(group, context, from_codes)
            features = self._features[:, : hidden.stop, rows]
            logits[:, :, rows] = model.logits_of_group(group, self._iteration, context, features)
        return logits

    def push(self, bits: Tensor) -> None:
        """The codes (1, C/groups, h, w) of the group whose logits were given, 0/1."""
        model = self._model
        self._bits[:, block(model.channels, self._group, model.groups)] = bits
        self._group += 1

    def bits(self) -> Tensor:
        """All codes (1, C, h, w), uint8, of the iteration, 0/1, once every group is pushed."""
        return self._bits

    def _bytes(self, channels: int) -> Tensor:
        return torch.empty(
            (1, channels, *self._size), dtype=torch.uint8, memory_format=torch.channels_last
        )


class IntegerContextModel:
    """The context models of all grids, from the tensors of a weights file.

    Args:
        tensors: of the weights file, by name.
        grids: code grids, coarsest first.
        iterations: of the codec.
        config: sizes.
        dtype: float32; float64 or int64 (slow: the oracle) give the same integers.

    Raises:
        WeightsFormatError: a tensor is missing or has another type or shape.
        IntegerRangeError: a partial sum could leave the range where float32 is exact.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        grids: tuple[CodeGrid, ...],
        iterations: int,
        config: ContextModelConfig,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        arrays = as_arrays(tensors)
        self.table = read_table(arrays)
        self.grids = [
            IntegerGridModel(
                arrays,
                index,
                grid,
                iterations,
                config,
                dtype,
                finer=config.from_finer and index + 1 < len(grids),
            )
            for index, grid in enumerate(grids)
        ]
