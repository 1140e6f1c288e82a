"""`rnncodec decode`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from rnnconv_codec.cli.options import (
    OUTPUT_FORMATS,
    background_option,
    derived_output,
    force_option,
    format_option,
    input_argument,
    iterations_option,
    output_option,
    quiet_option,
    reject_same_file,
    strip_option,
    stripped_names,
    threads_option,
    use_threads,
    weights_option,
)
from rnnconv_codec.cli.progress import iteration_progress
from rnnconv_codec.cli.report import count, print_result
from rnnconv_codec.container import inspect
from rnnconv_codec.files import atomic_write, check_output, read_file

_DEFAULT_FORMAT = "png"
_EPILOG = """\b
Example:
  rnncodec decode photo.rnc -o preview.png --iterations 2
"""


@click.command(epilog=_EPILOG)
@input_argument()
@output_option("IN with the ending of the format, .png")
@iterations_option(
    "How many iterations to decode, 1 to what IN has.  [default: all that IN has]",
)
@format_option
@background_option
@strip_option
@weights_option("the installed weights that IN was written with")
@threads_option
@force_option
@quiet_option
def decode(
    source: Path,
    output: Path | None,
    iterations: int | None,
    format_name: str | None,
    background: str | None,
    strip: tuple[str, ...],
    weights: str | None,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Turn the .rnc file IN back into an image.

    The ending of OUT or --format chooses the format: PNG, WebP, TIFF, BMP, PPM and TGA without
    loss, JPEG at quality 95. What was grey comes back grey, what was transparent transparent.
    A file that was cut gives the picture so far, with a notice.
    """
    started = time.perf_counter()
    if output is None:
        output = derived_output(source, OUTPUT_FORMATS[format_name or _DEFAULT_FORMAT])
    reject_same_file(source, output)

    from rnnconv_codec.images import (
        extract_metadata,
        format_for,
        image_bytes,
        parse_colour,
        strip_metadata,
    )

    image_format = format_for(output) if format_name is None else format_name.upper()
    if background is not None:
        parse_colour(background)
    check_output(output, force=force)
    data = read_file(source)
    info = inspect(data)

    from rnnconv_codec.api import codec_for

    use_threads(threads)
    codec = codec_for(data, weights)
    with iteration_progress("decoding", quiet=quiet) as progress:
        image = codec.decode(data, iterations=iterations, progress=progress)
    metadata = strip_metadata(extract_metadata(image), stripped_names(strip))
    content = image_bytes(image, image_format, metadata, background=background)
    atomic_write(output, content, force=force)
    if not quiet:
        used = info.iterations if iterations is None else iterations
        bpp = info.cumulative_bpp[used - 1]
        detail = f"{used} of {count(info.declared_iterations, 'iteration')}, {bpp:.3f} bpp"
        print_result(output, info, detail=detail, seconds=time.perf_counter() - started)
