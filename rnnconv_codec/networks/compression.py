"""The nonlinearity that the filters see coefficients through."""

from __future__ import annotations

import torch
from torch import Tensor


def compress(values: Tensor) -> Tensor:
    """asinh: linear up to about one, logarithmic beyond.

    Coefficients of hundreds of quantisation steps stay in the range of a unit. Where no gradient
    is asked for, by a formula whose steps run vectorised, in a fifth of the time of torch's own:

        asinh(x) = sign(x) · log(|x| + sqrt(1 + x²))

    Near 0 it has lost the digits behind 1e-7.
    """
    if torch.is_grad_enabled():
        return torch.asinh(values)
    root = torch.addcmul(torch.ones(()), values, values).sqrt_()
    return root.add_(values.abs()).log_().copysign_(values)
