"""Peak memory and time of `rnncodec encode` and `decode` by the size of the picture.

    python benchmarks/memory.py [--megapixels 12,48,100] [--iterations N] [--json FILE]

Each runs in a process of its own, the real command, whose peak resident set is what the kernel
says. Pictures are photographs of scikit-image, mirrored and repeated to the size, with noise, so
that no two places are alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ASPECT = 1.5
"""Width over height."""

NOISE = 6
"""Largest level of the noise."""

NOISE_ROWS = 256
"""Rows that are given noise at a time."""

MEGA = 1e6


@dataclass(frozen=True)
class Run:
    """One command and what it took.

    Attributes:
        command: `encode` or `decode`.
        width: of the picture in pixels.
        height: of the picture in pixels.
        peak_bytes: largest resident set.
        seconds: wall time, start-up included.
    """

    command: str
    width: int
    height: int
    peak_bytes: int
    seconds: float


def write_picture(path: Path, megapixels: float) -> tuple[int, int]:
    """Write a picture of about this size; return its width and height."""
    from skimage import data

    height = round((megapixels * MEGA / ASPECT) ** 0.5)
    width = round(ASPECT * height)
    tile = np.concatenate([data.chelsea(), data.chelsea()[:, ::-1]], 1)
    tile = np.concatenate([tile, tile[::-1]], 0)
    rng = np.random.default_rng(0)
    picture = Image.new("RGB", (width, height))
    for first in range(0, height, NOISE_ROWS):
        rows = np.arange(first, min(height, first + NOISE_ROWS)) % len(tile)
        part: NDArray[np.int16] = tile[rows][:, np.arange(width) % tile.shape[1]].astype(np.int16)
        part += rng.integers(-NOISE, NOISE + 1, part.shape, np.int16)
        picture.paste(Image.fromarray(part.clip(0, 255).astype(np.uint8)), (0, first))
    picture.save(path, compress_level=1)
    return picture.size


def run(size: tuple[int, int], *arguments: str) -> Run:
    """Run a command, which must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "rnnconv_codec", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    seconds = time.perf_counter() - start
    return Run(arguments[0], *size, 1024 * usage.ru_maxrss, seconds)


def measure(megapixels: float, encode_options: list[str]) -> Iterator[Run]:
    """Encode and decode a picture of about this size."""
    with tempfile.TemporaryDirectory() as name:
        source, encoded, decoded = (Path(name) / file for file in ("a.png", "a.rnc", "b.png"))
        size = write_picture(source, megapixels)
        yield run(size, "encode", str(source), "-o", str(encoded), "-q", *encode_options)
        yield run(size, "decode", str(encoded), "-o", str(decoded), "-q")


def show(run: Run) -> None:
    """Print a row of the table in docs/RELIABILITY.md."""
    pixels = run.width * run.height
    print(
        f"| {pixels / MEGA:.1f} | {run.width}x{run.height} | {run.command} "
        f"| {run.peak_bytes / 2**20:.0f} | {run.peak_bytes / pixels:.0f} | {run.seconds:.0f} |",
        flush=True,
    )


def main() -> None:
    """Measure, print, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", default="12,48,99.9")
    parser.add_argument("--iterations", type=int, help="default: all of the model")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encode_options = [] if options.iterations is None else ["--iterations", str(options.iterations)]
    print("| MP | pixels | command | peak, MiB | bytes a pixel | seconds |")
    print("| ---: | --- | --- | ---: | ---: | ---: |")
    runs: list[Run] = []
    for size in options.megapixels.split(","):
        for one in measure(float(size), encode_options):
            show(one)
            runs.append(one)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in runs], indent=1) + "\n")


if __name__ == "__main__":
    main()
