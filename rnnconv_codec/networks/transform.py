"""The linear lapped transforms that the compact network starts from (DESIGN, stage 0)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.networks.config import FINE_STRIDE as FINE_STRIDE
from rnnconv_codec.networks.config import CompactConfig


def fine_analysis(config: CompactConfig) -> nn.Conv2d:
    """Image (N, 3, H, W) → coefficients (N, analysis_channels, H/8, W/8), 16x16 windows."""
    return nn.Conv2d(3, config.analysis_channels, 16, FINE_STRIDE, 4, bias=False)


def coarse_analysis(config: CompactConfig) -> nn.Conv2d:
    """The lowest fine channels (N, 24, h, w) → coarse coefficients (N, 96, h/2, w/2)."""
    return nn.Conv2d(config.coarse_inputs, config.coarse_coefficients, 4, 2, 1, bias=False)


class LinearTransform(nn.Module):
    """Both linear pairs with a logistic rate per coefficient channel: what stage 0 trains.

    Without the coarse pair (`coarse=False`) all fine channels are coded on the 1/8 grid.
    """

    def __init__(self, config: CompactConfig, *, coarse: bool) -> None:
        super().__init__()
        self.config = config
        self.coarse = coarse
        self.analysis = fine_analysis(config)
        self.synthesis = nn.Conv2d(config.analysis_channels, 192, 3, 1, 1, bias=False)
        coded = config.analysis_channels
        if coarse:
            self.coarse_analysis = coarse_analysis(config)
            self.coarse_synthesis = nn.Conv2d(
                config.coarse_coefficients, config.coarse_coefficients, 3, 1, 1, bias=False
            )
            coded = config.coarse_coefficients + config.fine_coefficients
        self.log_scale = nn.Parameter(torch.zeros(coded))

    def analyse(self, image: Tensor) -> list[Tensor]:
        """Coefficients of each grid, coarsest first; image (N, 3, H, W) in [-1, 1]."""
        coefficients = self.analysis(image)
        if not self.coarse:
            return [coefficients]
        low = self.config.coarse_inputs
        return [self.coarse_analysis(coefficients[:, :low]), coefficients[:, low:]]

    def synthesise(self, coefficients: list[Tensor]) -> Tensor:
        """The image (N, 3, H, W) of (quantised) coefficients."""
        fine = coefficients[-1]
        if self.coarse:
            low = functional.pixel_shuffle(self.coarse_synthesis(coefficients[0]), 2)
            fine = torch.cat([low, fine], 1)
        return functional.pixel_shuffle(self.synthesis(fine), FINE_STRIDE)

    def forward(self, image: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """Code an image with a uniform quantiser: noise in training, rounding otherwise.

        Args:
            image: (N, 3, H, W) in [-1, 1].
            step: quantiser step on that scale.

        Returns:
            The reconstruction (N, 3, H, W) and the estimated rate (N,) in bits per pixel.
        """
        quantised: list[Tensor] = []
        bits = image.new_zeros(image.shape[0])
        first = 0
        for values in self.analyse(image):
            if self.training:
                noisy = values + (torch.rand_like(values) - 0.5) * step
            else:
                noisy = torch.round(values / step) * step
            last = first + values.shape[1]
            scale = self.log_scale[first:last].exp().view(1, -1, 1, 1)
            first = last
            mass = torch.sigmoid((noisy + step / 2) / scale) - torch.sigmoid(
                (noisy - step / 2) / scale
            )
            bits = bits - torch.log2(mass.clamp(min=1e-6)).sum((1, 2, 3))
            quantised.append(noisy)
        pixels = image.shape[2] * image.shape[3]
        return self.synthesise(quantised), bits / pixels
