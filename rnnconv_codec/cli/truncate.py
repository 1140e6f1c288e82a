"""`rnncodec truncate`."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.cli.options import (
    derived_output,
    force_option,
    input_argument,
    output_option,
    quiet_option,
    reject_same_file,
    target_of,
    target_options,
)
from rnnconv_codec.cli.report import encoded_detail, print_result
from rnnconv_codec.cli.streams import STREAM, check_target, read_input, write_output
from rnnconv_codec.container import inspect
from rnnconv_codec.targets import WHOLE, cut

_EPILOG = """\b
Examples:
  rnncodec truncate photo.rnc --iterations 3    writes photo.3.rnc
  rnncodec truncate photo.rnc --size 40k -o small.rnc
  rnncodec truncate - --iterations 1 < photo.rnc | rnncodec decode - -o tiny.png
"""


@click.command("truncate", epilog=_EPILOG)
@input_argument()
@output_option("IN with .N before its ending, N iterations kept; - if IN is -")
@target_options("How many whole iterations to keep, 1 to what IN has.")
@force_option
@quiet_option
def truncate_command(
    source: Path,
    output: Path | None,
    iterations: int | None,
    bpp: float | None,
    size: int | None,
    force: bool,
    quiet: bool,
) -> None:
    """Make the .rnc file IN (- for standard input) smaller by dropping its end.

    One of --iterations, --bpp and --size says how small; a size is met by the most whole
    iterations that fit and a part of the next. The result is the file that encoding with
    this option gives, byte for byte. No model is needed, so this takes no time to speak of.
    """
    target = target_of(iterations=iterations, bpp=bpp, size=size)
    if target == WHOLE:
        raise click.UsageError("one of --iterations, --bpp and --size is needed")
    if output is not None:  # else its name has the number of iterations, which IN tells
        reject_same_file(source, output)
        check_target(output, force=force)
    data = read_input(source)
    result = cut(data, target)
    info = inspect(result)
    if output is None:
        output = STREAM
        if source != STREAM:
            output = derived_output(source, f".{info.declared_iterations}{source.suffix}")
        check_target(output, force=force)
    write_output(output, result, force=force)
    if not quiet:
        print_result(output, info, detail=encoded_detail(info), seconds=None)
