"""The decoder of the compact network with NumPy: see `networks.compact` for what it computes.

Pictures, states and codes are arrays (h, w, C). The pixels are those of the torch network up to
the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnnconv_codec.light.convolution import Convolution, Floats, depth_to_space, space_to_depth
from rnnconv_codec.light.int8 import ByteConvolution, CodeConvolution, Levels
from rnnconv_codec.networks.config import FINE_STRIDE, POST_FILTER_STRIDE, CompactConfig

State = tuple[Floats, Floats]
"""Hidden states of the coarse and of the fine decoder cell."""

Tensors = Callable[[str], Floats]
"""The network's tensors by name, without the prefix of a weights file."""


Layer = Callable[[Floats], Floats]
"""From (h, w, I) to a new (h, w, O)."""


class _Cell:
    """`networks.cell.ConvGRUCell`, but for its input convolution."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._from_hidden = _convolution(tensors, f"{name}.conv_hh")
        self._candidate = _convolution(tensors, f"{name}.conv_u")

    def __call__(
        self, from_input: Floats, hidden: Floats | None, from_hidden: Layer | None = None
    ) -> Floats:
        """The new state.

        Args:
            from_input: what `conv_ih` makes of the input.
            hidden: the state before.
            from_hidden: computes `conv_hh` in another way.
        """
        size = from_input.shape[2] // 3
        if hidden is None:
            hidden = np.zeros((*from_input.shape[:2], size), np.float32)
        gates = (from_hidden or self._from_hidden)(hidden)
        gates += from_input[..., : 2 * size]
        gates = _sigmoid(gates)
        candidate = self._candidate(gates[..., :size] * hidden)
        candidate += from_input[..., 2 * size :]
        np.tanh(candidate, out=candidate)
        candidate -= hidden
        candidate *= gates[..., size:]
        candidate += hidden
        return candidate


class _Layers:
    """The convolutions behind the cells in an iteration, in 8 bits if the weights are for that."""

    def __init__(self, tensors: Tensors, iteration: int, *, int8: bool) -> None:
        self._tensors = tensors
        self._iteration = iteration
        self._int8 = int8

    def of_iteration(self, name: str) -> Floats:
        """The part of a tensor that belongs to the iteration."""
        part: Floats = self._tensors(name)[self._iteration]
        return part

    def layer(
        self,
        name: str,
        *,
        bias: Floats | None = None,
        gain: Floats | None = None,
        is_after_relu: bool = False,
        relu_before: str | None = None,
    ) -> Layer:
        """A convolution.

        Args:
            name: of it.
            bias: (O,).
            gain: (O,), that its outputs are multiplied by.
            is_after_relu: it takes what a layer gives that has a `relu_before` this one.
            relu_before: name of the only layer that takes what this one gives; negative values
                become 0 on the way.
        """
        weight = self._tensors(f"{name}.weight")
        if gain is not None:
            weight = weight * gain[:, None, None, None]
        if not self._int8:
            convolution = Convolution(weight, bias)
            return convolution if relu_before is None else lambda given: _relu(convolution(given))
        scale = self.of_iteration(f"{name}.input_scale")
        levels = Levels.positive(scale) if is_after_relu else Levels.signed(scale)
        output: Levels | None = None
        if relu_before is not None:
            output = Levels.positive(self.of_iteration(f"{relu_before}.input_scale"))
        return ByteConvolution(weight, bias, levels, output, of_integers=is_after_relu)

    def synthesis(self) -> Layer:
        """`networks.prepared` tells which half of it is in 8 bits."""
        weight, bias = self._tensors("synthesis.weight"), self._tensors("synthesis.bias")
        if not self._int8:
            return Convolution(weight, bias)
        half = weight.shape[1] // 2
        scale = self.of_iteration("synthesis.input_scale")
        large = Convolution(weight[:, :half], bias)
        small = ByteConvolution(weight[:, half:], None, Levels.signed(scale[half:]))
        return lambda given: large(given[..., :half]) + small(given[..., half:])


class _LoopFilter:
    """`networks.loop_filter.LoopFilter` in an iteration."""

    def __init__(self, layers: _Layers, unit: np.float32) -> None:
        self._unit = unit
        correction = "loop_filter.correction"
        self._features = layers.layer(
            "loop_filter.features",
            bias=layers.of_iteration("loop_filter.bias"),
            relu_before=correction,
        )
        gain = unit * layers.of_iteration("loop_filter.gain")
        self._correction = layers.layer(correction, gain=gain, is_after_relu=True)

    def __call__(self, coefficients: Floats) -> Floats:
        return self._correction(self._features(np.arcsinh(coefficients / self._unit)))


class _PostFilter:
    """`networks.post_filter.PostFilter` in an iteration."""

    def __init__(self, layers: _Layers, tensors: Tensors, unit: np.float32, blocks: int) -> None:
        self._unit = unit
        self._features = layers.layer(
            "post_filter.features",
            bias=layers.of_iteration("post_filter.feature_bias"),
            relu_before="post_filter.spread",
        )
        self._spread = layers.layer("post_filter.spread", is_after_relu=True)
        bias = layers.of_iteration("post_filter.bias")
        self._pixels = layers.layer("post_filter.pixels", bias=bias)
        self._blocks: list[tuple[Layer, Layer]] = []
        for index in range(blocks):
            first, second = (f"post_filter.blocks.{index}.{part}" for part in ("first", "second"))
            self._blocks.append(
                (
                    layers.layer(first, bias=tensors(f"{first}.bias"), relu_before=second),
                    layers.layer(second, is_after_relu=True),
                )
            )
        gain = unit * layers.of_iteration("post_filter.gain")
        self._correction = layers.layer("post_filter.correction", gain=gain)

    def __call__(self, coefficients: Floats, picture: Floats) -> Floats:
        features = self._features(np.arcsinh(coefficients / self._unit))
        detail = space_to_depth(_less_local_mean(picture), POST_FILTER_STRIDE)
        grid = depth_to_space(self._spread(features), FINE_STRIDE // POST_FILTER_STRIDE)
        grid += self._pixels(np.arcsinh(detail / self._unit))
        grid = _relu(grid)
        for first, second in self._blocks:
            grid += second(first(grid))
        return depth_to_space(self._correction(grid), POST_FILTER_STRIDE)


class CompactDecoder:
    """The decoder's half of `networks.compact.CompactNetwork`.

    Args:
        config: of the network.
        tensors: of the network.
    """

    def __init__(self, config: CompactConfig, tensors: Tensors) -> None:
        self._config = config
        self._tensors = tensors
        self._code_scale = tensors("code_scale")
        self._coarse_scale = tensors("coarse_state_scale")
        self._fine_scale = tensors("fine_state_scale")
        self._coarse_decoder = _Cell(tensors, "coarse_decoder")
        self._coarse_synthesis = _convolution(tensors, "coarse_synthesis")
        self._fine_decoder = _Cell(tensors, "fine_decoder")

    def decode_iteration(self, codes: list[Floats], state: State | None, iteration: int) -> State:
        """The new state from the codes, -1 to +1, of each grid."""
        coarse_state, fine_state = state if state is not None else (None, None)
        from_codes = self._from_codes("coarse", self._coarse_scale, iteration)
        coarse_state = self._coarse_decoder(from_codes(codes[0]), coarse_state)
        low = depth_to_space(self._coarse_synthesis(coarse_state * self._coarse_scale), 2)
        from_input = self._from_codes("fine", self._fine_scale, iteration)(codes[1])
        # The lowest coefficients come from the coarse grid, the others from the codes.
        weight = self._input_weight("fine", self._fine_scale)[:, : low.shape[2]]
        from_input += Convolution(weight)(low)
        gates = self._fine_gates(iteration)
        return coarse_state, self._fine_decoder(from_input, fine_state, gates)

    def _fine_gates(self, iteration: int) -> Layer | None:
        """See `networks.prepared`: the fine cell's `conv_hh` in 8 bits, None for float32."""
        if not (self._config.int8_decoder and self._config.int8 and iteration):
            return None
        name = "fine_decoder.conv_hh"
        before = self._tensors("synthesis.input_scale")[iteration - 1] / self._fine_scale
        weight, bias = self._tensors(f"{name}.weight"), self._tensors(f"{name}.bias")
        return ByteConvolution(weight, bias, Levels.signed(before))

    def _input_weight(self, grid: str, scale: Floats) -> Floats:
        """Of the input convolution of a grid's cell, for coefficients before they are scaled."""
        weight = self._tensors(f"{grid}_decoder.conv_ih.weight")
        return weight / scale[: weight.shape[1], None, None]

    def _from_codes(self, grid: str, scale: Floats, iteration: int) -> Layer:
        """What the input convolution of a grid's cell makes of the codes, with its bias.

        `networks.prepared` tells how the two convolutions on the way are one.
        """
        unit, name = self._code_scale[iteration], f"{grid}_dequantisers.{iteration}"
        dequantiser = self._tensors(f"{name}.weight") * unit
        offset = self._tensors(f"{name}.bias") * unit
        # Those of the coefficients that come from codes are the last ones.
        weight = self._input_weight(grid, scale)[:, -len(offset) :]
        bias = self._tensors(f"{grid}_decoder.conv_ih.bias")
        if not self._config.int8_decoder:
            dequantise, convolve = Convolution(dequantiser, offset), Convolution(weight, bias)
            return lambda codes: convolve(dequantise(codes))
        joined = np.tensordot(weight, dequantiser[:, :, 0, 0], ((1,), (0,))).transpose(0, 3, 1, 2)
        at_rest = np.sign(self._tensors(f"{grid}_binarizers.{iteration}.bias"))
        return CodeConvolution(joined, bias + weight.sum((2, 3)) @ offset, at_rest)

    def picture(self, state: State, iteration: int, filtered_as: int) -> Floats:
        """The picture (H, W, 3) that is shown after an iteration, nominally in [-1, 1].

        Args:
            state: after the iteration.
            iteration: 0-based.
            filtered_as: the iteration, 0-based, that the post-filter takes it for.
        """
        coefficients = state[1] * self._fine_scale
        config, tensors = self._config, self._tensors
        layers = _Layers(tensors, iteration, int8=config.int8)
        blocks = layers.synthesis()(coefficients)
        if config.loop_filter_channels:
            blocks += _LoopFilter(layers, self._code_scale[iteration])(coefficients)
        picture = depth_to_space(blocks, FINE_STRIDE)
        if config.post_filter_channels:
            layers = _Layers(tensors, filtered_as, int8=config.int8)
            unit = self._code_scale[filtered_as]
            post_filter = _PostFilter(layers, tensors, unit, config.post_filter_blocks)
            picture += post_filter(coefficients, picture)
        return picture


def _convolution(tensors: Tensors, name: str, *, bias: bool = True) -> Convolution:
    return Convolution(tensors(f"{name}.weight"), tensors(f"{name}.bias") if bias else None)


def _sigmoid(values: Floats) -> Floats:
    """In place, by the tanh, which does not overflow."""
    values *= np.float32(0.5)
    np.tanh(values, out=values)
    values += 1
    values *= np.float32(0.5)
    return values


def _relu(values: Floats) -> Floats:
    """In place."""
    return np.maximum(values, 0, out=values)


def _less_local_mean(picture: Floats) -> Floats:
    """See `networks.post_filter`: the picture less the mean of the cells around each cell."""
    height, width, channels = picture.shape
    cells = (height // POST_FILTER_STRIDE, width // POST_FILTER_STRIDE)
    stride = POST_FILTER_STRIDE
    blocks = picture.reshape(cells[0], stride, cells[1], stride, channels)
    # A column of ones counts the cells that are there.
    summed = np.ones((*cells, channels + 1), np.float32)
    summed[..., :channels] = blocks.mean((1, 3))
    for axis in (0, 1):
        summed = _with_neighbours(summed, axis)
    means = summed[..., :channels] / summed[..., channels:]
    detail = np.subtract(blocks, means[:, None, :, None], dtype=np.float32)
    return detail.reshape(height, width, channels)


def _with_neighbours(values: Floats, axis: int) -> Floats:
    """The sum of each value and those before and behind it along an axis."""
    swapped = np.swapaxes(values, 0, axis)
    total = swapped.copy()
    total[1:] += swapped[:-1]
    total[:-1] += swapped[1:]
    return np.swapaxes(total, 0, axis)
