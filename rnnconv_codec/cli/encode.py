"""`rnncodec encode`."""

from __future__ import annotations

from typing import Any

import click

from rnnconv_codec.batch import Encoding, Result
from rnnconv_codec.cli.convert import FileOptions, convert, file_options
from rnnconv_codec.cli.options import (
    RNC_SUFFIX,
    allow_larger_option,
    alpha_option,
    max_pixels_option,
    strip_option,
    stripped_names,
    target_of,
    target_options,
    threads_option,
    weights_option,
)
from rnnconv_codec.cli.report import encoded_detail

_EPILOG = """\b
Examples:
  rnncodec encode photo.jpg -o photo.rnc --iterations 4
  rnncodec encode photo.jpg --size 40k
  rnncodec encode - < photo.jpg > photo.rnc
  rnncodec encode photos/ --recursive --output-dir encoded/ --jobs 4
"""


@click.command(epilog=_EPILOG)
@file_options("IN with the ending .rnc; - if IN is -")
@target_options(
    "How many iterations to encode, 1 to the model's maximum: more bytes, better picture.  "
    "[default: the maximum]",
    qualities=True,
)
@alpha_option
@strip_option
@allow_larger_option
@weights_option("compact-mse")
@max_pixels_option
@threads_option
def encode(
    iterations: int | None,
    bpp: float | None,
    size: int | None,
    psnr: float | None,
    ms_ssim: float | None,
    alpha: str,
    strip: tuple[str, ...],
    allow_larger: bool,
    weights: str | None,
    max_pixels: int | None,
    threads: int | None,
    **files: Any,
) -> None:
    """Compress images into .rnc files.

    IN is any image that Pillow reads, or - for standard input. It is stored upright as 8-bit RGB
    or grey, with its transparency; CMYK and Lab are converted by their colour profile, 16-bit
    channels are scaled to 8, and of several frames the first is kept, each with a notice. ICC,
    EXIF and XMP are kept.

    How large or how good the file is to be is said by one of --iterations, --bpp, --size, --psnr
    and --ms-ssim. A size is met by the most whole iterations that fit and a part of the next, a
    quality by the fewest iterations that are good enough, the last cut short.

    Of several files, a failure of one does not stop the others; it is reported at the end, and the
    exit status is 1.
    """
    options = FileOptions(**files)
    target = target_of(iterations=iterations, bpp=bpp, size=size, psnr=psnr, ms_ssim=ms_ssim)

    from rnnconv_codec.images import IMAGE_SUFFIXES, check_alpha

    check_alpha(alpha)
    conversion = Encoding(
        target,
        weights,
        alpha,
        stripped_names(strip),
        threads,
        allow_larger=allow_larger,
        max_pixels=max_pixels,
    )
    convert(
        conversion,
        options,
        ending=RNC_SUFFIX,
        suffixes=IMAGE_SUFFIXES,
        text="encoding",
        detail=_detail,
    )


def _detail(result: Result) -> str:
    return encoded_detail(result.info)
