"""A network's tensors as a weights file holds them: checked, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.stored_context import CONTEXT_PREFIX
from rnnconv_codec.errors import WeightsFormatError

NETWORK_PREFIX = "network."

LARGEST_WEIGHT = 2.0**16
"""No number of a network may be larger.

Trained ones are far below: the largest of all weights files here is a state scale of 273, and
without the scales it is 34. With numbers up to here no sum of the decoder can leave float32 and
become an infinity, whose pixels would be anything.
"""

LEAST_SCALE = 2.0**-16
"""No scale of a network may be smaller, as it divides by them; trained ones are above 0.05."""

_SCALE_SUFFIX = "_scale"


def check_network(
    model: str, tensors: Mapping[str, NDArray[Any] | None], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check the tensors of a network, and that there are no others but the context model's.

    Args:
        model: its name, for messages.
        tensors: of the weights file; None for one whose type NumPy does not have.
        shapes: of the network, by name without `NETWORK_PREFIX`.

    Raises:
        WeightsFormatError: one is missing, superfluous, of another type or shape, or has numbers
            out of range.
    """
    for name, shape in shapes.items():
        _check_tensor(model, name, tensors.get(NETWORK_PREFIX + name), shape)
    for name in tensors:
        if not name.startswith(CONTEXT_PREFIX) and name.removeprefix(NETWORK_PREFIX) not in shapes:
            raise WeightsFormatError(f"weights {model}: unexpected tensor {name}")


def _check_tensor(
    model: str, name: str, tensor: NDArray[Any] | None, shape: tuple[int, ...]
) -> None:
    if tensor is None or tensor.shape != shape or tensor.dtype != np.float32:
        raise WeightsFormatError(
            f"weights {model}: no float32 {NETWORK_PREFIX}{name} of shape {shape}"
        )
    # No array of magnitudes, which would be as large as the tensor.
    least, largest = float(tensor.min()), float(tensor.max())
    magnitude = max(-least, largest)
    if not (math.isfinite(least) and math.isfinite(largest)):
        raise WeightsFormatError(f"weights {model}: {name} is not finite")
    if magnitude > LARGEST_WEIGHT:
        raise WeightsFormatError(f"weights {model}: {name} has numbers beyond {LARGEST_WEIGHT:g}")
    if name.endswith(_SCALE_SUFFIX) and least < LEAST_SCALE:
        raise WeightsFormatError(f"weights {model}: {name} has scales below {LEAST_SCALE:g}")
