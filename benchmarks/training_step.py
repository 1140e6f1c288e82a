"""What a step of the stage `joint` costs: pixels per second by batch, crop and threads, and parts.

    python benchmarks/training_step.py --images DIR [--one-shape] [--compile] [--json FILE]

Nothing else may run. `--compile` also tries torch.compile, which takes minutes and a C++ compiler;
with `--one-shape` only batches as the long run has them are measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from rnnconv_codec.networks.binarizer import sharp_binarizer
from rnnconv_codec.training import codec as stage
from rnnconv_codec.training.config import STAGE_DEFAULTS
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.model import TrainableCodec, code_batch, costs
from rnnconv_codec.training.session import training_images
from rnnconv_codec.training.trainer import Progress, RunningMeans, Trainer

REPEATS = 5
SHAPES = ((8, 64), (4, 96), (2, 128), (4, 128), (8, 128), (2, 176))
"""Crops per batch and their side in pixels."""

PROFILED_SHAPE = (4, 128)


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: threads, batch and crop.
        seconds: median of a step.
        megapixels_per_second: of crops.
    """

    what: str
    seconds: float
    megapixels_per_second: float


def median_seconds(work: Callable[[], object]) -> float:
    """Median wall time of `REPEATS` calls after one that warms up."""
    work()
    seconds: list[float] = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Step:
    """A training step on the same crops again and again."""

    def __init__(self, image: Tensor) -> None:
        config = STAGE_DEFAULTS["joint"]
        codec = TrainableCodec(config.network)
        codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._codec, self._image = codec, image
        self._running = RunningMeans({})
        self._trainer = Trainer(
            codec,
            stage.parameter_groups(codec, config),
            config.schedule(),
            Progress("joint"),
            ema_decay=config.ema_decay,
        )
        self._binarizer = sharp_binarizer(config.binarizer_sharpness)

    def compile(self) -> None:
        """Let torch.compile have the context model's and the network's parts."""
        for grid in self._codec.context.grids:
            grid.compile()
        for cell in self._codec.network.children():
            cell.compile()

    def __call__(self) -> None:
        """One update."""
        coded = code_batch(self._codec, self._image, binarizer=self._binarizer)
        cost = costs(self._codec.config, self._image, coded)
        self._trainer.step(stage.balanced_loss(cost, self._running))


def shares(step: Step) -> dict[str, float]:
    """Share of CPU time of a step by kind of operator."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    kinds = {"convolution": 0.0, "other": 0.0}
    for event in recorded.key_averages():
        kind = "convolution" if "conv" in event.key else "other"
        kinds[kind] += event.self_cpu_time_total
    total = sum(kinds.values())
    return {kind: value / total for kind, value in kinds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--one-shape", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    images = training_images(options.images, STAGE_DEFAULTS["joint"])
    rows: list[Row] = []

    def add(what: str, pixels: int, seconds: float) -> None:
        rows.append(Row(what, seconds, pixels / seconds / 1e6))
        print(f"{what:40} {seconds:8.3f} s {pixels / seconds / 1e6:8.3f} Mpx/s", flush=True)

    for threads in (1, 2):
        torch.set_num_threads(threads)
        for batch, crop in (PROFILED_SHAPE,) if options.one_shape else SHAPES:
            sampler = CropSampler(images, crop, batch, 1)
            step = Step(sampler.batch(0))
            what = f"{threads} threads, {batch} crops of {crop}x{crop}"
            add(what, batch * crop * crop, median_seconds(step))
    batch, crop = PROFILED_SHAPE
    pixels = batch * crop * crop
    sampler = CropSampler(images, crop, batch, 1)
    add("drawing the crops", pixels, median_seconds(lambda: sampler.batch(0)))
    step = Step(sampler.batch(0))
    step()
    parts = shares(step)
    print(", ".join(f"{kind} {share:.0%}" for kind, share in parts.items()))
    if options.compile:
        step.compile()
        start = time.perf_counter()
        step()
        print(f"torch.compile: first step {time.perf_counter() - start:.0f} s")
        add("torch.compile", pixels, median_seconds(step))
    if options.json is not None:
        result = {"rows": [asdict(row) for row in rows], "shares": parts}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
