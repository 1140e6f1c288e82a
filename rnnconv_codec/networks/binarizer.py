"""Binarizers: activations in [-1, 1] to codes of -1 and +1, with a straight-through gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Binarize = Callable[[Tensor], Tensor]
"""Activations (any shape, in [-1, 1]) to codes -1.0 or +1.0 of the same shape."""


LARGEST_ACTIVATION = 1 - 1e-6
"""Activations are limited to this where their atanh is taken."""


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activations: Tensor) -> Tensor:
        return torch.where(activations >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _StochasticSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activations: Tensor) -> Tensor:
        positive = torch.rand_like(activations) < (1 + activations) / 2
        return torch.where(positive, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def binarize(activations: Tensor) -> Tensor:
    """The sign of the activations, sign(0) = +1; the gradient passes unchanged."""
    codes: Tensor = _Sign.apply(activations)  # type: ignore[no-untyped-call]
    return codes


class _SharpSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activations: Tensor, sharpness: float) -> Tensor:
        ctx.save_for_backward(activations)
        ctx.sharpness = sharpness
        return torch.where(activations >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (activations,) = ctx.saved_tensors
        limited = activations.clamp(-LARGEST_ACTIVATION, LARGEST_ACTIVATION)
        sharp = torch.tanh(ctx.sharpness * torch.atanh(limited))
        slope = ctx.sharpness * (1 - sharp * sharp) / (1 - limited * limited)
        return gradients[0] * slope, None


def sharp_binarizer(sharpness: float) -> Binarize:
    """The deterministic binarizer with the gradient of a steeper tanh.

    The activations are tanh(u); the gradient that reaches u is that of tanh(sharpness · u): it
    comes from codes near their threshold only. A wide window sees far more codes below a
    threshold than above it, each wanting to be set, and the rate creeps up (docs/TRAINING.md,
    experiments).

    Args:
        sharpness: 1 is `binarize`; larger is narrower, with noisier gradients.
    """

    def binarizer(activations: Tensor) -> Tensor:
        codes: Tensor = _SharpSign.apply(activations, sharpness)  # type: ignore[no-untyped-call]
        return codes

    return binarizer


def binarize_stochastically(activations: Tensor) -> Tensor:
    """Codes that are +1 with probability (1 + x) / 2, so that their mean is the activation.

    For training only (Toderici et al. 2016, section 3.2); the gradient passes unchanged.
    """
    codes: Tensor = _StochasticSign.apply(activations)  # type: ignore[no-untyped-call]
    return codes
