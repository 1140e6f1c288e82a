"""Stages 1 to 3 of the codec: graft, context model alone, everything together."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.binarizer import Binarize, binarize_stochastically, sharp_binarizer
from rnnconv_codec.networks.config import CompactConfig, TodericiConfig
from rnnconv_codec.networks.transform import LinearTransform
from rnnconv_codec.training.config import TrainingConfig, to_settings
from rnnconv_codec.training.graft import graft
from rnnconv_codec.training.model import Coded, TrainableCodec, code_batch, costs
from rnnconv_codec.training.session import (
    Report,
    Stretch,
    Trained,
    append_log,
    describe,
    new_progress,
    train_stage,
    write_config,
)
from rnnconv_codec.training.trainer import (
    ParameterGroup,
    Progress,
    RunningMeans,
    Trainer,
    load_parameters,
)
from rnnconv_codec.training.transform import psnr

VALIDATION_BATCH = 8
"""Validation crops that are coded at once."""

STAGE_BEFORE = {"context": "graft", "joint": "context"}


def run_graft(stretch: Stretch) -> None:
    """Stage `graft`: the transform in the network; writes the state that `context` starts from.

    Raises:
        TrainingError: the preset has no transform, or the stage before is missing.
    """
    folder, config = stretch.folder, stretch.config
    if not isinstance(config.network, CompactConfig):
        raise TrainingError(f"preset {config.network.preset} has no stage graft")
    before = folder.previous_state("transform-coarse")
    torch.manual_seed(config.seed)
    codec = TrainableCodec(config.network)
    transform = LinearTransform(config.network, coarse=True)
    load_parameters(transform, before)
    graft(codec, transform, stretch.sampler(2))
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    progress = new_progress(config.stage, before)
    trainer = Trainer(codec, parameter_groups(codec, config), config.schedule(), progress)
    trainer.save(folder.state(config.stage), to_settings(config))
    write_config(folder, config)
    with torch.no_grad():
        report = validate(codec, stretch.crops)
    append_log(folder, progress, report)
    stretch.console.print(f"graft  {describe(report)}", soft_wrap=True)


def train_codec(stretch: Stretch) -> None:
    """Stage `context` or `joint`, from its start or its last state.

    The `toderici` preset starts `joint` from random weights: it has no stages before.

    Raises:
        TrainingError: the stage before is missing, the state does not fit, or the preset has
            no such stage.
    """
    config = stretch.config
    torch.manual_seed(config.seed)
    codec = TrainableCodec(config.network)
    state = stretch.folder.begun_state(config.stage)
    progress = _first_progress(stretch, codec) if state is None else state.progress
    running = RunningMeans(progress.running)
    binarizer = _binarizer(config)

    def loss(image: Tensor) -> Tensor:
        coded = code_batch(
            codec, image, binarizer=binarizer, network_gradient=config.stage == "joint"
        )
        return balanced_loss(costs(config.network, image, coded, config.ms_ssim_weight), running)

    trained = Trained(codec, parameter_groups(codec, config), progress, state)
    train_stage(
        stretch, trained, loss, lambda: validate(codec, stretch.crops, config.ms_ssim_weight)
    )


def _first_progress(stretch: Stretch, codec: TrainableCodec) -> Progress:
    """Give the codec the weights that the stage starts from."""
    stage = stretch.config.stage
    if isinstance(codec.config, TodericiConfig):
        if stage != "joint":
            raise TrainingError(f"preset {codec.config.preset} has no stage {stage}")
        return new_progress(stage)
    before = stretch.folder.previous_state(STAGE_BEFORE[stage])
    load_parameters(codec, before, averaged=True)
    return new_progress(stage, before)


def balanced_loss(costs: list[Tensor], running: RunningMeans) -> Tensor:
    """Mean over the iterations of J_t over its running average (DESIGN, section 2, objective).

    Each iteration counts alike, whatever the size of its J.
    """
    terms = [running.normalise(f"J{index}", cost) for index, cost in enumerate(costs)]
    return torch.stack(terms).mean()


def parameter_groups(codec: TrainableCodec, config: TrainingConfig) -> list[ParameterGroup]:
    """Parameters by the learning rate that they bear; only what the stage trains."""
    context = ParameterGroup(
        "context", list(codec.context.parameters()), config.context_learning_rate
    )
    if config.stage == "context":
        return [context]
    members: dict[str, list[nn.Parameter]] = {}
    for name, parameter in codec.network.named_parameters():
        if parameter.requires_grad:
            members.setdefault(_role(name), []).append(parameter)
    groups = [
        ParameterGroup(role, parameters, config.learning_rate * config.rate_factors.get(role, 1.0))
        for role, parameters in members.items()
    ]
    return [*groups, context]


def _binarizer(config: TrainingConfig) -> Binarize:
    if isinstance(config.network, TodericiConfig):
        return binarize_stochastically
    return sharp_binarizer(config.binarizer_sharpness)


def _role(name: str) -> str:
    """The group of `TrainingConfig.rate_factors` that a parameter of a network belongs to."""
    layer = name.split(".")[0]
    if layer.endswith("rate_gain"):
        return "rate gains"
    if layer == "loop_filter":
        return "loop filter"
    if "binarizer" in layer and name.endswith("bias"):
        return "thresholds"
    if "analysis" in layer or "encoder" in layer or "binarizer" in layer or layer == "log_gain":
        return "encoder"
    if ".conv_" in name:
        return "decoder cell biases" if name.endswith("bias") else "decoder cells"
    return "dequantisers" if "dequantiser" in layer else "synthesis"


def validate(
    codec: TrainableCodec,
    crops: list[Tensor],
    ms_ssim_weight: float = 0.0,
    view: Callable[[Coded], Coded] = lambda coded: coded,
) -> Report:
    """Mean bpp and PSNR of each iteration over the crops, and the mean over iterations of log J.

    With a weight of MS-SSIM also `log_j_mixed`, of the cost that is trained; `log_j` is always
    that of MSE, so that runs can be compared.

    Args:
        codec: what is validated.
        crops: each (1, 3, H, W) in [-1, 1].
        ms_ssim_weight: of the cost that is trained.
        view: what is done to coded pictures before they are measured.
    """
    batches = [
        torch.cat(crops[first : first + VALIDATION_BATCH]).contiguous(
            memory_format=torch.channels_last
        )
        for first in range(0, len(crops), VALIDATION_BATCH)
    ]
    iterations = codec.config.iterations
    bpp, decibel = ([0.0] * iterations for _ in range(2))
    weights = {"log_j": 0.0, "log_j_mixed": ms_ssim_weight} if ms_ssim_weight else {"log_j": 0.0}
    means = {name: [0.0] * iterations for name in weights}
    for batch in batches:
        share = len(batch) / len(crops)
        coded = view(code_batch(codec, batch, network_gradient=False))
        for index, reconstruction in enumerate(coded.reconstructions):
            bpp[index] += share * float(coded.rates[index].mean())
            decibel[index] += share * float(psnr(reconstruction, batch).mean())
        for name, weight in weights.items():
            for index, value in enumerate(costs(codec.config, batch, coded, weight)):
                means[name][index] += share * float(value)
    logs = {name: sum(map(math.log, values)) / iterations for name, values in means.items()}
    return {"bpp": bpp, "psnr": decibel, **logs}
