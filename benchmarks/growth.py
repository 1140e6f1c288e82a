"""Does time grow in proportion to the pixels? Sizes are timed in turn, so noise hits all of them.

    python benchmarks/growth.py [--megapixels 0.4,3,12] [--threads 1,2] [--rounds 3] [--json FILE]

In each round a photograph of each size is encoded and decoded at 1, 4 and all iterations. The
shortest time of all rounds counts, as what else the machine does only adds to it. Printed is the
largest distance of a time from the line through the origin that fits best, as a share.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from speed import FEWER_ITERATIONS, photograph


def measure(sizes: list[float], threads: int, rounds: int) -> dict[str, float]:
    """The distance of each kind of work, in this process."""
    import torch

    from rnnconv_codec.codec import Codec
    from rnnconv_codec.memory import own_process

    own_process()
    torch.set_num_threads(threads)
    codec = Codec.load()
    pictures = [photograph(size) for size in sizes]
    files = [codec.encode(picture) for picture in pictures]
    rates: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        for count in (*FEWER_ITERATIONS, codec.iterations):
            of_sizes: dict[str, list[float]] = {"encode": [], "decode": []}
            for picture, data in zip(pictures, files, strict=True):
                start = time.perf_counter()
                codec.encode(picture, iterations=count)
                between = time.perf_counter()
                codec.decode(data, iterations=count)
                pixels = picture.width * picture.height
                of_sizes["encode"].append((between - start) / pixels)
                of_sizes["decode"].append((time.perf_counter() - between) / pixels)
            for way, of_round in of_sizes.items():
                rates.setdefault(f"{way} {count}", []).append(of_round)
    return {name: linearity(np.min(rounds_of, axis=0)) for name, rounds_of in sorted(rates.items())}


def linearity(seconds_per_pixel: NDArray[np.float64]) -> float:
    """Largest distance of a time from the line through the origin that fits best, as a share."""
    return float(np.abs(seconds_per_pixel / seconds_per_pixel.mean() - 1).max())


def main() -> None:
    """Measure in a process for each number of threads, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", default="0.4,3,12")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sizes = [float(text) for text in options.megapixels.split(",")]
        print(json.dumps(measure(sizes, int(options.threads), options.rounds)))
        return
    found: dict[str, dict[str, float]] = {}
    for threads in options.threads.split(","):
        command = [sys.executable, __file__, "--one", "--megapixels", options.megapixels]
        command += ["--threads", threads, "--rounds", str(options.rounds)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[threads] = json.loads(done.stdout)
        listed = (f"{name} {distance:.1%}" for name, distance in found[threads].items())
        print(
            f"{threads} threads, farthest from linear in pixels: " + ", ".join(listed), flush=True
        )
    if options.json is not None:
        options.json.write_text(
            json.dumps({"rounds": options.rounds, "fit": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
