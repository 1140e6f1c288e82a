"""The decoder of the compact network with NumPy: see `networks.compact` for what it computes.

Pictures, states and codes are arrays (h, w, C). The pixels are those of the torch network up to
the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from rnnconv_codec.light.convolution import Convolution, Floats, depth_to_space, space_to_depth
from rnnconv_codec.networks.config import FINE_STRIDE, POST_FILTER_STRIDE, CompactConfig

State = tuple[Floats, Floats]
"""Hidden states of the coarse and of the fine decoder cell."""

Tensors = Callable[[str], Floats]
"""The network's tensors by name, without the prefix of a weights file."""


class _Cell:
    """`networks.cell.ConvGRUCell`, with stride 1."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._from_input = _convolution(tensors, f"{name}.conv_ih")
        self._from_hidden = _convolution(tensors, f"{name}.conv_hh")
        self._candidate = _convolution(tensors, f"{name}.conv_u")

    def __call__(self, input: Floats, hidden: Floats | None) -> Floats:
        from_input = self._from_input(input)
        size = from_input.shape[2] // 3
        if hidden is None:
            hidden = np.zeros((*input.shape[:2], size), np.float32)
        gates = self._from_hidden(hidden)
        gates += from_input[..., : 2 * size]
        gates = _sigmoid(gates)
        candidate = self._candidate(gates[..., :size] * hidden)
        candidate += from_input[..., 2 * size :]
        np.tanh(candidate, out=candidate)
        candidate -= hidden
        candidate *= gates[..., size:]
        candidate += hidden
        return candidate


class _LoopFilter:
    """`networks.loop_filter.LoopFilter`."""

    def __init__(self, tensors: Tensors) -> None:
        self._features = _convolution(tensors, "loop_filter.features", bias=False)
        self._correction = _convolution(tensors, "loop_filter.correction", bias=False)
        self._bias = tensors("loop_filter.bias")
        self._gain = tensors("loop_filter.gain")

    def __call__(self, coefficients: Floats, unit: np.float32, iteration: int) -> Floats:
        features = self._features(np.arcsinh(coefficients / unit))
        features += self._bias[iteration]
        correction = self._correction(_relu(features))
        correction *= unit * self._gain[iteration]
        return correction


class _PostFilter:
    """`networks.post_filter.PostFilter`."""

    def __init__(self, tensors: Tensors, blocks: int) -> None:
        self._features = _convolution(tensors, "post_filter.features", bias=False)
        self._spread = _convolution(tensors, "post_filter.spread", bias=False)
        self._pixels = _convolution(tensors, "post_filter.pixels", bias=False)
        self._blocks = [
            (
                _convolution(tensors, f"post_filter.blocks.{index}.first"),
                _convolution(tensors, f"post_filter.blocks.{index}.second", bias=False),
            )
            for index in range(blocks)
        ]
        self._correction = _convolution(tensors, "post_filter.correction", bias=False)
        self._feature_bias = tensors("post_filter.feature_bias")
        self._bias = tensors("post_filter.bias")
        self._gain = tensors("post_filter.gain")

    def __call__(
        self, coefficients: Floats, picture: Floats, unit: np.float32, iteration: int
    ) -> Floats:
        features = self._features(np.arcsinh(coefficients / unit))
        features += self._feature_bias[iteration]
        detail = space_to_depth(_less_local_mean(picture), POST_FILTER_STRIDE)
        grid = depth_to_space(self._spread(_relu(features)), FINE_STRIDE // POST_FILTER_STRIDE)
        grid += self._pixels(np.arcsinh(detail / unit))
        grid += self._bias[iteration]
        grid = _relu(grid)
        for first, second in self._blocks:
            grid += second(_relu(first(grid)))
        correction = self._correction(grid)
        correction *= unit * self._gain[iteration]
        return depth_to_space(correction, POST_FILTER_STRIDE)


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
        coefficients = self._dequantised("coarse", codes[0], iteration)
        coefficients /= self._coarse_scale[: coefficients.shape[2]]
        coarse_state = self._coarse_decoder(coefficients, coarse_state)
        low = depth_to_space(self._coarse_synthesis(coarse_state * self._coarse_scale), 2)
        high = self._dequantised("fine", codes[1], iteration)
        coefficients = np.concatenate([low, high], 2)
        coefficients /= self._fine_scale[: coefficients.shape[2]]
        return coarse_state, self._fine_decoder(coefficients, fine_state)

    def picture(self, state: State, iteration: int, filtered_as: int) -> Floats:
        """The picture (H, W, 3) that is shown after an iteration, nominally in [-1, 1].

        Args:
            state: after the iteration.
            iteration: 0-based.
            filtered_as: the iteration, 0-based, that the post-filter takes it for.
        """
        coefficients = state[1] * self._fine_scale
        blocks = self._synthesis(coefficients)
        if self._config.loop_filter_channels:
            loop_filter = _LoopFilter(self._tensors)
            blocks += loop_filter(coefficients, self._code_scale[iteration], iteration)
        picture = depth_to_space(blocks, FINE_STRIDE)
        if self._config.post_filter_channels:
            post_filter = _PostFilter(self._tensors, self._config.post_filter_blocks)
            unit = self._code_scale[filtered_as]
            picture += post_filter(coefficients, picture, unit, filtered_as)
        return picture

    @cached_property
    def _synthesis(self) -> Convolution:
        return _convolution(self._tensors, "synthesis")

    def _dequantised(self, grid: str, codes: Floats, iteration: int) -> Floats:
        dequantiser = _convolution(self._tensors, f"{grid}_dequantisers.{iteration}")
        coefficients = dequantiser(codes)
        coefficients *= self._code_scale[iteration]
        return coefficients


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
