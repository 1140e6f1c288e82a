"""The nonlinearity that the filters see coefficients through."""

from __future__ import annotations

import torch
from torch import Tensor


def compress(values: Tensor) -> Tensor:
    """asinh: linear up to about one, logarithmic beyond.

    Coefficients of hundreds of quantisation steps stay in the range of a unit. Where no gradient
    is asked for, by a formula whose steps run vectorised: torch's own asinh takes five times as
    long as that.

        asinh(x) = sign(x) · log1p(|x| + x² / (1 + sqrt(1 + x²)))
    """
    if torch.is_grad_enabled():
        return torch.asinh(values)
    size = values.abs()
    square = values.square()
    root = (square + 1).sqrt_().add_(1)
    return size.add_(square.div_(root)).log1p_().copysign_(values)
