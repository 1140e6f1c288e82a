"""`rnncodec train`."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.cli.options import MAX_THREADS

STAGES = ("transform-fine", "transform-coarse", "graft", "context", "joint", "post-filter")
"""Repeated from `training.config`, whose import would make `--help` wait; a test compares."""

CROP_METHODS = ("random", "high-entropy")

_EPILOG = """\b
Example, the whole way to a weights file:
  for stage in transform-fine transform-coarse graft context joint post-filter; do
    rnncodec train $stage --images photos/ --validation held-out/ --run run/
  done
  rnncodec export run/joint.safetensors --post-filter run/post-filter.safetensors \\
    -o weights/mine.safetensors

Ctrl-C (or SIGTERM) stops after the current step and saves; the same command goes on.
"""

_positive = click.FloatRange(0, min_open=True)
_folder = click.Path(path_type=Path)


@click.command("train", epilog=_EPILOG)
@click.argument("stage", metavar="STAGE", type=click.Choice(STAGES))
@click.option(
    "--images", metavar="DIR", type=_folder, required=True, help="Training images, any folder."
)
@click.option(
    "--validation", metavar="DIR", type=_folder, required=True, help="Images to validate with."
)
@click.option(
    "--run",
    "run_folder",
    metavar="DIR",
    type=_folder,
    required=True,
    help="Folder for state, configuration and log; made if missing.",
)
@click.option(
    "--preset",
    type=click.Choice(["compact", "toderici"]),
    default="compact",
    show_default=True,
    help="Network; toderici has only the stage joint, from random weights.",
)
@click.option(
    "--config",
    metavar="FILE",
    type=_folder,
    help="Settings to start from: the STAGE.json of a run.  [default: those of the run, if the "
    "stage was begun, else the stage's own]",
)
@click.option("--steps", metavar="N", type=click.IntRange(1), help="Steps of the whole stage.")
@click.option(
    "--decay-steps",
    metavar="N",
    type=click.IntRange(0),
    help="Steps at its end in which the learning rate falls to 0.",
)
@click.option("--minutes", metavar="M", type=_positive, help="Stop this stretch after M minutes.")
@click.option(
    "--crops",
    type=click.Choice(CROP_METHODS),
    help="Crops at random places, or of the tiles that PNG compresses worst.  [default: random]",
)
@click.option(
    "--tiles-per-image", metavar="N", type=click.IntRange(1), help="Tiles kept by high-entropy."
)
@click.option("--crop-size", metavar="N", type=click.IntRange(16), help="Side in pixels.")
@click.option("--batch-size", metavar="N", type=click.IntRange(1), help="Crops per step.")
@click.option(
    "--learning-rate", metavar="R", type=_positive, help="Of the networks or the transform."
)
@click.option("--context-learning-rate", metavar="R", type=_positive, help="Of the context model.")
@click.option(
    "--ms-ssim-weight",
    metavar="W",
    type=click.FloatRange(0, 1),
    help="Share of MS-SSIM in the distortion; crops of 176 or more.  [default: 0, MSE alone]",
)
@click.option(
    "--bfloat16/--no-bfloat16",
    default=None,
    help="Train the post-filter in bfloat16, for processors that have it.  [default: no]",
)
@click.option(
    "--save-every",
    metavar="M",
    type=_positive,
    default=5.0,
    show_default=True,
    help="Minutes between saves of the state: what a crash can cost.",
)
@click.option(
    "--validate-every",
    metavar="M",
    type=_positive,
    default=5.0,
    show_default=True,
    help="Minutes between validations.",
)
@click.option("--seed", metavar="N", type=click.IntRange(0), help="Of weights, crops and noise.")
@click.option("--threads", metavar="N", type=click.IntRange(1, MAX_THREADS), help="CPU threads.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def train(**options: object) -> None:
    """Train one STAGE of a model, or go on where it stopped.

    The stages are transform-fine, transform-coarse, graft, context, joint and post-filter, each
    starting where the one before ended. Each validation prints bpp:PSNR of every iteration and
    the mean log of J = MSE + lambda R, and adds a line to DIR/log.jsonl. Without an option, the
    setting of --config is used, or of the begun run, or the stage's own: see docs/TRAINING.md.
    """
    from rnnconv_codec.training.stages import StretchOptions, train_stretch

    train_stretch(StretchOptions(**options))  # type: ignore[arg-type]
