"""Makes a small model and its pinned files in `tests/golden/`.

    python scripts/make_golden.py MODEL

`MODEL` is a name in `MODELS`. What there is stays as it is: a decoder must read the old files for
ever. A network or context model with new parts gets a new name here, and a model of its own. It is
trained for some seconds on photographs of scikit-image.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from skimage import data

from rnnconv_codec.codec import Codec
from rnnconv_codec.networks.config import (
    FIRST_COMPACT,
    FIRST_CONTEXT,
    CompactConfig,
    ContextModelConfig,
)
from rnnconv_codec.targets import truncate
from rnnconv_codec.training.config import TrainingConfig
from rnnconv_codec.training.export import export_weights
from rnnconv_codec.training.images import load_images
from rnnconv_codec.training.session import RunFolder, Stretch, validation_batch
from rnnconv_codec.training.stages import STAGE_FUNCTIONS
from rnnconv_codec.training.trainer import Limits

GOLDEN = Path(__file__).resolve().parent.parent / "tests" / "golden"

TINY = CompactConfig(
    iterations=3,
    analysis_channels=24,
    coarse_inputs=6,
    coarse_codes=16,
    fine_codes=16,
    coarse_decoder_channels=28,
    fine_decoder_channels=28,
    loop_filter_channels=16,
    context=ContextModelConfig(hidden_channels=16, groups=4),
)

FILTERED = dataclasses.replace(TINY, post_filter_channels=16, post_filter_blocks=1)

MODELS = {
    "tiny": dataclasses.replace(
        TINY, **FIRST_COMPACT, context=dataclasses.replace(TINY.context, **FIRST_CONTEXT)
    ),
    "rate-aware": TINY,
    "post-filter": FILTERED,
    "int8": dataclasses.replace(FILTERED, int8=True, int8_decoder=True),
}
"""The first is the network of version 0.1.0; the last is the first with codes in classes."""

JOINT_STEPS = 60
FILTER_STEPS = 150
"""Parts that start at nothing must be something after them."""

PICTURE_BOX = (150, 30, 247, 93)
"""Of `astronaut`: the face, 97x63, no side a multiple of 16."""

PART_BYTES = 400
"""Of the colour file: two iterations and some words of the third."""


def train(name: str, folder: RunFolder, photographs: Path) -> Path:
    """Train a model through all stages; returns the weights file."""
    # 8 bits come after training.
    filtered = dataclasses.replace(MODELS[name], int8=False, int8_decoder=False)
    network = dataclasses.replace(filtered, post_filter_channels=0, post_filter_blocks=0)
    images = load_images(photographs, 128)
    crops = validation_batch(photographs, 128)
    console = Console(stderr=True)
    stages: tuple[TrainingConfig, ...] = (
        TrainingConfig("transform-fine", network, steps=100, learning_rate=1e-4),
        TrainingConfig("transform-coarse", network, steps=100, learning_rate=1e-4),
        TrainingConfig("graft", network, crop_size=128),
        TrainingConfig("context", network, steps=150, batch_size=8, warmup_steps=10, ema_decay=0.9),
        TrainingConfig("joint", network, steps=JOINT_STEPS, batch_size=8, ema_decay=0.9),
    )
    if filtered.post_filter_channels:
        last = TrainingConfig(
            "post-filter", filtered, steps=FILTER_STEPS, batch_size=8, learning_rate=2e-3
        )
        stages = (*stages, last)
    for config in stages:
        STAGE_FUNCTIONS[config.stage](
            Stretch(folder, config, images, crops, Limits(), console, quiet=True)
        )
    path = GOLDEN / f"{name}.safetensors"
    trained = folder.state("post-filter")
    export_weights(
        folder.state("joint"),
        path,
        trained if trained.exists() else None,
        photographs if MODELS[name].int8 else None,
    )
    return path


def main() -> None:
    """Write the model, a colour, a grey and a cut file, and what they decode to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=tuple(MODELS))
    model = parser.parse_args().model
    if (GOLDEN / f"{model}.safetensors").exists():
        raise SystemExit(f"{model} is there already, and must stay as it is")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        photographs = Path(name) / "photographs"
        photographs.mkdir()
        for photograph in ("astronaut", "coffee", "chelsea", "rocket"):
            Image.fromarray(getattr(data, photograph)()).save(photographs / f"{photograph}.png")
        weights = train(model, RunFolder(Path(name)), photographs)
    codec = Codec.load(weights)
    picture = Image.fromarray(data.astronaut()).crop(PICTURE_BOX)
    for label, image in (("colour", picture), ("grey", picture.convert("L"))):
        encoded = codec.encode(image)
        stem = stem_of(model, label)
        (GOLDEN / f"{stem}.rnc").write_bytes(encoded)
        codes = [
            [
                "".join(f"{byte:02x}" for byte in np.packbits(grid.numpy().ravel() > 0))
                for grid in grids
            ]
            for grids in codec.decode_codes(encoded)
        ]
        (GOLDEN / f"{stem}.codes.json").write_text(json.dumps(codes, indent=1) + "\n")
        codec.decode(encoded).save(GOLDEN / f"{stem}.png")
    write_part(codec, model)


def stem_of(model: str, label: str) -> str:
    """The name of a pinned file without its ending; the first model's have no prefix."""
    return f"{label}-v1" if model == "tiny" else f"{model}-{label}-v1"


def write_part(codec: Codec, model: str) -> None:
    """Write the colour file cut inside its last iteration, and what that decodes to."""
    stem = stem_of(model, "part")
    whole = GOLDEN / f"{stem_of(model, 'colour')}.rnc"
    cut = truncate(whole.read_bytes(), size=PART_BYTES)
    (GOLDEN / f"{stem}.rnc").write_bytes(cut)
    # Expected values of codes are multiples of 2^-15.
    codes = [(grid.double() * 2**15).int().ravel().tolist() for grid in codec.decode_codes(cut)[-1]]
    (GOLDEN / f"{stem}.codes.json").write_text(json.dumps(codes) + "\n")
    codec.decode(cut).save(GOLDEN / f"{stem}.png")


if __name__ == "__main__":
    main()
