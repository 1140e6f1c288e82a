"""`rnncodec export`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from rnnconv_codec.cli.options import force_option
from rnnconv_codec.cli.streams import (
    OUTPUT_NAME,
    STREAM,
    FileOrStream,
    check_target,
    read_input,
    write_output,
)

_EPILOG = """\b
Example:
  rnncodec export run/joint.safetensors --post-filter run/post-filter.safetensors \\
    --calibration photos/ -o weights/mine.safetensors
"""


@click.command("export", epilog=_EPILOG)
@click.argument("state", metavar="STATE", type=FileOrStream())
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=FileOrStream(),
    required=True,
    help="Weights file to write (.safetensors), - for standard output.",
)
@click.option(
    "--post-filter",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="State of stage post-filter that was trained behind STATE.",
)
@click.option(
    "--calibration",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Photographs that tell how large values become: much of the network runs in 8 bits then.",
)
@force_option
def export(
    state: Path, output: Path, post_filter: Path | None, calibration: Path | None, force: bool
) -> None:
    """Make a weights file of a training STATE (of stage graft, context or joint; - for stdin).

    Takes the averaged weights and quantises the context model. The file's name without its
    ending is the name of the weights, and the first 8 bytes of its SHA-256 the model id.
    """
    check_target(output, force=force)

    from rnnconv_codec.training.export import export_weights

    with TemporaryDirectory() as folder:  # training states are read, and weights written, by path
        if state == STREAM:
            state = Path(folder) / "state.safetensors"
            state.write_bytes(read_input(STREAM))
        exported = Path(folder) / "weights.safetensors"
        model_id = export_weights(state, exported, post_filter, calibration)
        data = exported.read_bytes()
    write_output(output, data, force=force)
    name = OUTPUT_NAME if output == STREAM else output
    text = f"{name}: model {model_id.hex()}, {len(data) / 1e6:.1f} MB"
    click.echo(text, err=output == STREAM)
