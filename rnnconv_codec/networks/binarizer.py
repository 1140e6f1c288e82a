"""Binarizers: activations in [-1, 1] to codes of -1 and +1, with a straight-through gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Binarize = Callable[[Tensor], Tensor]
"""Activations (any shape, in [-1, 1]) to codes -1.0 or +1.0 of the same shape."""


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


def binarize_stochastically(activations: Tensor) -> Tensor:
    """Codes that are +1 with probability (1 + x) / 2, so that their mean is the activation.

    For training only (Toderici et al. 2016, section 3.2); the gradient passes unchanged.
    """
    codes: Tensor = _StochasticSign.apply(activations)  # type: ignore[no-untyped-call]
    return codes
