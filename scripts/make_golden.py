"""Makes the small model and the pinned files of `tests/golden/`.

    python scripts/make_golden.py

Run it only when the file format or the weights layout changes on purpose: a decoder must read
the old files for ever. The model is trained for some seconds on photographs of scikit-image.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from skimage import data

from rnnconv_codec.codec import Codec
from rnnconv_codec.networks.config import CompactConfig, ContextModelConfig
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
    context=ContextModelConfig(hidden_channels=16, groups=4),
)

PICTURE_BOX = (150, 30, 247, 93)
"""Of `astronaut`: the face, 97x63, no side a multiple of 16."""

PART_BYTES = 400
"""Of the colour file: two iterations and some words of the third."""


def train(folder: RunFolder, photographs: Path) -> Path:
    """Train the tiny model through all stages; returns the weights file."""
    images = load_images(photographs, 128)
    crops = validation_batch(photographs, 128)
    console = Console(stderr=True)
    stages = (
        TrainingConfig("transform-fine", TINY, steps=100, learning_rate=1e-4),
        TrainingConfig("transform-coarse", TINY, steps=100, learning_rate=1e-4),
        TrainingConfig("graft", TINY, crop_size=128),
        TrainingConfig("context", TINY, steps=150, batch_size=8, warmup_steps=10, ema_decay=0.9),
        TrainingConfig("joint", TINY, steps=20, batch_size=8, ema_decay=0.9),
    )
    for config in stages:
        STAGE_FUNCTIONS[config.stage](
            Stretch(folder, config, images, crops, Limits(), console, quiet=True)
        )
    path = GOLDEN / "tiny.safetensors"
    export_weights(folder.state("joint"), path)
    return path


def main() -> None:
    """Write the model, a colour and a grey file, and what they decode to."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        photographs = Path(name) / "photographs"
        photographs.mkdir()
        for photograph in ("astronaut", "coffee", "chelsea", "rocket"):
            Image.fromarray(getattr(data, photograph)()).save(photographs / f"{photograph}.png")
        weights = train(RunFolder(Path(name)), photographs)
    codec = Codec.load(weights)
    picture = Image.fromarray(data.astronaut()).crop(PICTURE_BOX)
    for label, image in (("colour", picture), ("grey", picture.convert("L"))):
        encoded = codec.encode(image)
        (GOLDEN / f"{label}-v1.rnc").write_bytes(encoded)
        codes = [
            [
                "".join(f"{byte:02x}" for byte in np.packbits(grid.numpy().ravel() > 0))
                for grid in grids
            ]
            for grids in codec.decode_codes(encoded)
        ]
        (GOLDEN / f"{label}-v1.codes.json").write_text(json.dumps(codes, indent=1) + "\n")
        codec.decode(encoded).save(GOLDEN / f"{label}-v1.png")
    write_part(codec)


def write_part(codec: Codec) -> None:
    """Write the colour file cut inside its last iteration, and what that decodes to."""
    cut = truncate((GOLDEN / "colour-v1.rnc").read_bytes(), size=PART_BYTES)
    (GOLDEN / "part-v1.rnc").write_bytes(cut)
    # Expected values of codes are multiples of 2^-15.
    codes = [(grid.double() * 2**15).int().ravel().tolist() for grid in codec.decode_codes(cut)[-1]]
    (GOLDEN / "part-v1.codes.json").write_text(json.dumps(codes) + "\n")
    codec.decode(cut).save(GOLDEN / "part-v1.png")


if __name__ == "__main__":
    main()
