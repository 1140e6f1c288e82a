"""Stage 4: the post-filter, behind a codec that is not changed any more."""

from __future__ import annotations

import dataclasses
from functools import partial

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
from rnnconv_codec.training.codec import validate
from rnnconv_codec.training.config import TrainingConfig
from rnnconv_codec.training.model import Coded, TrainableCodec, code_batch, distortions
from rnnconv_codec.training.session import (
    Report,
    Stretch,
    Trained,
    new_progress,
    train_stage,
)
from rnnconv_codec.training.trainer import ParameterGroup, State, load_parameters

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

    with torch.no_grad():
        without = validate(codec, stretch.crops)["psnr"]
    assert isinstance(without, list)

    def measure() -> Report:
        """As in stage `joint`, of shown pictures; and what they gain in dB, on average."""
        report = validate(codec, stretch.crops, config.ms_ssim_weight, partial(shown, codec))
        filtered = report["psnr"]
        assert isinstance(filtered, list)
        gains = [after - before for after, before in zip(filtered, without, strict=True)]
        return {**report, "gain": sum(gains) / len(gains)}

    groups = [ParameterGroup("post-filter", list(post_filter.parameters()), config.learning_rate)]
    train_stage(stretch, Trained(post_filter, groups, progress, state), loss, measure)


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
