"""Stage 0: the linear transforms, trained for rate and distortion with uniform noise.

The pairs start at the colour KLT: eigenvectors of the second-moment matrix of 8x8x3 patches, then
of 2x2 blocks of the lowest fine coefficients. See DESIGN, section 2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.config import CompactConfig
from rnnconv_codec.networks.transform import FINE_STRIDE, LinearTransform
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.session import Report, Stretch, Trained, new_progress, train_stage
from rnnconv_codec.training.trainer import (
    ParameterGroup,
    Progress,
    RunningMeans,
    load_parameters,
)

KLT_BATCHES = 200
"""Batches of crops from which the second moments are measured."""

RATE_WEIGHT = 0.0385
"""λ = RATE_WEIGHT · Δ² (DESIGN, section 2): the slope of a uniform quantiser of step Δ."""

TRAINING_STEPS = (0.5, 0.25, 0.18, 0.12, 0.09, 0.06)
"""Quantiser steps Δ, each jittered by up to ±`STEP_JITTER` octaves."""

STEP_JITTER = 0.3

VALIDATION_STEPS = (4.0, 2.0, 1.0, 0.5, 0.35, 0.25, 0.12)
"""Quantiser steps at which the pairs are validated, by rounding."""


def initialise_fine(transform: LinearTransform, sampler: CropSampler) -> None:
    """Set the fine pair to the colour KLT of 8x8 patches of the sampler's crops."""
    moments = torch.zeros(192, 192, dtype=torch.float64)
    count = 0
    for batch in range(KLT_BATCHES):
        patches = functional.pixel_unshuffle(sampler.batch(batch), FINE_STRIDE)
        vectors = patches.permute(0, 2, 3, 1).reshape(-1, 192).double()
        moments += vectors.T @ vectors
        count += len(vectors)
    values, vectors = torch.linalg.eigh(moments / count)
    channels = transform.config.analysis_channels
    basis = vectors.flip(1)[:, :channels].float()
    offset = (16 - FINE_STRIDE) // 2
    inside = slice(offset, offset + FINE_STRIDE)
    with torch.no_grad():
        transform.analysis.weight.zero_()
        transform.analysis.weight[:, :, inside, inside] = basis.T.reshape(channels, 3, 8, 8)
        transform.synthesis.weight.zero_()
        transform.synthesis.weight[:, :, 1, 1] = basis
        deviations = values.flip(0)[:channels].clamp(min=1e-8).sqrt().float()
        # A logistic of scale s has a standard deviation of about 1.8 s.
        transform.log_scale.copy_(deviations.log() - 0.7)


def initialise_coarse(
    transform: LinearTransform, fine: LinearTransform, sampler: CropSampler
) -> None:
    """Take over a trained fine pair and set the coarse pair to the KLT of its lowest channels."""
    config: CompactConfig = transform.config
    low, coarse = config.coarse_inputs, config.coarse_coefficients
    with torch.no_grad():
        transform.analysis.weight.copy_(fine.analysis.weight)
        transform.synthesis.weight.copy_(fine.synthesis.weight)
        moments = torch.zeros(coarse, coarse, dtype=torch.float64)
        count = 0
        for batch in range(KLT_BATCHES):
            # The outermost cells see the padding: leave them out.
            cells = fine.analysis(sampler.batch(batch))[:, :low, 1:-1, 1:-1]
            vectors = functional.pixel_unshuffle(cells, 2).permute(0, 2, 3, 1)
            vectors = vectors.reshape(-1, coarse).double()
            moments += vectors.T @ vectors
            count += len(vectors)
        values, vectors = torch.linalg.eigh(moments / count)
        basis = vectors.flip(1).float()
        transform.coarse_analysis.weight.zero_()
        transform.coarse_analysis.weight[:, :, 1:3, 1:3] = basis.T.reshape(coarse, low, 2, 2)
        transform.coarse_synthesis.weight.zero_()
        transform.coarse_synthesis.weight[:, :, 1, 1] = basis
        deviations = values.flip(0).clamp(min=1e-6).sqrt().float()
        transform.log_scale[:coarse] = deviations.log() - 0.6
        transform.log_scale[coarse:] = fine.log_scale[low:]


def draw_step(seed: int, step: int) -> tuple[int, float]:
    """The quantiser step of a training step: its index in `TRAINING_STEPS` and its value."""
    rng = np.random.default_rng((seed, step, 1))
    index = int(rng.integers(len(TRAINING_STEPS)))
    return index, float(TRAINING_STEPS[index] * 2 ** rng.uniform(-STEP_JITTER, STEP_JITTER))


def objective(transform: LinearTransform, image: Tensor, step: float) -> Tensor:
    """J = MSE + λ R for one quantiser step, MSE on the [-1, 1] scale."""
    reconstruction, rate = transform(image, step)
    distortion = functional.mse_loss(reconstruction, image)
    rate_term: Tensor = RATE_WEIGHT * step * step * rate.mean()
    return distortion + rate_term


def psnr(reconstruction: Tensor, image: Tensor) -> Tensor:
    """PSNR (N,) in dB of images in [-1, 1], the reconstruction clipped to that range."""
    error = (reconstruction.clamp(-1, 1) - image).pow(2).mean((1, 2, 3))
    return 10 * torch.log10(4 / error)


def validate(transform: LinearTransform, crops: list[Tensor]) -> Report:
    """Estimated bpp and PSNR at each of `VALIDATION_STEPS`, and the mean log J."""
    bpp: list[float] = []
    decibel: list[float] = []
    log_j = 0.0
    for step in VALIDATION_STEPS:
        rates, psnrs, costs = [], [], []
        for crop in crops:
            reconstruction, rate = transform(crop, step)
            distortion = functional.mse_loss(reconstruction, crop)
            rates.append(float(rate))
            psnrs.append(float(psnr(reconstruction, crop)))
            costs.append(float(distortion + RATE_WEIGHT * step * step * rate))
        bpp.append(sum(rates) / len(rates))
        decibel.append(sum(psnrs) / len(psnrs))
        log_j += float(np.log(sum(costs) / len(costs))) / len(VALIDATION_STEPS)
    return {"bpp": bpp, "psnr": decibel, "log_j": log_j}


def train_transform(stretch: Stretch) -> None:
    """Stage `transform-fine` or `transform-coarse`, from its start or its last state.

    Raises:
        TrainingError: the preset has no transform, or the stage before is missing.
    """
    config = stretch.config
    if not isinstance(config.network, CompactConfig):
        raise TrainingError(f"preset {config.network.preset} has no stage {config.stage}")
    torch.manual_seed(config.seed)
    transform = LinearTransform(config.network, coarse=config.stage == "transform-coarse")
    state = stretch.folder.begun_state(config.stage)
    progress = _first_progress(stretch, transform) if state is None else state.progress
    running = RunningMeans(progress.running)

    def loss(image: Tensor) -> Tensor:
        index, step = draw_step(config.seed, progress.step)
        # Each step size counts alike, whatever the size of its J.
        return running.normalise(f"J{index}", objective(transform, image, step))

    groups = [ParameterGroup("transform", list(transform.parameters()), config.learning_rate)]
    trained = Trained(transform, groups, progress, state)
    train_stage(stretch, trained, loss, lambda: validate(transform, stretch.crops))


def _first_progress(stretch: Stretch, transform: LinearTransform) -> Progress:
    """Give the transform the weights that the stage starts from."""
    sampler = stretch.sampler(1)
    if not transform.coarse:
        initialise_fine(transform, sampler)
        return new_progress(stretch.config.stage)
    before = stretch.folder.previous_state("transform-fine")
    fine = LinearTransform(transform.config, coarse=False)
    load_parameters(fine, before)
    initialise_coarse(transform, fine, sampler)
    return new_progress(stretch.config.stage, before)
