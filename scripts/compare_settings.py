r"""Short, fair comparisons of settings of the stage `joint`: same crops, same steps, same start.

    python scripts/compare_settings.py --state run/context.safetensors --images DIR \
        --validation DIR --steps 90 --set sharpness=1 --set encoder=1 [--optimizer muon]

Prints the mean log J on the validation crops before and after, with the last and with the averaged
weights, and the same of 1 - MS-SSIM in place of MSE (mixed). `--set` takes a number of the stage's
configuration (`sharpness` is short for `binarizer_sharpness`), or a factor of `rate_factors`.
`--first N --first-steps M`: the first M steps are of N iterations only. `--chroma W`: the error in
the direction of luma counts once, that in the two others W times.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rnnconv_codec.networks.binarizer import sharp_binarizer
from rnnconv_codec.networks.config import config_from_dict
from rnnconv_codec.training import codec as stage
from rnnconv_codec.training.config import STAGE_DEFAULTS
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.model import Coded, TrainableCodec, code_batch, costs
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

MUON_MOMENTUM = 0.95
MUON_RMS = 0.2
"""Root of the mean square of Muon's update, in learning rates; about that of Adam's."""

MUON_MIN_SIDE = 16
"""Smaller matrices, and vectors, are left to Adam."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
"""Coefficients and steps of Jordan et al. 2024: singular values end near 1."""


def orthogonalised(matrix: Tensor) -> Tensor:
    """Nearly the closest matrix (m, n) whose singular values are all one."""
    a, b, c = NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if is_tall else matrix
    wide = wide / (wide.norm() + torch.finfo(wide.dtype).tiny)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, b * gram + c * gram @ gram, wide, beta=a)
    return wide.T if is_tall else wide


class Muon(torch.optim.Adam):
    """Adam, but Muon for the kernels of convolutions, seen as matrices (outputs, inputs).

    Momentum, orthogonalised (Jordan et al. 2024), with the size of Adam's updates, so that the
    learning rates mean the same. torch's own takes matrices only.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__(groups, betas=betas)
        self._momentum: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None or kernel.dim() != 4:
                    continue
                if min(kernel.shape[0], kernel[0].numel()) < MUON_MIN_SIDE:
                    continue
                momentum = self._momentum.setdefault(kernel, torch.zeros_like(kernel))
                momentum.lerp_(kernel.grad, 1 - MUON_MOMENTUM)
                update = kernel.grad.lerp(momentum, MUON_MOMENTUM).flatten(1)
                scale = MUON_RMS * max(update.shape) ** 0.5
                kernel.add_(orthogonalised(update).view(kernel.shape), alpha=-scale * group["lr"])
                kernel.grad = None
        super().step(closure)


def show(label: str, codec: TrainableCodec, crops: list[Tensor]) -> None:
    """Print one validation."""
    with torch.no_grad():
        print(f"{label:8} {describe(stage.validate(codec, crops, 1.0))}", flush=True)


def chroma_weighted(image: Tensor, coded: Coded, weight: float) -> tuple[Tensor, Coded]:
    """Pictures (N, 3, H, W) whose squared difference weights chroma, in place of themselves."""
    luma = torch.tensor(LUMA)
    luma = luma / luma.norm()
    kernel = weight**0.5 * torch.eye(3) + (1 - weight**0.5) * torch.outer(luma, luma)

    def view(picture: Tensor) -> Tensor:
        return functional.conv2d(picture, kernel[:, :, None, None])

    reconstructions = [view(picture) for picture in coded.reconstructions]
    return view(image), dataclasses.replace(coded, reconstructions=reconstructions)


def main() -> None:
    """Train from the state with the given settings and validate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--optimizer", choices=("adam", "muon"), default="adam")
    parser.add_argument("--first", type=int)
    parser.add_argument("--first-steps", type=int, default=0)
    parser.add_argument("--chroma", type=float, default=1.0)
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
        value: Any = int(text) if text.isdigit() else float(text)
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
    if options.optimizer == "muon":
        adam = trainer.optimizer.defaults
        groups = [{"params": g.parameters, "lr": g.learning_rate} for g in trainer.groups]
        trainer.optimizer = Muon(groups, adam["betas"])
    crops = validation_batch(options.validation, VALIDATION_CROP)[:VALIDATION_IMAGES]
    images = training_images(options.images, config)
    sampler = CropSampler(images, config.crop_size, config.batch_size, config.seed)
    running = RunningMeans({})
    binarizer = sharp_binarizer(config.binarizer_sharpness)
    show("before", codec, crops)
    start = time.monotonic()
    for step in range(options.steps):
        image = sampler.batch(step)
        count = options.first if step < options.first_steps else None
        coded = code_batch(codec, image, binarizer=binarizer, iterations=count)
        if options.chroma != 1:
            image, coded = chroma_weighted(image, coded, options.chroma)
        trainer.step(stage.balanced_loss(costs(config.network, image, coded), running))
    seconds = (time.monotonic() - start) / options.steps
    changed = f"first {options.first} x {options.first_steps}, chroma {options.chroma}"
    print(f"{options.optimizer} {options.set} {changed}: {seconds:.2f} s per step")
    show("last", codec, crops)
    with trainer.averaged():
        show("averaged", codec, crops)


if __name__ == "__main__":
    main()
