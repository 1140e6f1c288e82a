"""`rnncodec compare`."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.batch import use_threads
from rnnconv_codec.cli.options import (
    derived_output,
    force_option,
    input_argument,
    output_option,
    quiet_option,
    reject_same_file,
    threads_option,
    weights_option,
)
from rnnconv_codec.cli.report import count
from rnnconv_codec.cli.streams import (
    OUTPUT_NAME,
    STREAM,
    check_target,
    name_of,
    read_input,
    write_output,
)
from rnnconv_codec.container import MAX_ITERATIONS

_SUFFIX = ".strip.png"
_EPILOG = """\b
Examples:
  rnncodec compare photo.jpg                    writes photo.strip.png
  rnncodec compare photo.jpg --iterations 2 --iterations 5 --region 100,50,240,240
"""


def _region(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int, int, int] | None:
    """The box of left, top, right and bottom that LEFT,TOP,WIDTH,HEIGHT says."""
    if value is None:
        return None
    try:
        left, top, width, height = (int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not LEFT,TOP,WIDTH,HEIGHT in pixels") from None
    if left < 0 or top < 0 or width < 1 or height < 1:
        raise click.BadParameter(f"{value!r} is not a part of any picture")
    return left, top, left + width, top + height


@click.command("compare", epilog=_EPILOG)
@input_argument()
@output_option("IN with the ending .strip.png; - if IN is -")
@click.option(
    "--iterations",
    metavar="N",
    type=click.IntRange(1, MAX_ITERATIONS),
    multiple=True,
    help="Show the picture after N iterations; may be given more than once.  "
    "[default: 1 2 3 4 6 8 12 16, as far as the model goes]",
)
@click.option(
    "--region",
    metavar="LEFT,TOP,WIDTH,HEIGHT",
    callback=_region,
    help="Part to show, in pixels.  [default: the middle 320x320]",
)
@weights_option("compact-mse")
@threads_option
@force_option
@quiet_option
def compare(
    source: Path,
    output: Path | None,
    iterations: tuple[int, ...],
    region: tuple[int, int, int, int] | None,
    weights: str | None,
    threads: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Show the image IN after several iterations, and JPEG of equal size below.

    The result is one picture, with the bpp of the whole file without metadata and the PSNR of the
    whole picture under each part. JPEG is progressive, optimised, 4:2:0, of the best quality whose
    file is not larger.
    """
    if output is None:
        output = STREAM if source == STREAM else derived_output(source, _SUFFIX)
    reject_same_file(source, output)

    from rnnconv_codec.images import format_for, image_bytes, open_image, to_codec_mode

    image_format = "PNG" if output == STREAM else format_for(output)
    check_target(output, force=force)
    image = to_codec_mode(open_image(read_input(source), name=name_of(source)))
    if region is not None and (region[2] > image.width or region[3] > image.height):
        raise click.UsageError(f"the picture has {image.width}x{image.height} pixels")

    from rnnconv_codec.api import load_codec
    from rnnconv_codec.evaluation.strip import (
        SHOWN_ITERATIONS,
        central_region,
        compare_with_jpeg,
        draw_strip,
    )

    use_threads(threads)
    codec = load_codec(weights)
    shown = iterations or [number for number in SHOWN_ITERATIONS if number <= codec.iterations]
    rows = compare_with_jpeg(codec, image, shown)
    strip = draw_strip(rows, region or central_region(image.size))
    write_output(output, image_bytes(strip, image_format), force=force)
    if not quiet:
        name = OUTPUT_NAME if output == STREAM else output
        text = f"{name}: {strip.width}x{strip.height}, {count(len(rows[1]), 'step')} beside JPEG"
        click.echo(text, err=output == STREAM)
