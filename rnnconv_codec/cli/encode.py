"""`rnncodec encode`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from rnnconv_codec.cli.options import (
    RNC_SUFFIX,
    alpha_option,
    derived_output,
    force_option,
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
from rnnconv_codec.cli.report import count, file_size, print_result
from rnnconv_codec.container import inspect
from rnnconv_codec.files import atomic_write, check_output

_EPILOG = """\b
Example:
  rnncodec encode photo.jpg -o photo.rnc --iterations 4
"""


@click.command(epilog=_EPILOG)
@input_argument()
@output_option("IN with the ending .rnc")
@iterations_option(
    "How many iterations to encode, 1 to the model's maximum: more bytes, better picture.  "
    "[default: the maximum]"
)
@alpha_option
@strip_option
@weights_option("compact-mse")
@threads_option
@force_option
@quiet_option
def encode(
    source: Path,
    output: Path | None,
    iterations: int | None,
    alpha: str,
    strip: tuple[str, ...],
    weights: str | None,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Compress the image IN into an .rnc file.

    IN is any image that Pillow reads. It is stored upright as 8-bit RGB or grey, with its
    transparency; CMYK and Lab are converted by their colour profile, 16-bit channels are scaled to
    8, and of several frames the first is kept, each with a notice. ICC, EXIF and XMP are kept.
    """
    started = time.perf_counter()
    output = derived_output(source, RNC_SUFFIX) if output is None else output
    reject_same_file(source, output)
    check_output(output, force=force)

    from rnnconv_codec.images import check_alpha, open_image

    check_alpha(alpha)
    image = open_image(source)

    from rnnconv_codec.api import load_codec

    use_threads(threads)
    codec = load_codec(weights)
    with iteration_progress("encoding", quiet=quiet) as progress:
        data = codec.encode(
            image,
            iterations=iterations,
            progress=progress,
            alpha=alpha,
            strip=stripped_names(strip),
        )
    atomic_write(output, data, force=force)
    if not quiet:
        info = inspect(data)
        detail = f"{count(info.iterations, 'iteration')}, {file_size(info.file_bytes, info.bpp)}"
        print_result(output, info, detail=detail, seconds=time.perf_counter() - started)
