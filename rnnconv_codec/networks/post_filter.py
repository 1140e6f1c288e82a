"""The post-filter: what the decoder does to a picture before it is shown."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.networks.compression import compress
from rnnconv_codec.networks.config import POST_FILTER_STRIDE as STRIDE
from rnnconv_codec.networks.strips import reach

COEFFICIENT_STRIDE = 8
"""Pixels per cell of the decoder's coefficients."""

FIRST_BLOCK_SCALE = 0.1
"""Of what a residual block adds at first: a new stack of them is nearly the identity."""


class PostFilter(nn.Module):
    """A correction to a decoded picture, outside of the residual loop.

    The in-loop filter runs in every iteration of the encoder and must be small. This one runs
    once per picture that is shown and can look further: from the decoder's coefficients and the
    picture itself, through residual blocks on a grid of 4x4 pixels.

        f = relu(conv(asinh(c / unit)) + a_t)
        x = relu(depth-to-space(conv(f)) + conv(asinh(h / unit)) + b_t),  h: picture less its mean
        x = x + conv(relu(conv(x)))  for each block
        unit · g_t ⊙ conv(x)

    With `unit` the threshold of the iteration, as in `LoopFilter`.

    Args:
        coefficients: channels of the decoder's coefficients.
        channels: of the filter's grid; the features of the coefficients are twice as many.
        blocks: residual blocks of two 3x3 convolutions.
        iterations: of the codec.
    """

    def __init__(self, coefficients: int, channels: int, blocks: int, iterations: int) -> None:
        super().__init__()
        samples = 3 * STRIDE**2
        cells = (COEFFICIENT_STRIDE // STRIDE) ** 2
        self.features = nn.Conv2d(coefficients, 2 * channels, 3, padding=1, bias=False)
        self.feature_bias = nn.Parameter(torch.zeros(iterations, 2 * channels))
        self.spread = nn.Conv2d(2 * channels, cells * channels, 1, bias=False)
        self.pixels = nn.Conv2d(samples, channels, 3, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(iterations, channels))
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(blocks))
        self.correction = nn.Conv2d(channels, samples, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.ones(iterations, samples))
        # A correction of nothing: a new filter must not disturb what it is put behind.
        nn.init.zeros_(self.correction.weight)

    @property
    def reach(self) -> int:
        """Rows of pixels that it looks beyond a cell of its grid."""
        # The local mean: a cell on either side.
        pixels = STRIDE + reach(self.pixels, STRIDE)
        total = max(reach(self.features, COEFFICIENT_STRIDE), pixels)
        total += reach(self.correction, STRIDE)
        return total + sum(block.reach(STRIDE) for block in self.residual_blocks())

    def residual_blocks(self) -> Iterator[ResidualBlock]:
        """One after the other."""
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            yield block

    def forward(
        self, coefficients: Tensor, picture: Tensor, unit: Tensor, iteration: int
    ) -> Tensor:
        """The correction (N, 3, H, W).

        Args:
            coefficients: (N, C, H/8, W/8).
            picture: (N, 3, H, W), nominally in [-1, 1].
            unit: scalar, the scale of the iteration's quantisation.
            iteration: 0-based.
        """
        features = self.features(compress(coefficients / unit))
        features = functional.relu(features + _of(self.feature_bias, iteration))
        grid = on_grid(self.spread(features)) + self.pixels(compress(detail(picture) / unit))
        grid = functional.relu(grid + _of(self.bias, iteration))
        for block in self.residual_blocks():
            grid = block(grid)
        correction = unit * _of(self.gain, iteration) * self.correction(grid)
        return functional.pixel_shuffle(correction, STRIDE)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), both 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        with torch.no_grad():
            self.second.weight.mul_(FIRST_BLOCK_SCALE)

    def reach(self, stride: int) -> int:
        """Rows of pixels that it looks beyond its own cells, of this stride."""
        return reach(self.first, stride) + reach(self.second, stride)

    def forward(self, grid: Tensor) -> Tensor:
        """The same shape, (N, channels, h, w)."""
        output: Tensor = grid + self.second(functional.relu(self.first(grid)))
        return output


def _of(parameters: Tensor, iteration: int) -> Tensor:
    return parameters[iteration].view(1, -1, 1, 1)


def on_grid(features: Tensor) -> Tensor:
    """From the coefficients' grid (N, 4 C, H/8, W/8) to the filter's (N, C, H/4, W/4)."""
    return functional.pixel_shuffle(features, COEFFICIENT_STRIDE // STRIDE)


def detail(picture: Tensor) -> Tensor:
    """The picture less the mean of the 3x3 cells around each cell, (N, 3 STRIDE², H/4, W/4).

    The correction does not depend on how bright a region is, only on what is in it.

    Args:
        picture: (N, 3, H, W).
    """
    means = functional.avg_pool2d(picture, STRIDE)
    means = functional.avg_pool2d(means, 3, stride=1, padding=1, count_include_pad=False)
    less = picture - functional.interpolate(means, scale_factor=STRIDE, mode="nearest")
    return functional.pixel_unshuffle(less, STRIDE)
