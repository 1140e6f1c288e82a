"""What a nonlinear residual head on the synthesis brings in the stage of the transform.

    python scripts/compare_head.py --state run/transform-coarse.safetensors --images DIR \
        --validation DIR [--steps 1000]

The transform trains on with noise over all quantiser steps, on the same crops, without and with a
head: the in-loop filter's form, whose unit is the quantiser step. Printed is its validation by
rounding: bpp and PSNR at each of `VALIDATION_STEPS`, and the mean log J.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from rnnconv_codec.networks.config import FINE_STRIDE, CompactConfig, config_from_dict
from rnnconv_codec.networks.loop_filter import LoopFilter
from rnnconv_codec.networks.transform import LinearTransform
from rnnconv_codec.training.config import STAGE_DEFAULTS
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.session import describe, training_images, validation_batch
from rnnconv_codec.training.trainer import RunningMeans, load_parameters, load_state
from rnnconv_codec.training.transform import draw_step, objective, validate

HEAD_LEARNING_RATE = 1e-3
VALIDATION_IMAGES = 16


class HeadedTransform(LinearTransform):
    """The linear transform with a residual head on its synthesis."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config, coarse=True)
        channels = config.analysis_channels
        self.head = LoopFilter(channels, config.loop_filter_channels, 3 * FINE_STRIDE**2, 1)
        self._unit = torch.ones(())

    def synthesise(self, coefficients: list[Tensor]) -> Tensor:
        """The image (N, 3, H, W) of quantised coefficients."""
        low = functional.pixel_shuffle(self.coarse_synthesis(coefficients[0]), 2)
        fine = torch.cat([low, coefficients[1]], 1)
        pixels = self.synthesis(fine) + self.head(fine, self._unit, 0)
        return functional.pixel_shuffle(pixels, FINE_STRIDE)

    def forward(self, image: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """See `LinearTransform.forward`."""
        self._unit = torch.tensor(step)
        return super().forward(image, step)


def main() -> None:
    """Train both and validate them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    state = load_state(options.state)
    network = config_from_dict(state.settings["network"])
    assert isinstance(network, CompactConfig)
    config = STAGE_DEFAULTS["transform-coarse"]
    images = training_images(options.images, config)
    crops = validation_batch(options.validation, config.validation_crop)[:VALIDATION_IMAGES]
    plain = LinearTransform(network, coarse=True)
    load_parameters(plain, state)
    headed = HeadedTransform(network)
    headed.load_state_dict(plain.state_dict(), strict=False)
    for name, transform in (("plain", plain), ("with a head", headed)):
        torch.manual_seed(config.seed)
        linear = [p for n, p in transform.named_parameters() if not n.startswith("head.")]
        head = [p for n, p in transform.named_parameters() if n.startswith("head.")]
        optimizer = torch.optim.Adam(
            [
                {"params": linear, "lr": config.learning_rate},
                {"params": head, "lr": HEAD_LEARNING_RATE},
            ]
        )
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, options.steps)
        sampler = CropSampler(images, config.crop_size, config.batch_size, config.seed)
        running = RunningMeans({})
        transform.train()
        for step in range(options.steps):
            index, size = draw_step(config.seed, step)
            cost = objective(transform, sampler.batch(step), size)
            optimizer.zero_grad()
            running.normalise(f"J{index}", cost).backward()
            optimizer.step()
            schedule.step()
        transform.eval()
        with torch.no_grad():
            print(f"{name:12} {describe(validate(transform, crops))}", flush=True)


if __name__ == "__main__":
    main()
