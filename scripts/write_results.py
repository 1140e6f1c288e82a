"""Writes docs/RESULTS.md from what `rnncodec eval` and `benchmarks/cold.py` measured.

python scripts/write_results.py --kodak kodak.json --dev dev.json --cold cold.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "RESULTS.md"

PUBLISHED = """\
| at bpp | 0.25 | 0.5 | 1.0 | 1.5 | BD-rate to JPEG 4:2:0, PSNR / MS-SSIM |
| --- | --- | --- | --- | --- | --- |
| Toderici 2017 | 25.65 .9037 | 28.27 .9538 | 31.62 .9796 | 33.63 .9868 | +8.7 % / -13.5 % |
| Johnston 2018 | 28.01 .9486 | 30.54 .9736 | 33.94 .9879 | 36.22 .9926 | -30.0 % / -43.1 % |
| JPEG 4:2:0 | 25.14 .8489 | 29.20 .9463 | 32.81 .9802 | 35.19 .9884 | 0 |
| WebP | 28.15 .9314 | 31.13 .9635 | 34.98 .9840 | 37.40 .9905 | |
| Ballé 2017 | 29.21 .9446 | 31.92 .9705 | 35.49 .9860 | 38.22 .9924 | |
"""

HEAD = """\
# Results

Made by `python scripts/write_results.py`; do not edit. The figures come from

    rnncodec eval KODAK --json kodak.json
    rnncodec eval DEV --json dev.json
    python benchmarks/cold.py KODAK/kodim01.png --json cold.json

Rates are those of whole files, in bits per pixel. PSNR (RGB) and MS-SSIM (mean of the channels)
are means over the images. BD-rate: PCHIP over log rate, range of quality that both curves cover,
curves of the means, against Pillow's progressive, optimised JPEG 4:2:0 measured on the same
images; negative is better than JPEG. The Kodak images were neither trained on nor chosen by.
"""


def table(measurement: dict[str, Any], setting: str) -> str:
    """One codec's mean points."""
    rows = [f"| {setting} | bpp | PSNR / dB | MS-SSIM |", "| ---: | ---: | ---: | ---: |"]
    rows += [
        f"| {p['setting']} | {p['bpp']:.3f} | {p['psnr']:.2f} | {p['ms_ssim']:.4f} |"
        for p in measurement["means"]
    ]
    return "\n".join(rows) + "\n"


def section(name: str, result: dict[str, Any]) -> str:
    """One set of images."""
    ours, jpeg = result["measurements"]
    count = len(ours["images"])
    parts = [f"## {name} ({count} images)\n"]
    for anchor, delta in result["bd_rate"].items():
        parts.append(
            f"`{ours['name']}` (model `{result['model_id']}`) against {anchor}: BD-rate "
            f"**{delta['psnr']:+.1f} %** in PSNR, **{delta['ms_ssim']:+.1f} %** in MS-SSIM.\n"
        )
    parts.append(table(ours, "iterations"))
    parts.append(f"{jpeg['name']}:\n")
    parts.append(table(jpeg, "quality"))
    return "\n".join(parts)


def main() -> None:
    """Read the measurements, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kodak", "dev", "cold"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    kodak, dev, cold = (
        json.loads(path.read_text()) for path in (options.kodak, options.dev, options.cold)
    )
    times = cold["median_seconds"]
    text = "\n".join(
        [
            HEAD,
            section("Kodak", kodak),
            "Published curves on Kodak, for orientation (JPEG's differ by 0.2 to 0.5 dB among "
            "sources):\n",
            PUBLISHED,
            section("dev", dev),
            "## Speed\n",
            f"Whole commands, process start to exit, all iterations, {cold['picture']} "
            f"({cold['pixels'] / 1e6:.2f} megapixels), {cold['cores']} cores "
            f"({cold['machine']}), median of {len(cold['seconds']['encode'])}: encode "
            f"{times['encode']:.1f} s, decode {times['decode']:.1f} s, info "
            f"{times['info']:.2f} s.\n",
        ]
    )
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main()
