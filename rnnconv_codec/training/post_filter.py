"""Stage 4: the post-filter, behind a codec that is not changed any more."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.compact import CompactNetwork
from rnnconv_codec.networks.config import (
    CompactConfig,
    NetworkConfig,
    config_from_dict,
    config_to_dict,
)
from rnnconv_codec.networks.post_filter import PostFilter
from rnnconv_codec.training.codec import VALIDATION_BATCH
from rnnconv_codec.training.config import TrainingConfig
from rnnconv_codec.training.model import Coded, TrainableCodec, code_batch, costs, distortions
from rnnconv_codec.training.session import (
    Report,
    Stretch,
    Trained,
    new_progress,
    train_stage,
)
from rnnconv_codec.training.trainer import ParameterGroup, State, load_parameters
from rnnconv_codec.training.transform import psnr

STAGE = "post-filter"
STAGE_BEFORE = "joint"

PARAMETERS = "network.post_filter."
"""How the names of the filter's parameters begin in the codec."""


def filtered_config(before: State, config: NetworkConfig) -> CompactConfig:
    """The network of a finished codec with the filter of a configuration.

    Args:
        before: state of stage `joint`.
        config: whose filter is taken.

    Raises:
        TrainingError: the preset has no such stage, or the configuration no filter.
    """
    network = config_from_dict(before.settings["network"])
    if not isinstance(network, CompactConfig) or not isinstance(config, CompactConfig):
        raise TrainingError(f"preset {network.preset} has no stage {STAGE}")
    if not config.post_filter_channels:
        raise TrainingError("the configuration has no post-filter: post_filter_channels is 0")
    return dataclasses.replace(
        network,
        post_filter_channels=config.post_filter_channels,
        post_filter_blocks=config.post_filter_blocks,
    )


def filtered_codec(before: State, config: NetworkConfig) -> tuple[TrainableCodec, PostFilter]:
    """A finished codec, averaged weights, with a new filter behind it; and that filter.

    Raises:
        TrainingError: see `filtered_config`, or the state does not fit.
    """
    codec = TrainableCodec(filtered_config(before, config))
    load_parameters(codec, before, averaged=True, without=PARAMETERS)
    assert isinstance(codec.network, CompactNetwork)
    assert codec.network.post_filter is not None
    return codec, codec.network.post_filter


def train_post_filter(stretch: Stretch) -> None:
    """Stage `post-filter`, from its start or its last state; the rest of the codec is frozen.

    The state holds the filter alone.

    Raises:
        TrainingError: the stage before is missing, a state does not fit, or the preset has no
            such stage.
    """
    config = stretch.config
    torch.manual_seed(config.seed)
    before = stretch.folder.previous_state(STAGE_BEFORE)
    codec, post_filter = filtered_codec(before, config.network)
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    stretch = dataclasses.replace(stretch, config=dataclasses.replace(config, network=codec.config))
    state = stretch.folder.begun_state(STAGE)
    progress = new_progress(STAGE, before) if state is None else state.progress

    def loss(image: Tensor) -> Tensor:
        with torch.no_grad():
            coded = code_batch(codec, image, network_gradient=False)
        return distortion_ratio(codec, image, coded, config)

    groups = [ParameterGroup("post-filter", list(post_filter.parameters()), config.learning_rate)]
    train_stage(
        stretch,
        Trained(post_filter, groups, progress, state),
        loss,
        lambda: validate(codec, stretch.crops, config),
    )


def shown(codec: TrainableCodec, coded: Coded) -> Coded:
    """The same with the pictures as they are shown."""
    pictures = [
        codec.network.show(state, reconstruction, index)
        for index, (state, reconstruction) in enumerate(
            zip(coded.states, coded.reconstructions, strict=True)
        )
    ]
    return dataclasses.replace(coded, reconstructions=pictures)


def distortion_ratio(
    codec: TrainableCodec, image: Tensor, coded: Coded, config: TrainingConfig
) -> Tensor:
    """Mean over the iterations of the distortion with the filter over that without.

    Each iteration counts alike, as in the loss of stage `joint`.
    """
    with torch.no_grad():
        without = distortions(codec.config, image, coded, config.ms_ssim_weight)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
        pictures = shown(codec, coded)
    filtered = distortions(codec.config, image, pictures, config.ms_ssim_weight)
    ratios = [d / d_0 for d, d_0 in zip(filtered, without, strict=True)]
    return torch.stack(ratios).mean()


def validate(codec: TrainableCodec, crops: list[Tensor], config: TrainingConfig) -> Report:
    """Mean bpp and PSNR of each iteration of the shown pictures, what the filter gains, log J.

    `gain` is in dB of PSNR, mean over the iterations. `log_j` and `log_j_mixed` are those of
    stage `joint`, of the shown pictures.
    """
    iterations = codec.config.iterations
    bpp, decibel = ([0.0] * iterations for _ in range(2))
    gain = 0.0
    weights = {"log_j": 0.0}
    if config.ms_ssim_weight:
        weights["log_j_mixed"] = config.ms_ssim_weight
    means = {name: [0.0] * iterations for name in weights}
    for first in range(0, len(crops), VALIDATION_BATCH):
        batch = torch.cat(crops[first : first + VALIDATION_BATCH])
        batch = batch.contiguous(memory_format=torch.channels_last)
        share = len(batch) / len(crops)
        coded = code_batch(codec, batch, network_gradient=False)
        filtered = shown(codec, coded)
        for index, picture in enumerate(filtered.reconstructions):
            with_filter = float(psnr(picture, batch).mean())
            bpp[index] += share * float(coded.rates[index].mean())
            decibel[index] += share * with_filter
            without = float(psnr(coded.reconstructions[index], batch).mean())
            gain += share * (with_filter - without) / iterations
        for name, weight in weights.items():
            for index, value in enumerate(costs(codec.config, batch, filtered, weight)):
                means[name][index] += share * float(value)
    logs = {name: sum(map(math.log, values)) / iterations for name, values in means.items()}
    return {"bpp": bpp, "psnr": decibel, "gain": gain, **logs}


def with_post_filter(before: State, post_filter: State) -> TrainableCodec:
    """A finished codec with its trained filter, both with averaged weights.

    Args:
        before: state of stage `joint`.
        post_filter: state of stage `post-filter`.

    Raises:
        TrainingError: a state does not fit.
    """
    settings = config_from_dict(post_filter.settings["network"])
    codec, module = filtered_codec(before, settings)
    if config_to_dict(codec.config) != config_to_dict(settings):
        raise TrainingError("the post-filter was trained behind another network")
    load_parameters(module, post_filter, averaged=True)
    return codec
