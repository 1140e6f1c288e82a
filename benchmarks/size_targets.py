"""How well budgets in bytes are met, on a folder of images.

    python benchmarks/size_targets.py DIR [--sizes 5,10,20,40,80] [--json FILE]

Each image is encoded once with all iterations, and cut to each size with `truncate`, which equals
encoding with `--size` (tests/test_targets.py). Prints per size how many files reach it, the share
of the bound that these use, the mean and the lowest, and the PSNR of the decoded files. Leaves
with status 1 if a file is larger than its bound, or the mean use of all is below 97 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect
from rnnconv_codec.errors import TargetError
from rnnconv_codec.evaluation.measure import find_images
from rnnconv_codec.images import open_image, to_codec_mode
from rnnconv_codec.metrics import psnr
from rnnconv_codec.targets import truncate

LEAST_MEAN_USE = 0.97
KILO = 1000


@dataclass(frozen=True)
class Met:
    """A bound and the file that meets it.

    Attributes:
        image: name.
        bound: in bytes.
        file_bytes: of the file.
        reaches: whether the file with all iterations is as large as the bound.
        iterations: whole ones.
        psnr: of the picture in dB.
        psnr_before: of the picture of the whole iterations alone.
    """

    image: str
    bound: int
    file_bytes: int
    reaches: bool
    iterations: int
    psnr: float
    psnr_before: float

    @property
    def use(self) -> float:
        """Share of the bound that is used."""
        return self.file_bytes / self.bound


def measure(codec: Codec, path: Path, bounds: list[int]) -> list[Met]:
    """Cut the file of one image to each of the bounds that its first iteration fits into."""
    image = to_codec_mode(open_image(path))
    image.info.clear()
    data = codec.encode(image)
    found: list[Met] = []
    for bound in bounds:
        try:
            cut = truncate(data, size=bound)
        except TargetError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        iterations = inspect(cut).iterations
        found.append(
            Met(
                path.name,
                bound,
                len(cut),
                len(data) >= bound,
                iterations,
                psnr(codec.decode(cut), image),
                psnr(codec.decode(cut, iterations=iterations), image),
            )
        )
    return found


def main() -> int:
    """Measure, print, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="5,10,20,40,80", help="in kilobytes of 1000 bytes")
    parser.add_argument("--weights", help="default: the installed ones")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    bounds = [round(float(size) * KILO) for size in options.sizes.split(",")]
    codec = Codec.load(options.weights)
    found = [met for path in find_images([options.folder]) for met in measure(codec, path, bounds)]
    print("size   reached  mean use  lowest use     PSNR  without the part")
    for bound in bounds:
        at_bound = [met for met in found if met.bound == bound]
        reaching = [met for met in at_bound if met.reaches]
        if not reaching:
            print(f"{bound:6d}        0")
            continue
        print(
            f"{bound:6d}  {len(reaching):3d}/{len(at_bound):3d}"
            f"  {100 * statistics.fmean(met.use for met in reaching):7.2f} %"
            f"  {100 * min(met.use for met in reaching):8.2f} %"
            f"  {statistics.fmean(met.psnr for met in reaching):7.2f}"
            f"  {statistics.fmean(met.psnr_before for met in reaching):16.2f}"
        )
    use = statistics.fmean(met.use for met in found if met.reaches)
    within = all(met.file_bytes <= met.bound for met in found)
    worse = [met for met in found if met.psnr < met.psnr_before]
    print(f"mean use of all: {100 * use:.2f} %; every file within its bound: {within}")
    print(f"files whose partial iteration makes them worse: {len(worse)} of {len(found)}")
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(met) for met in found], indent=1) + "\n")
    return 0 if within and use >= LEAST_MEAN_USE else 1


if __name__ == "__main__":
    sys.exit(main())
