"""What a part of an iteration is worth, by the codes that stand for those cut off.

    python benchmarks/cuts.py DIR [--images 8] [--side 384] [--json FILE]

Takes central crops of images spread over the folder. Prints, per iteration and share of its segment
that is kept, the gain in PSNR over the whole iterations before, in dB: with the expected values of
the codes that are missing, as the decoder has it, and with their most probable values. Means over
the images, and the lowest of the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rnnconv_codec.codec import Codec, filtered_as
from rnnconv_codec.container import inspect, truncate
from rnnconv_codec.decoding import HALF_RANGE
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.evaluation.measure import find_images
from rnnconv_codec.images import open_image
from rnnconv_codec.metrics import psnr
from rnnconv_codec.networks.recurrent import State

SHARES = (0.0, 0.005, 0.0156, 0.05, 0.15, 0.3, 0.5, 0.7, 0.9)

Gains = dict[tuple[int, float], tuple[float, float]]
"""By iteration, from 2, and share: the gain with expected and with most probable codes."""


def crop(image: Image.Image, side: int) -> Image.Image:
    """The middle of a picture."""
    left, top = (max(0, (length - side) // 2) for length in image.size)
    return image.crop((left, top, min(image.width, left + side), min(image.height, top + side)))


def picture_of(
    codec: Codec, state: State, iteration: int, which: int, size: tuple[int, int]
) -> Image.Image:
    """What the decoder shows after `iteration`, counted from 0, filtered as `which` one."""
    width, height = size
    reconstruction = codec.network.synthesise(state, iteration)
    output = codec.network.show(state, reconstruction, which)[0, :, :height, :width]
    levels = ((output + 1) * HALF_RANGE).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))


def measure(codec: Codec, image: Image.Image) -> Gains:
    """All iterations and shares of one image."""
    data = codec.encode(image)
    lengths = inspect(data).segment_bytes
    whole = codec.decode_codes(data)
    gains: Gains = {}
    state: State | None = None
    before = 0.0
    with torch.inference_mode():
        for iteration, codes in enumerate(whole):

            def quality(
                codes: list[Tensor], state: State | None, iteration: int, which: int
            ) -> float:
                after = codec.network.decode_iteration(codes, state, iteration)
                return psnr(picture_of(codec, after, iteration, which, image.size), image)

            for share in SHARES if iteration else ():
                words = int(share * lengths[iteration]) // WORD_BYTES
                cut = truncate(data, iterations=iteration, partial_bytes=words * WORD_BYTES)
                expected = codec.decode_codes(cut)[-1]
                probable = [torch.where(grid > 0, 1.0, -1.0) for grid in expected]
                which = filtered_as(expected, iteration)
                gains[iteration + 1, share] = (
                    quality(expected, state, iteration, which) - before,
                    quality(probable, state, iteration, which) - before,
                )
            before = quality(codes, state, iteration, iteration)
            state = codec.network.decode_iteration(codes, state, iteration)
    return gains


def main() -> None:
    """Measure, print, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--weights", help="default: the installed ones")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    codec = Codec.load(options.weights)
    paths = find_images([options.folder])
    chosen = paths[:: max(1, len(paths) // options.images)][: options.images]
    measured = []
    for path in chosen:
        image = crop(open_image(path).convert("RGB"), options.side)
        image.info.clear()
        measured.append(measure(codec, image))
    print("iteration  share  expected  probable  lowest")
    rows = []
    for iteration, share in measured[0]:
        expected = [gains[iteration, share][0] for gains in measured]
        probable = [gains[iteration, share][1] for gains in measured]
        row = (statistics.fmean(expected), statistics.fmean(probable), min(expected))
        rows.append((iteration, share, *row))
        print(f"{iteration:9d}  {share:5.3f}  {row[0]:+8.2f}  {row[1]:+8.2f}  {row[2]:+6.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
