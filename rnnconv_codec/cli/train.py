"""`rnncodec train STAGE`: the stages of training, each resumable."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.training.config import CROP_METHODS, STAGES


@click.command("train")
@click.argument("stage", type=click.Choice(STAGES))
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Training images.")
@click.option("--validation", type=click.Path(path_type=Path), help="Validation images.")
@click.option(
    "--run", "run_folder", type=click.Path(path_type=Path), required=True, help="Folder of the run."
)
@click.option("--preset", type=click.Choice(["compact", "toderici"]), default="compact")
@click.option("--steps", type=click.IntRange(1), help="Steps of the whole stage.")
@click.option("--decay-steps", type=click.IntRange(0), help="Steps of decay at its end.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop after this time.")
@click.option("--crops", type=click.Choice(CROP_METHODS), help="How crops are picked.")
@click.option("--crop-size", type=click.IntRange(16), help="Side of a crop in pixels.")
@click.option("--batch-size", type=click.IntRange(1), help="Crops per step.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--context-learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--cell-rate-factor", type=click.FloatRange(0, min_open=True))
@click.option("--validate-every", type=click.FloatRange(0, min_open=True), default=5.0)
@click.option("--seed", type=int)
@click.option("--threads", type=click.IntRange(1), help="Cores to use.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def train(**options: object) -> None:
    """Train one STAGE, or go on where it stopped."""
    from rnnconv_codec.training.stages import StretchOptions, train_stretch

    train_stretch(StretchOptions(**options))  # type: ignore[arg-type]
