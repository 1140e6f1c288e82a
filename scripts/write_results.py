"""Writes docs/RESULTS.md and weights/README.md from measurements.

python scripts/write_results.py --kodak kodak.json --dev dev.json --cold cold.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from rnnconv_codec.weights import find_weights, load_model_file

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "RESULTS.md"
CARD = ROOT / "weights" / "README.md"

CARD_HEAD = """\
# Weights

Made by `python scripts/write_results.py`; do not edit. `rnncodec` finds these files by name
(`--weights NAME`), here in a checkout and in an installed wheel alike. `state/` is a run folder:
`rnncodec train joint --run weights/state ...` goes on from it; it is not part of the wheel.
"""

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


def card(kodak: dict[str, Any], dev: dict[str, Any]) -> str:
    """The model card, from the weights file itself and the measurements."""
    path = find_weights(kodak["measurements"][0]["name"])
    model = load_model_file(path)
    if model.model_id.hex() != kodak["model_id"] or kodak["model_id"] != dev["model_id"]:
        raise SystemExit("the measurements were made with other weights than the installed ones")
    stages = model.training["stages"]
    hours = sum(stage["seconds"] for stage in stages) / 3600
    rows = "\n".join(
        f"| {s['stage']} | {s['step']} | {s['seconds'] / 60:.0f} |" for s in stages if s["step"]
    )
    parameters = sum(tensor.numel() for tensor in model.tensors.values())
    deltas = [result["bd_rate"]["JPEG 4:2:0"] for result in (kodak, dev)]
    figures = "\n".join(
        f"| {name} | {delta['psnr']:+.1f} % | {delta['ms_ssim']:+.1f} % | "
        f"{result['measurements'][0]['means'][0]['bpp']:.3f} to "
        f"{result['measurements'][0]['means'][-1]['bpp']:.3f} | "
        f"{result['measurements'][0]['means'][0]['psnr']:.1f} to "
        f"{result['measurements'][0]['means'][-1]['psnr']:.1f} |"
        for name, result, delta in zip(("Kodak", "dev"), (kodak, dev), deltas, strict=True)
    )
    return f"""{CARD_HEAD}
## {model.name}

| | |
| --- | --- |
| preset | `{model.config.preset}`, {model.config.iterations} iterations |
| parameters | {parameters / 1e6:.2f} million |
| file | {path.stat().st_size / 1e6:.1f} MB, model id `{model.model_id.hex()}` |
| SHA-256 | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |
| distortion | mean squared error (RGB) |
| training data | 837 photographs: BSDS500, CID22 (training part), Unsplash and CC photographs |
| chosen by | 40 validation photographs of CID22 (`dev`); Kodak only for reporting |
| training | {hours:.1f} hours on two CPU cores, see [docs/TRAINING.md](../docs/TRAINING.md) |

| stage | steps | minutes |
| --- | ---: | ---: |
{rows}

| images | BD-rate to JPEG 4:2:0, PSNR | MS-SSIM | bpp | PSNR / dB |
| --- | ---: | ---: | --- | --- |
{figures}

Trained on natural photographs of 8 bits per channel. Drawings, text and screenshots are coded
correctly but no better than by codecs made for them.
"""


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
    RESULTS.write_text(text)
    CARD.write_text(card(kodak, dev))


if __name__ == "__main__":
    main()
