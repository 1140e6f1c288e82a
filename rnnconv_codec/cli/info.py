"""`rnncodec info`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from rnnconv_codec.cli.options import input_argument
from rnnconv_codec.cli.report import count, file_size
from rnnconv_codec.cli.streams import read_input
from rnnconv_codec.container import FileInfo, inspect
from rnnconv_codec.weights import name_of_model

_EPILOG = """\b
Example:
  rnncodec info photo.rnc
  rnncodec info photo.rnc --json
"""


@click.command(epilog=_EPILOG)
@input_argument("FILE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def info(source: Path, as_json: bool) -> None:
    """Describe an .rnc FILE: size, model, metadata and the rate after each iteration.

    - stands for standard input.
    """
    found = inspect(read_input(source))
    if as_json:
        click.echo(json.dumps(_as_dict(source, found), indent=2))
        return
    metadata = ", ".join(
        f"{name} {count(size, 'byte')}" for name, size in found.metadata_bytes.items()
    )
    iterations = str(found.iterations)
    if found.is_cut:
        iterations += f" of {found.declared_iterations}, the file is cut"
    click.echo(f"file        {source}")
    click.echo(f"version     {found.version}")
    transparency = " with transparency" if "alpha" in found.metadata_bytes else ""
    click.echo(f"picture     {found.width}x{found.height} {found.mode.name}{transparency}")
    click.echo(f"size        {file_size(found.file_bytes, found.bpp)}")
    click.echo(f"model       {name_of_model(bytes.fromhex(found.model_id))}")
    click.echo(f"metadata    {metadata or 'none'}")
    click.echo(f"iterations  {iterations}")
    click.echo()
    click.echo("iteration  segment bytes     bpp so far")
    for number, (size, bpp) in enumerate(
        zip(found.segment_bytes, found.cumulative_bpp, strict=True), 1
    ):
        click.echo(f"{number:9d}  {size:13d}  {bpp:13.3f}")


def _as_dict(source: Path, found: FileInfo) -> dict[str, object]:
    return {
        "file": str(source),
        "version": found.version,
        "width": found.width,
        "height": found.height,
        "mode": found.mode.name,
        "iterations": found.iterations,
        "declared_iterations": found.declared_iterations,
        "is_cut": found.is_cut,
        "model_id": found.model_id,
        "file_bytes": found.file_bytes,
        "bpp": found.bpp,
        "segment_bytes": list(found.segment_bytes),
        "cumulative_bpp": list(found.cumulative_bpp),
        "metadata_bytes": found.metadata_bytes,
    }
