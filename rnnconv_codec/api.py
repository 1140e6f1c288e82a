"""The library's two functions, for a picture in memory and a picture in a file's bytes."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rnnconv_codec.container import DEFAULT_MAX_PIXELS, inspect
from rnnconv_codec.memory import collected_later
from rnnconv_codec.targets import Target, cut, encode_to_target

if TYPE_CHECKING:
    from PIL import Image

    from rnnconv_codec.codec import Codec

_LOADED_CODECS = 2
"""How many loaded codecs are kept: a loop over images should load its weights once."""


def encode(
    image: Image.Image,
    *,
    iterations: int | None = None,
    bpp: float | None = None,
    size: int | None = None,
    psnr: float | None = None,
    ms_ssim: float | None = None,
    weights: str | os.PathLike[str] | None = None,
    alpha: str = "lossless",
    strip: Collection[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> bytes:
    """Compress a picture of any Pillow mode; return the content of an `.rnc` file.

    At most one target is given: the number of `iterations`, 1 to the model's maximum; the most
    `bpp` (bits per pixel) or bytes `size` of the file; the least `psnr` in dB or `ms_ssim` of the
    picture. None stands for all iterations. `weights` is the name of installed weights or the
    path of a weights file; None stands for the default ones. The picture is stored as 8-bit RGB or
    grey, upright; `ConversionWarning` tells what that leaves behind. `alpha` is "lossless",
    "drop" or a CSS colour such as "#ffffff" to blend transparent pixels with. `strip` has the
    names of metadata to leave out, of "icc", "exif" and "xmp". Pictures of more than `max_pixels`
    are refused before their pixels are loaded.

    Raises `IterationsError`, `TargetError`, `ImageSizeError`, `ImageFormatError`,
    `ArgumentError`, `QualityError`, `MissingExtraError` or a `WeightsError`.
    """
    target = Target(iterations, bpp, size, psnr, ms_ssim)
    return encode_to_target(
        load_codec(weights), image, target, alpha=alpha, strip=strip, max_pixels=max_pixels
    )


def decode(
    data: bytes,
    *,
    iterations: int | None = None,
    bpp: float | None = None,
    size: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Image.Image:
    """Decompress the content of an `.rnc` file into a picture of mode "RGB", "L", "RGBA" or "LA".

    At most one target is given: the number of `iterations`, 1 to what the file has, or the most
    `bpp` (bits per pixel) or bytes `size` of the file to use. None stands for all of it. `weights`
    None takes the installed weights that the file was written with. A file that was cut gives the
    picture so far and a `TruncatedFileWarning`. ICC, EXIF and XMP are in the picture's `info`.
    Pictures of more than `max_pixels` are refused before anything is allocated for them.

    Raises `IterationsError`, `TargetError`, `ImageSizeError`, a `ContainerError` or a
    `WeightsError`, of which `ModelMismatchError` says that the file was written with other weights.
    """
    data = cut(data, Target(iterations, bpp, size))
    return codec_for(data, weights).decode(data, max_pixels=max_pixels)


def codec_for(data: bytes, weights: str | os.PathLike[str] | None = None) -> Codec:
    """The codec to decode the `.rnc` file `data` with: that of `weights_for`.

    Raises a `ContainerError` or a `WeightsError`.
    """
    return load_codec(weights_for(data, weights))


def weights_for(data: bytes, weights: str | os.PathLike[str] | None = None) -> Path:
    """The weights file to decode the `.rnc` file `data` with.

    `weights` None takes the installed weights whose model id is the file's and, if there are
    none, the default ones, so that decoding can name both ids in its `ModelMismatchError`.

    Raises a `ContainerError` or `WeightsNotFoundError`.
    """
    from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_by_model_id, find_weights

    if weights is None:
        weights = find_by_model_id(bytes.fromhex(inspect(data).model_id))
    return find_weights(DEFAULT_WEIGHTS if weights is None else weights)


def load_codec(weights: str | os.PathLike[str] | None = None) -> Codec:
    """The codec with these weights (None: the default), loaded now or the last time.

    Raises a `WeightsError`.
    """
    from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights

    path = find_weights(DEFAULT_WEIGHTS if weights is None else weights)
    status = path.stat()
    return _load_once(path.resolve(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=_LOADED_CODECS)
def _load_once(path: Path, modified: int, size: int) -> Codec:
    with collected_later():
        from rnnconv_codec.codec import Codec

    del modified, size  # they are there so that a file that was replaced is loaded again
    return Codec.load(path)
