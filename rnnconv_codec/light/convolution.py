"""Convolutions and rearrangements of pictures as arrays (h, w, C), by matrix products of NumPy."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Convolution:
    """A convolution with stride 1, padded with zeros so that the size stays.

    Its products are one matrix product for each row of the kernel: of the picture, with a column
    for each input and column of the kernel, from the row above to the row below.

    Args:
        weight: (O, I, k, k), k odd.
        bias: (O,), None for none.
    """

    def __init__(self, weight: Floats, bias: Floats | None = None) -> None:
        outputs, inputs, kernel, _ = weight.shape
        by_row = weight.transpose(2, 3, 1, 0)
        self._rows = [row.reshape(kernel * inputs, outputs) for row in by_row]
        self._bias = bias

    def __call__(self, input: Floats) -> Floats:
        """(h, w, I) to a new (h, w, O)."""
        height, width, _ = input.shape
        columns = _columns(input, len(self._rows))
        products = (
            columns[first : first + height].reshape(height * width, -1) @ row
            for first, row in enumerate(self._rows)
        )
        result: Floats = reduce(_add, products)
        if self._bias is not None:
            result += self._bias
        return result.reshape(height, width, -1)


def _add(total: Floats, product: Floats) -> Floats:
    total += product
    return total


def _columns(input: Floats, kernel: int) -> Floats:
    """The neighbours of each cell in its row, (h + k - 1, w, k · C), with rows of zeros around."""
    if kernel == 1:
        return input
    height, width, channels = input.shape
    margin = kernel // 2
    columns = np.zeros((height + 2 * margin, width, kernel, channels), np.float32)
    inner = columns[margin : margin + height]
    for position in range(kernel):
        shift = position - margin
        first, last = max(0, -shift), min(width, width - shift)
        if first < last:
            inner[:, first:last, position] = input[:, first + shift : last + shift]
    return columns.reshape(height + 2 * margin, width, -1)


def depth_to_space(input: Floats, size: int) -> Floats:
    """(h, w, C · size²) to (h · size, w · size, C), in the order of torch's `pixel_shuffle`."""
    height, width, channels = input.shape
    blocks = input.reshape(height, width, channels // size**2, size, size)
    return blocks.transpose(0, 3, 1, 4, 2).reshape(height * size, width * size, -1)


def space_to_depth(input: Floats, size: int) -> Floats:
    """The inverse of `depth_to_space`."""
    height, width, channels = input.shape
    blocks = input.reshape(height // size, size, width // size, size, channels)
    return blocks.transpose(0, 2, 4, 1, 3).reshape(height // size, width // size, -1)
