"""Which code runs which stage, and one stretch of a stage from its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.files import make_folder
from rnnconv_codec.training.codec import run_graft, train_codec
from rnnconv_codec.training.config import (
    TrainingConfig,
    from_settings,
    stage_defaults,
    with_overrides,
)
from rnnconv_codec.training.post_filter import train_post_filter
from rnnconv_codec.training.session import (
    RunFolder,
    Stretch,
    read_settings,
    training_images,
    validation_batch,
)
from rnnconv_codec.training.trainer import Limits
from rnnconv_codec.training.transform import train_transform

STAGE_FUNCTIONS: dict[str, Callable[[Stretch], None]] = {
    "transform-fine": train_transform,
    "transform-coarse": train_transform,
    "graft": run_graft,
    "context": train_codec,
    "joint": train_codec,
    "post-filter": train_post_filter,
}


@dataclass(frozen=True)
class StretchOptions:
    """One call of `rnncodec train`; None takes what `_base_config` says."""

    stage: str
    images: Path
    validation: Path
    run_folder: Path
    preset: str = "compact"
    config: Path | None = None
    steps: int | None = None
    decay_steps: int | None = None
    minutes: float | None = None
    crops: str | None = None
    tiles_per_image: int | None = None
    crop_size: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    context_learning_rate: float | None = None
    ms_ssim_weight: float | None = None
    bfloat16: bool | None = None
    seed: int | None = None
    threads: int | None = None
    save_every: float = 5.0
    validate_every: float = 5.0
    quiet: bool = False


def train_stretch(options: StretchOptions) -> None:
    """Run one stretch of a stage.

    Raises:
        TrainingError: no images, a missing stage before, an unfitting state.
        OutputFileError: the run folder cannot be made or written to.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    folder = RunFolder(options.run_folder)
    config = with_overrides(
        _base_config(options, folder),
        steps=options.steps,
        decay_steps=options.decay_steps,
        crops=options.crops,
        tiles_per_image=options.tiles_per_image,
        crop_size=options.crop_size,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        context_learning_rate=options.context_learning_rate,
        ms_ssim_weight=options.ms_ssim_weight,
        bfloat16=options.bfloat16,
        seed=options.seed,
    )
    make_folder(folder.path)
    images = training_images(options.images, config)
    crops = validation_batch(options.validation, config.validation_crop)
    console = Console(stderr=True)
    limits = Limits(options.minutes, 60 * options.save_every, 60 * options.validate_every)
    STAGE_FUNCTIONS[config.stage](
        Stretch(folder, config, images, crops, limits, console, options.quiet)
    )


def _base_config(options: StretchOptions, folder: RunFolder) -> TrainingConfig:
    """What the options change: a configuration file, the begun stage's own, or the default."""
    if options.config is not None:
        config = from_settings(read_settings(options.config))
        if config.stage != options.stage:
            raise TrainingError(f"{options.config} is of stage {config.stage}")
        return config
    begun = folder.begun_state(options.stage)
    if begun is not None:
        return from_settings(begun.settings)
    return stage_defaults(options.stage, options.preset)
