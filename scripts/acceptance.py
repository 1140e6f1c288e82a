"""Checks the codec on many real photographs: what the test suite checks on a few small ones.

    python scripts/acceptance.py DIR [--weights NAME|PATH] [--images 20]

For each photograph, once whole and once cropped to an odd size: at every number of iterations the
decoded picture is the one that the encoder computed; with another thread count and without
oneDNN the codes are the same and pictures differ by one level at most. Crops of at most
`ORACLE_PIXELS` are also decoded by the int64 oracle. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rnnconv_codec.codec import Codec
from rnnconv_codec.evaluation.measure import find_images
from rnnconv_codec.images import open_image, to_codec_mode
from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights, load_model_file

ODD_SIZES = (
    (1, 1), (1, 97), (97, 1), (17, 3), (3, 17), (2, 2), (15, 15), (16, 16), (17, 17), (31, 64),
    (33, 31), (100, 75), (127, 129), (255, 257), (5, 300), (300, 5), (321, 123), (48, 16),
    (500, 333), (767, 511),
)  # fmt: skip

ORACLE_PIXELS = 10_000


def equal_codes(first: list[list[Tensor]], second: list[list[Tensor]]) -> bool:
    """Whether two decodings have the same codes in every iteration and grid."""
    return all(
        torch.equal(a, b)
        for one, two in zip(first, second, strict=True)
        for a, b in zip(one, two, strict=True)
    )


def largest_difference(first: Image.Image, second: Image.Image) -> int:
    """Largest difference of two pictures, in levels."""
    one, two = (np.asarray(picture, np.int16) for picture in (first, second))
    return int(np.abs(one - two).max())


def problems(codec: Codec, oracle: Codec, picture: Image.Image) -> list[str]:
    """What is wrong with one picture, in words."""
    found: list[str] = []
    threads = torch.get_num_threads()
    steps = list(codec.encode_iterations(picture))
    data = codec.pack(picture, [step.segment for step in steps])
    codes = codec.decode_codes(data)
    if not equal_codes(codes, [step.codes for step in steps]):
        found.append("decoded codes differ from the encoded ones")
    for count, step in enumerate(steps, 1):
        if codec.decode(data, iterations=count).tobytes() != step.picture.tobytes():
            found.append(f"iteration {count} decodes to another picture than the encoder's")
    torch.set_num_threads(1 if threads > 1 else 2)
    if not equal_codes(codec.decode_codes(data), codes):
        found.append("codes differ with another number of threads")
    if largest_difference(codec.decode(data), steps[-1].picture) > 1:
        found.append("the picture differs by more than a level with another number of threads")
    torch.set_num_threads(threads)
    with torch.backends.mkldnn.flags(enabled=False):
        if not equal_codes(codec.decode_codes(data), codes):
            found.append("codes differ without oneDNN")
    small = picture.width * picture.height <= ORACLE_PIXELS
    if small and not equal_codes(oracle.decode_codes(data), codes):
        found.append("codes differ from the int64 oracle's")
    return found


def main() -> None:
    """Check all photographs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    parser.add_argument("--images", type=int, default=20)
    options = parser.parse_args()
    # Switching oneDNN makes torch warn about hardware that is not asked for.
    warnings.filterwarnings("ignore", message="TF32")
    model = load_model_file(find_weights(options.weights))
    codec, oracle = Codec(model), Codec(model, context_dtype=torch.int64)
    failed = checked = 0
    for index, path in enumerate(find_images([options.folder])[: options.images]):
        whole = to_codec_mode(open_image(path))
        width, height = ODD_SIZES[index % len(ODD_SIZES)]
        odd = whole.resize((max(width, whole.width), max(height, whole.height)))
        for picture in (whole, odd.crop((0, 0, width, height))):
            found = problems(codec, oracle, picture)
            checked += 1
            failed += bool(found)
            for problem in found:
                print(f"{path.name} {picture.width}x{picture.height}: {problem}")
    print(f"{checked} pictures checked, {failed} with problems")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
