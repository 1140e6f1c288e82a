"""`rnncodec truncate`."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.cli.options import (
    derived_output,
    force_option,
    input_argument,
    iterations_option,
    output_option,
    quiet_option,
    reject_same_file,
)
from rnnconv_codec.cli.report import count, file_size, print_result
from rnnconv_codec.cli.streams import STREAM, check_target, read_input, write_output
from rnnconv_codec.container import inspect, truncate

_EPILOG = """\b
Examples:
  rnncodec truncate photo.rnc --iterations 3    writes photo.3.rnc
  rnncodec truncate - --iterations 1 < photo.rnc | rnncodec decode - -o tiny.png
"""


@click.command("truncate", epilog=_EPILOG)
@input_argument()
@output_option("IN with .N before its ending; - if IN is -")
@iterations_option("How many iterations to keep, 1 to what IN has.", required=True)
@force_option
@quiet_option
def truncate_command(
    source: Path, output: Path | None, iterations: int, force: bool, quiet: bool
) -> None:
    """Make the .rnc file IN (- for standard input) smaller by dropping its last iterations.

    The result is the file that encoding with N iterations gives, byte for byte. No model is
    needed, so this takes no time to speak of.
    """
    if output is None:
        is_stream = source == STREAM
        output = STREAM if is_stream else derived_output(source, f".{iterations}{source.suffix}")
    reject_same_file(source, output)
    check_target(output, force=force)
    data = truncate(read_input(source), iterations=iterations)
    write_output(output, data, force=force)
    if not quiet:
        info = inspect(data)
        detail = f"{count(info.iterations, 'iteration')}, {file_size(info.file_bytes, info.bpp)}"
        print_result(output, info, detail=detail, seconds=None)
