"""Binarizers: activations to codes of -1 and +1, with a straight-through gradient.

An activation u is what the last layer of the encoder gives, before the tanh of Toderici et al.
2016, section 3.2: its sign is the code, and tanh(u) is the expectation of a stochastic code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Binarize = Callable[[Tensor], Tensor]
"""Activations (any shape, any real value) to codes -1.0 or +1.0 of the same shape."""


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activations: Tensor, sharpness: float) -> Tensor:
        ctx.save_for_backward(activations)
        ctx.sharpness = sharpness
        return torch.where(activations >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (activations,) = ctx.saved_tensors
        sharp = torch.tanh(ctx.sharpness * activations)
        return gradients[0] * ctx.sharpness * (1 - sharp * sharp), None


class _StochasticSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, expectations: Tensor) -> Tensor:
        positive = torch.rand_like(expectations) < (1 + expectations) / 2
        return torch.where(positive, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def sharp_binarizer(sharpness: float) -> Binarize:
    """The sign, sign(0) = +1, with the gradient of tanh(sharpness · u).

    The gradient comes from codes near their threshold only. A wide window sees far more codes
    below a threshold than above it, each wanting to be set, and the rate creeps up
    (docs/TRAINING.md, experiments).

    Args:
        sharpness: 1 is the tanh of the paper; larger is narrower, with noisier gradients.
    """

    def binarizer(activations: Tensor) -> Tensor:
        codes: Tensor = _Sign.apply(activations, sharpness)  # type: ignore[no-untyped-call]
        return codes

    return binarizer


binarize = sharp_binarizer(1.0)
"""The deterministic binarizer of the paper: sign(u), with the gradient of tanh(u)."""


def binarize_stochastically(activations: Tensor) -> Tensor:
    """Codes that are +1 with probability (1 + tanh(u)) / 2, so that their mean is tanh(u).

    For training only (Toderici et al. 2016, section 3.2); the gradient is that of tanh(u).
    """
    codes: Tensor = _StochasticSign.apply(torch.tanh(activations))  # type: ignore[no-untyped-call]
    return codes
