"""`rnncodec decode`."""

from __future__ import annotations

from typing import Any

import click

from rnnconv_codec.batch import Decoding, Result
from rnnconv_codec.cli.convert import FileOptions, convert, file_options
from rnnconv_codec.cli.options import (
    OUTPUT_FORMATS,
    RNC_SUFFIX,
    background_option,
    format_option,
    max_pixels_option,
    reject_same_file,
    strip_option,
    stripped_names,
    target_of,
    target_options,
    threads_option,
    weights_option,
)
from rnnconv_codec.cli.report import count, whole_and_part
from rnnconv_codec.cli.streams import STREAM

_DEFAULT_FORMAT = "png"
_EPILOG = """\b
Examples:
  rnncodec decode photo.rnc -o preview.png --iterations 2
  rnncodec decode photo.rnc -o preview.png --size 10k
  rnncodec decode - --format jpeg < photo.rnc > photo.jpg
  rnncodec decode encoded/ --recursive --output-dir decoded/ --format webp
"""


@click.command(epilog=_EPILOG)
@file_options("IN with the ending of the format, .png; - if IN is -")
@target_options(
    "How many whole iterations to decode, 1 to what IN has.  [default: all that IN has]",
)
@format_option
@background_option
@strip_option
@weights_option("the installed weights that IN was written with")
@max_pixels_option
@threads_option
def decode(
    iterations: int | None,
    bpp: float | None,
    size: int | None,
    format_name: str | None,
    background: str | None,
    strip: tuple[str, ...],
    weights: str | None,
    max_pixels: int | None,
    threads: int | None,
    **files: Any,
) -> None:
    """Turn .rnc files back into images.

    IN is a file, or - for standard input. The ending of OUT or --format chooses the format: PNG,
    WebP, TIFF, BMP, PPM and TGA without loss, JPEG at quality 95. What was grey comes back grey,
    what was transparent transparent. A file that was cut gives the picture so far, with a notice.

    At most one of --iterations, --bpp and --size says how much of the file is used; without them
    all is, also the part of an iteration that a file of a given size ends with.

    Of several files, a failure of one does not stop the others; it is reported at the end, and the
    exit status is 1.
    """
    options = FileOptions(**files)
    target = target_of(iterations=iterations, bpp=bpp, size=size)

    from rnnconv_codec.images import format_for, parse_colour

    ending = OUTPUT_FORMATS[format_name or _DEFAULT_FORMAT]
    if background is not None:
        parse_colour(background)
    image_format = (format_name or _DEFAULT_FORMAT).upper()
    if options.output is not None and options.output != STREAM:
        reject_same_file(options.sources[0], options.output)
        if format_name is None:
            image_format = format_for(options.output)
    conversion = Decoding(
        image_format,
        target,
        weights,
        background,
        stripped_names(strip),
        threads,
        max_pixels,
        few_files=True,
    )
    convert(
        conversion,
        options,
        ending=ending,
        suffixes=frozenset({RNC_SUFFIX}),
        text="decoding",
        detail=_detail,
    )


def _detail(result: Result) -> str:
    declared = count(result.info.declared_iterations, "iteration")
    return f"{whole_and_part(result.used)} of {declared}, {result.bpp:.3f} bpp"
