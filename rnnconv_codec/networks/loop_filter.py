"""The in-loop filter: a nonlinear estimate of what quantisation took from the picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnconv_codec.networks.compression import compress
from rnnconv_codec.networks.strips import reach


class LoopFilter(nn.Module):
    """A correction to the synthesis, from the decoder's coefficients and their neighbours.

    It takes the part of the in-loop filters of video codecs: blocks that were quantised alike
    are smoothed, edges are continued from cell to cell. The encoder runs it too, so what it
    restores is never coded.

        unit · g_t ⊙ conv(relu(conv(asinh(c / unit)) + b_t))

    With `unit` the threshold of the iteration, the correction scales with the error that is left,
    and the asinh keeps coefficients of hundreds of thresholds in the range of a unit.

    Args:
        coefficients: channels of the decoder's coefficients.
        hidden: channels between the two convolutions, both 3x3.
        outputs: channels of the correction.
        iterations: of the codec.
    """

    def __init__(self, coefficients: int, hidden: int, outputs: int, iterations: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(coefficients, hidden, 3, padding=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(iterations, hidden))
        self.correction = nn.Conv2d(hidden, outputs, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.ones(iterations, outputs))
        # A correction of nothing: a new filter must not disturb what it is put into.
        nn.init.zeros_(self.correction.weight)

    def reach(self, stride: int) -> int:
        """Rows of pixels that it looks beyond its own cells, of this stride."""
        return reach(self.features, stride) + reach(self.correction, stride)

    def forward(self, coefficients: Tensor, unit: Tensor, iteration: int) -> Tensor:
        """The correction (N, outputs, h, w).

        Args:
            coefficients: (N, C, h, w).
            unit: scalar, the scale of the iteration's quantisation.
            iteration: 0-based.
        """
        features = self.features(compress(coefficients / unit))
        features = features.add_(self.bias[iteration].view(1, -1, 1, 1)).relu_()
        gain = unit * self.gain[iteration].view(1, -1, 1, 1)
        correction: Tensor = gain * self.correction(features)
        return correction
