r"""Short, fair comparisons of settings of the stage `joint`: same crops, same steps, same start.

    python scripts/compare_settings.py --state run/context.safetensors --images DIR \
        --validation DIR --steps 90 --set sharpness=1 --set encoder=1

Prints the mean log J on the validation crops before and after, with the last and with the averaged
weights. `--set` takes `sharpness`, `learning_rate`, or a factor of `rate_factors`.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnconv_codec.networks.binarizer import sharp_binarizer
from rnnconv_codec.networks.config import config_from_dict
from rnnconv_codec.training import codec as stage
from rnnconv_codec.training.config import STAGE_DEFAULTS
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.model import TrainableCodec, code_batch, costs
from rnnconv_codec.training.session import describe, training_images, validation_batch
from rnnconv_codec.training.trainer import (
    Progress,
    RunningMeans,
    Trainer,
    load_parameters,
    load_state,
)

VALIDATION_CROP = 192
VALIDATION_IMAGES = 24
EMA_DECAY = 0.98
"""Averages over the last 50 steps: runs are short."""

WARMUP_STEPS = 50


def show(label: str, codec: TrainableCodec, crops: list[Tensor]) -> None:
    """Print one validation."""
    with torch.no_grad():
        print(f"{label:8} {describe(stage.validate(codec, crops))}", flush=True)


def main() -> None:
    """Train from the state with the given settings and validate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    state = load_state(options.state)
    config = dataclasses.replace(
        STAGE_DEFAULTS["joint"],
        network=config_from_dict(state.settings["network"]),
        warmup_steps=WARMUP_STEPS,
        ema_decay=EMA_DECAY,
    )
    for name, text in (setting.split("=") for setting in options.set):
        value: Any = float(text)
        if name in config.rate_factors:
            factors = {**config.rate_factors, name: value}
            config = dataclasses.replace(config, rate_factors=factors)
        else:
            field = {"sharpness": "binarizer_sharpness"}.get(name, name)
            config = dataclasses.replace(config, **{field: value})
    codec = TrainableCodec(config.network)
    load_parameters(codec, state, averaged=True)
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(
        codec,
        stage.parameter_groups(codec, config),
        config.schedule(),
        Progress("joint"),
        ema_decay=config.ema_decay,
    )
    crops = validation_batch(options.validation, VALIDATION_CROP)[:VALIDATION_IMAGES]
    images = training_images(options.images, config)
    sampler = CropSampler(images, config.crop_size, config.batch_size, config.seed)
    running = RunningMeans({})
    binarizer = sharp_binarizer(config.binarizer_sharpness)
    show("before", codec, crops)
    start = time.monotonic()
    for step in range(options.steps):
        image = sampler.batch(step)
        coded = code_batch(codec, image, binarizer=binarizer)
        trainer.step(stage.balanced_loss(costs(config.network, image, coded), running))
    print(f"{options.set}: {(time.monotonic() - start) / options.steps:.2f} s per step")
    show("last", codec, crops)
    with trainer.averaged():
        show("averaged", codec, crops)


if __name__ == "__main__":
    main()
