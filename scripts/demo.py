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

from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from skimage import data

from rnnconv_codec.metrics import psnr

# The astronaut's face and badge: skin, hair, small letters and flat background.
CROP_BOX = (100, 20, 340, 300)  # left, top, right, bottom
SHOWN_ITERATIONS = (1, 2, 3, 4, 6, 8, 12, 16)
GAP = 8
CAPTION_HEIGHT = 44
CAPTION_SIZE = 14
BACKGROUND = (255, 255, 255)
INK = (0, 0, 0)


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
    print(rnncodec("encode", str(source), "-o", str(encoded), "--force"), end="")
    available = json.loads(rnncodec("info", str(encoded), "--json"))["iterations"]

    steps = []
    for iterations in sorted({min(shown, available) for shown in SHOWN_ITERATIONS}):
        cut = folder / f"astronaut.{iterations}.rnc"
        decoded = folder / f"astronaut.{iterations}.png"
        count = ("--iterations", str(iterations))
        rnncodec("truncate", str(encoded), "-o", str(cut), *count, "--force", "-q")
        rnncodec("decode", str(cut), "-o", str(decoded), "--force", "-q")
        info = json.loads(rnncodec("info", str(cut), "--json"))
        with Image.open(decoded) as opened:
            image = opened.convert("RGB")
        quality = float(psnr(image, original))
        steps.append(Step(iterations, info["file_bytes"], info["bpp"], quality, image))
    return original, steps


def draw_strip(original: Image.Image, steps: list[Step]) -> Image.Image:
    """The same part of each picture side by side, with bpp and PSNR under it."""
    panels = [
        (step.image, f"iteration {step.iterations}\n{step.bpp:.3f} bpp, {step.psnr:.2f} dB")
        for step in steps
    ]
    panels.append((original, "original\n24 bpp"))
    left, top, right, bottom = CROP_BOX
    width, height = right - left, bottom - top
    size = (GAP + len(panels) * (width + GAP), GAP + height + CAPTION_HEIGHT)
    strip = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(CAPTION_SIZE)
    for index, (image, caption) in enumerate(panels):
        x = GAP + index * (width + GAP)
        strip.paste(image.crop(CROP_BOX), (x, GAP))
        draw.multiline_text((x, GAP + height + GAP // 2), caption, fill=INK, font=font)
    return strip


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
    draw_strip(original, steps).save(strip)
    print(f"picture strip: {strip}")


if __name__ == "__main__":
    main()
