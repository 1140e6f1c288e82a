"""JPEG as this project compares with it: Pillow's, progressive, optimised, 4:2:0."""

from __future__ import annotations

import io

from PIL import Image

SUBSAMPLING_420 = 2
"""Pillow's number for 4:2:0."""

QUALITIES = range(1, 96)
"""Qualities that make sense; Pillow's manual advises against higher ones."""


def jpeg_bytes(image: Image.Image, quality: int) -> bytes:
    """The JPEG file of an image of mode RGB or L, without metadata."""
    buffer = io.BytesIO()
    image.save(
        buffer,
        "JPEG",
        quality=quality,
        subsampling=SUBSAMPLING_420,
        progressive=True,
        optimize=True,
    )
    return buffer.getvalue()


def jpeg_within(image: Image.Image, max_bytes: int) -> tuple[int, bytes]:
    """The best JPEG of at most this many bytes: its quality and the file.

    Where even the lowest quality has more bytes, it is that.
    """
    low, high = QUALITIES[0], QUALITIES[-1]
    best = (low, jpeg_bytes(image, low))
    # Bisection: size grows with quality, but for an irregularity of a few bytes.
    while low < high:
        middle = (low + high + 1) // 2
        data = jpeg_bytes(image, middle)
        if len(data) <= max_bytes:
            low, best = middle, (middle, data)
        else:
            high = middle - 1
    return best
