"""What the fuzzer holds against the program: each function takes a file and raises if one is wrong.

Any exception but an `RnncodecError` is a crash, and so is what the assertions deny.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from pathlib import Path
from unittest import mock

from PIL import Image

from rnnconv_codec.batch import Decoding
from rnnconv_codec.container import inspect, read_container, truncate, write_container
from rnnconv_codec.engines import ENGINE_VARIABLE, LIGHT, TORCH
from rnnconv_codec.errors import ContainerError, RnncodecError, TargetError
from rnnconv_codec.targets import truncate as truncate_to_size

WEIGHTS = Path(__file__).resolve().parent.parent / "tests" / "golden" / "rate-aware.safetensors"
"""A small model, so that a picture is decoded in milliseconds."""

MAX_PIXELS = 4096

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")


def check_container(data: bytes) -> None:
    """Parse, describe and shorten a file.

    What is read can be written and is read as the same; its first iterations can be cut out, have
    the size that was announced, and are what cutting the rest gives again; a size is kept.
    """
    try:
        container = read_container(data)
    except ContainerError:
        return
    info = inspect(data)
    assert info.iterations == len(container.segments) >= 1
    whole = truncate(data, iterations=info.iterations)
    # Not every number of iterations: a file of 255 of them should not take 255 times as long.
    for count in {1, -(-info.iterations // 2), info.iterations}:
        cut = truncate(data, iterations=count)
        assert len(cut) == info.cumulative_bytes[count - 1]
        assert cut == truncate(whole, iterations=count)
        again = read_container(cut)
        assert again.segments == container.segments[:count]
        assert again.metadata == container.metadata
        assert not again.is_cut
    if not container.is_cut:
        assert read_container(write_container(container)) == container
    limit = 1 + zlib.crc32(data) % (len(data) + 40)
    try:
        assert len(truncate_to_size(data, size=limit)) <= limit
    except TargetError:
        assert limit < info.cumulative_bytes[0]


def check_decoder(data: bytes) -> None:
    """Decode a file into an image file, as `rnncodec decode` does, and read that one.

    Half of the files are decoded with torch, half with NumPy.
    """
    number, engine = divmod(zlib.crc32(data), 2)
    name = _FORMATS[number % len(_FORMATS)]
    chosen = mock.patch.dict(os.environ, {ENGINE_VARIABLE: LIGHT if engine else TORCH})
    decoding = Decoding(name, weights=str(WEIGHTS), max_pixels=MAX_PIXELS)
    with warnings.catch_warnings(), chosen:
        warnings.simplefilter("ignore")
        try:
            result = decoding.run(data, "fuzz")
        except RnncodecError:
            return
        with Image.open(io.BytesIO(result.data)) as image:
            assert image.size == (result.info.width, result.info.height)
            image.load()


CHECKS = {"container": check_container, "decoder": check_decoder}
"""By the name of the target."""
