"""Short, fair comparisons of networks and context models, from the transform on.

    python scripts/compare_designs.py --images DIR --validation DIR --run RUN [--steps 300] NAME...

`RUN` has the state of the stage `transform-coarse`. Each design is grafted from it, its context
model trained for `--steps` steps on the same crops, and validated. Printed are the BD-rate in PSNR
to the design `shipped` and the curve, bpp:PSNR. Designs that were begun go on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import torch
from rich.console import Console

from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.networks.config import CompactConfig, ContextModelConfig
from rnnconv_codec.training.config import STAGE_DEFAULTS
from rnnconv_codec.training.session import RunFolder, Stretch, training_images, validation_batch
from rnnconv_codec.training.stages import STAGE_FUNCTIONS
from rnnconv_codec.training.trainer import Limits

BASE = "shipped"
SHIPPED = CompactConfig()

VALIDATION_IMAGES = 16

RARELY = Limits(None, save_every=3600, validate_every=3600)


DESIGNS = {
    BASE: SHIPPED,
    "6-iterations": dataclasses.replace(SHIPPED, iterations=6),
    "10-iterations": dataclasses.replace(SHIPPED, iterations=10),
    "fewer-codes": dataclasses.replace(SHIPPED, coarse_codes=128, fine_codes=64),
    "more-codes": dataclasses.replace(SHIPPED, coarse_codes=256, fine_codes=128),
    "context-64": dataclasses.replace(SHIPPED, context=ContextModelConfig(hidden_channels=64)),
    "context-128": dataclasses.replace(SHIPPED, context=ContextModelConfig(hidden_channels=128)),
    "groups-2": dataclasses.replace(SHIPPED, context=ContextModelConfig(groups=2)),
    "groups-8": dataclasses.replace(SHIPPED, context=ContextModelConfig(groups=8)),
}


def curve_of(
    name: str, run: RunFolder, images: Path, validation: Path, steps: int, console: Console
) -> Curve:
    """Train one design and validate it."""
    folder = RunFolder(run.path / name)
    folder.path.mkdir(exist_ok=True)
    if not folder.state("transform-coarse").exists():
        shutil.copy(run.state("transform-coarse"), folder.path)
    stages = (
        STAGE_DEFAULTS["graft"],
        dataclasses.replace(STAGE_DEFAULTS["context"], steps=steps, decay_steps=steps // 3),
    )
    for settings in stages:
        config = dataclasses.replace(settings, network=DESIGNS[name])
        if config.stage == "graft" and folder.state("graft").exists():
            continue
        pictures = training_images(images, config)
        crops = validation_batch(validation, config.validation_crop)[:VALIDATION_IMAGES]
        STAGE_FUNCTIONS[config.stage](
            Stretch(folder, config, pictures, crops, RARELY, console, quiet=True)
        )
    last = json.loads(folder.log.read_text().splitlines()[-1])
    return Curve(last["bpp"], last["psnr"])


def main() -> None:
    """Train, validate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("designs", nargs="+", choices=tuple(DESIGNS), metavar="NAME")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = RunFolder(options.run)
    console = Console(stderr=True)
    base: Curve | None = None
    for name in dict.fromkeys((BASE, *options.designs)):
        curve = curve_of(name, run, options.images, options.validation, options.steps, console)
        base = base or curve
        points = " ".join(
            f"{rate:.3f}:{quality:.2f}"
            for rate, quality in zip(curve.rates, curve.qualities, strict=True)
        )
        print(f"{name:14} {bd_rate(curve, base):+6.2f} %  {points}", flush=True)


if __name__ == "__main__":
    main()
