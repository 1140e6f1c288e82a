"""Encode a real photograph with the installed `rnncodec` command, and show every rate.

    python scripts/demo.py --output demo

Writes the encoded files, the decoded pictures and `strip.png`, and prints bpp and PSNR.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from rnnconv_codec.evaluation.strip import SHOWN_ITERATIONS, Panel, caption, draw_strip
from rnnconv_codec.metrics import psnr

# The astronaut's face and badge: skin, hair, small letters and flat background.
CROP_BOX = (100, 20, 340, 300)  # left, top, right, bottom


@dataclass(frozen=True)
class Step:
    """The picture after some iterations; `bpp` is that of the file cut there."""

    iterations: int
    file_bytes: int
    bpp: float
    psnr: float
    image: Image.Image


def rnncodec(*arguments: str) -> str:
    """Run the command that is installed beside this Python; return its standard output."""
    command = Path(sys.executable).with_name("rnncodec")
    done = subprocess.run([command, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def encode_and_decode(folder: Path) -> tuple[Image.Image, list[Step]]:
    """Encode the photograph once, then cut and decode the file at several iterations."""
    original = Image.fromarray(data.astronaut())
    source = folder / "astronaut.png"
    original.save(source)
    encoded = folder / "astronaut.rnc"
    print(rnncodec("encode", str(source), "-o", str(encoded), "--overwrite"), end="")
    available = json.loads(rnncodec("info", str(encoded), "--json"))["iterations"]

    steps = []
    for iterations in sorted({min(shown, available) for shown in SHOWN_ITERATIONS}):
        cut = folder / f"astronaut.{iterations}.rnc"
        decoded = folder / f"astronaut.{iterations}.png"
        count = ("--iterations", str(iterations))
        rnncodec("truncate", str(encoded), "-o", str(cut), *count, "--overwrite", "-q")
        rnncodec("decode", str(cut), "-o", str(decoded), "--overwrite", "-q")
        info = json.loads(rnncodec("info", str(cut), "--json"))
        with Image.open(decoded) as opened:
            image = opened.convert("RGB")
        quality = float(psnr(image, original))
        steps.append(Step(iterations, info["file_bytes"], info["bpp"], quality, image))
    return original, steps


def panels(original: Image.Image, steps: list[Step]) -> list[Panel]:
    """The pictures of the strip: after each step, and the original."""
    shown = [
        Panel(step.image, caption(f"iteration {step.iterations}", step.bpp, step.psnr))
        for step in steps
    ]
    return [*shown, Panel(original, "original\n24 bpp")]


def main() -> None:
    """Parse the arguments, run the demo, print the table, write the strip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    original, steps = encode_and_decode(folder)

    table = Table(title="astronaut, 512x512, from scikit-image")
    for heading in ("iterations", "bytes", "bpp", "PSNR in dB"):
        table.add_column(heading, justify="right")
    for step in steps:
        table.add_row(
            str(step.iterations), str(step.file_bytes), f"{step.bpp:.3f}", f"{step.psnr:.2f}"
        )
    Console().print(table)

    strip = folder / "strip.png"
    draw_strip([panels(original, steps)], CROP_BOX).save(strip)
    print(f"picture strip: {strip}")


if __name__ == "__main__":
    main()
