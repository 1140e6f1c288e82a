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
from rnnconv_codec.container import inspect, truncate
from rnnconv_codec.files import atomic_write, check_output, read_file

_EPILOG = """\b
Example:
  rnncodec truncate photo.rnc --iterations 3    writes photo.3.rnc
"""


@click.command("truncate", epilog=_EPILOG)
@input_argument()
@output_option("IN with .N before its ending")
@iterations_option("How many iterations to keep, 1 to what IN has.", required=True)
@force_option
@quiet_option
def truncate_command(
    source: Path, output: Path | None, iterations: int, force: bool, quiet: bool
) -> None:
    """Make the .rnc file IN smaller by dropping its last iterations.

    The result is the file that encoding with N iterations gives, byte for byte. No model is
    needed, so this takes no time to speak of.
    """
    if output is None:
        output = derived_output(source, f".{iterations}{source.suffix}")
    reject_same_file(source, output)
    check_output(output, force=force)
    data = truncate(read_file(source), iterations=iterations)
    atomic_write(output, data, force=force)
    if not quiet:
        info = inspect(data)
        detail = f"{count(info.iterations, 'iteration')}, {file_size(info.file_bytes, info.bpp)}"
        print_result(output, info, detail=detail, seconds=None)
