"""What 8-bit arithmetic costs: BD-rate of a weights file beside itself in float32.

    python benchmarks/int8_cost.py DIR [--weights NAME] [--images N] [--side 512] [--json FILE]

Of each of the first images of DIR a square is coded with the weights as they are, and with the
same weights without the scales that 8 bits need. Printed is the BD-rate of the mean curves, in
PSNR: what is above 0 is rate that the 8 bits cost at the same quality.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rnnconv_codec.codec import Codec
from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.evaluation.measure import measure_codec
from rnnconv_codec.training.calibration import uncalibrated
from rnnconv_codec.training.images import find_images
from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights, load_model_file


def mean_curve(codec: Codec, pictures: list[Image.Image]) -> Curve:
    """Mean bpp and PSNR of each iteration."""
    points = [measure_codec(codec, picture).points for picture in pictures]
    bpp, psnr = (
        np.mean([[getattr(point, name) for point in of_one] for of_one in points], axis=0)
        for name in ("bpp", "psnr")
    )
    return Curve(bpp.tolist(), psnr.tolist())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = []
    for path in find_images(options.folder)[: options.images]:
        with Image.open(path) as image:
            pictures.append(image.convert("RGB").crop((0, 0, options.side, options.side)))
    model = load_model_file(Path(find_weights(options.weights)))
    exact = mean_curve(Codec(uncalibrated(model)), pictures)
    found = mean_curve(Codec(model), pictures)
    for name, curve in (("float32", exact), ("8 bits", found)):
        listed = (
            f"{b:.3f} bpp {q:.2f} dB" for b, q in zip(curve.rates, curve.qualities, strict=True)
        )
        print(f"{name}: " + ", ".join(listed))
    cost = bd_rate(found, exact)
    print(f"BD-rate of 8 bits: {cost:+.2f} %")
    if options.json is not None:
        result = {"images": len(pictures), "side": options.side, "bd_rate": cost}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
