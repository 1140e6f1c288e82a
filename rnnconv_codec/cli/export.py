"""`rnncodec export`."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.cli.options import force_option

_EPILOG = """\b
Example:
  rnncodec export run/joint.safetensors -o weights/compact-mse.safetensors
"""


@click.command("export", epilog=_EPILOG)
@click.argument("state", metavar="STATE", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=click.Path(path_type=Path),
    required=True,
    help="Weights file to write (.safetensors).",
)
@force_option
def export(state: Path, output: Path, force: bool) -> None:
    """Make a weights file of a training STATE (of stage graft, context or joint).

    Takes the averaged weights and quantises the context model. The file's name without its
    ending is the name of the weights, and the first 8 bytes of its SHA-256 the model id.
    """
    from rnnconv_codec.files import check_output
    from rnnconv_codec.training.export import export_weights

    check_output(output, force=force)
    model_id = export_weights(state, output)
    click.echo(f"{output}: model {model_id.hex()}, {output.stat().st_size / 1e6:.1f} MB")
