"""What decoding a file means, whatever computes it: `codec` with torch, `light` with NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from rnnconv_codec.container import Container, Header, Metadata, read_container
from rnnconv_codec.errors import IterationsError, ModelMismatchError, TruncatedFileWarning
from rnnconv_codec.images import attach_alpha, attach_metadata, check_size
from rnnconv_codec.weights import name_of_model

Progress = Callable[[int, int], None]
"""Called after each iteration with the iterations done and their total."""

HALF_RANGE = 127.5
"""Pixels 0..255 are x = p / HALF_RANGE - 1 in the network."""

KNOWN_SHARE = 0.4
"""Of the codes of a partial iteration: with fewer, the post-filter takes it for the one before.

The filter expects the error that an iteration leaves, and a part leaves more. Which of the two is
better changes between 0.2 and 0.6 (`benchmarks/cuts.py`), by less than 0.1 dB.
"""


def open_container(data: bytes, *, iterations: int | None, max_pixels: int) -> Container:
    """What is to be decoded of a file: the arguments, errors and warnings of `Codec.decode`."""
    container = read_container(data)
    header = container.header
    available = len(container.segments)
    if iterations is not None:
        if not 1 <= iterations <= available:
            raise IterationsError(
                f"the file has {available} of {header.iterations} iterations, "
                f"asked were {iterations}"
            )
        segments = container.segments[:iterations]
        container = replace(container, segments=segments, partial=None)
    check_size((header.width, header.height), max_pixels=max_pixels)
    if iterations is None and container.is_cut:
        warnings.warn(
            f"the file is cut: {available} of {header.iterations} iterations decoded",
            TruncatedFileWarning,
            stacklevel=3,
        )
    return container


def check_model(header: Header, *, name: str, model_id: bytes, iterations: int) -> None:
    """Check that a file was written with a model.

    Args:
        header: of the file.
        name: of the weights.
        model_id: of the weights.
        iterations: of the model.

    Raises:
        ModelMismatchError: it was not.
    """
    if header.model_id != model_id:
        raise ModelMismatchError(
            f"the file was written with model {name_of_model(header.model_id)}, "
            f"the weights loaded are {name}, model {model_id.hex()}"
        )
    if header.iterations > iterations:
        raise ModelMismatchError(
            f"the file declares {header.iterations} iterations, model {name} has {iterations}"
        )


def finish_picture(picture: Image.Image, metadata: Metadata) -> Image.Image:
    """The picture, of mode RGB or L, with its transparency and the metadata in its `info`.

    Raises:
        AlphaChunkError: the alpha chunk is not the plane of a picture of this size.
    """
    attach_alpha(picture, metadata.alpha)
    attach_metadata(picture, metadata)
    return picture


def iteration_of_filter(iteration: int, known: int, codes: int) -> int:
    """The iteration, 0-based, that the post-filter takes a picture for; see `KNOWN_SHARE`.

    Args:
        iteration: 0-based, the last one of the picture.
        known: how many of its codes are known.
        codes: how many it has.
    """
    return iteration if known >= KNOWN_SHARE * codes else max(0, iteration - 1)
