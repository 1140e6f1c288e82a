"""The settings of a training stage: saved as JSON beside the state, and inside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.config import (
    CompactConfig,
    NetworkConfig,
    TodericiConfig,
    config_from_dict,
    config_to_dict,
)
from rnnconv_codec.training.trainer import Schedule

STAGES = ("transform-fine", "transform-coarse", "graft", "context", "joint", "post-filter")
"""The stages in their order; each starts where the one before it ended (DESIGN, section 2)."""

CROP_METHODS = ("random", "high-entropy")
"""Ways of picking training crops (Toderici et al. 2017, section 4)."""


GRAFTED_RATE_FACTORS: dict[str, float] = {
    "encoder": 0.1,
    "decoder cells": 1.25,
    "decoder cell biases": 0.125,
    "dequantisers": 15.0,
    "synthesis": 8.0,
    "rate gains": 10.0,
    "thresholds": 2.0,
    "loop filter": 25.0,
}
"""Factors on the learning rate of a grafted network (docs/TRAINING.md, experiments).

The encoder's gradient is a straight-through estimate, and its small bias adds up: slow steps. A
bias of a cell moves a state by as much as hundreds of its weights do, and every later iteration
inherits the change; dequantisers and thresholds (the binarizers' biases) are of the size of one and
bear larger steps.
"""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of one stage, besides the images themselves.

    Attributes:
        stage: one of `STAGES`.
        network: the network that is trained.
        seed: of the initial weights, the crops and the noise.
        crops: one of `CROP_METHODS`.
        tiles_per_image: tiles kept of each image by `high-entropy`.
        crop_size: side of a crop in pixels.
        batch_size: crops per step.
        steps: steps of the whole stage.
        warmup_steps: steps of growing learning rate at its start.
        decay_steps: steps of falling learning rate at its end.
        decay_power: exponent of the decay.
        learning_rate: of the networks (or of the transform).
        rate_factors: on it, by group of parameters; 1 where none is named.
        context_learning_rate: of the context model.
        ms_ssim_weight: share w of MS-SSIM in the distortion, 0 to 1 (`training.model.distortions`).
        binarizer_sharpness: of the straight-through gradient, see `sharp_binarizer`.
        ema_decay: of the average of the weights; 0 keeps none.
        clip_norm: largest gradient norm per parameter group.
        bfloat16: whether the post-filter's convolutions are computed in it while it is trained:
            twice as fast on processors that have instructions for it, slower on others.
        validation_crop: side of the central crop of each validation image, in pixels.
    """

    stage: str
    network: NetworkConfig = field(default_factory=CompactConfig)
    seed: int = 1
    crops: str = "random"
    tiles_per_image: int = 100
    crop_size: int = 64
    batch_size: int = 16
    steps: int = 10_000
    warmup_steps: int = 100
    decay_steps: int = 0
    decay_power: float = 1.0
    learning_rate: float = 2e-5
    rate_factors: Mapping[str, float] = field(default_factory=lambda: dict(GRAFTED_RATE_FACTORS))
    context_learning_rate: float = 2e-3
    ms_ssim_weight: float = 0.0
    binarizer_sharpness: float = 4.0
    ema_decay: float = 0.0
    clip_norm: float = 1.0
    bfloat16: bool = False
    validation_crop: int = 256

    def schedule(self) -> Schedule:
        """The learning rate over the steps of the stage."""
        return Schedule(self.steps, self.warmup_steps, self.decay_steps, self.decay_power)


STAGE_DEFAULTS: dict[str, TrainingConfig] = {
    "transform-fine": TrainingConfig(
        "transform-fine", steps=20_000, decay_steps=12_000, decay_power=1.5, learning_rate=5e-5
    ),
    "transform-coarse": TrainingConfig(
        "transform-coarse", steps=20_000, decay_steps=12_000, decay_power=1.5, learning_rate=5e-5
    ),
    "graft": TrainingConfig("graft", crop_size=128, steps=0),
    "context": TrainingConfig("context", batch_size=8, steps=1_000, ema_decay=0.99),
    "joint": TrainingConfig("joint", batch_size=8, steps=100_000, ema_decay=0.999),
    "post-filter": TrainingConfig(
        "post-filter",
        network=CompactConfig(post_filter_channels=64, post_filter_blocks=3),
        crop_size=128,
        batch_size=4,
        steps=5_000,
        decay_steps=4_000,
        learning_rate=1e-3,
        ema_decay=0.995,
    ),
}

TODERICI_JOINT = TrainingConfig(
    "joint",
    network=TodericiConfig(),
    crop_size=32,
    batch_size=32,
    steps=200_000,
    learning_rate=5e-4,
    rate_factors={},
)
"""From random weights, on crops and batches of the paper's size (section 4)."""


def stage_defaults(stage: str, preset: str) -> TrainingConfig:
    """The settings of a stage where nothing else is asked for."""
    if preset == TodericiConfig.preset:
        return replace(TODERICI_JOINT, stage=stage)
    return STAGE_DEFAULTS[stage]


def to_settings(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as plain JSON types."""
    return {**asdict(config), "network": config_to_dict(config.network)}


def from_settings(settings: Mapping[str, Any]) -> TrainingConfig:
    """The inverse of `to_settings`; a setting that is not named has its default.

    Raises:
        TrainingError: unknown settings.
        WeightsFormatError: an impossible network.
    """
    try:
        network = config_from_dict(settings["network"])
        return TrainingConfig(**{**settings, "network": network})
    except (KeyError, TypeError) as error:
        raise TrainingError(f"these are not training settings: {error}") from error


def with_overrides(config: TrainingConfig, **overrides: object) -> TrainingConfig:
    """The configuration with the fields that are not None replaced."""
    given = {name: value for name, value in overrides.items() if value is not None}
    return replace(config, **given)  # type: ignore[arg-type]
