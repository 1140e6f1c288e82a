"""Writes docs/RESULTS.md, its plots and weights/README.md from measurements.

    python scripts/write_results.py --kodak kodak.json --dev dev.json [--cold cold.json]

The first two are of `rnncodec eval --json`, with one or several models; the third is of
`benchmarks/cold.py`, and without it the page keeps its section on speed. `make results` does all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnconv_codec.evaluation.bd_rate import Curve
from rnnconv_codec.evaluation.plots import (
    PlottedCurve,
    curves_of,
    rate_distortion_svg,
)
from rnnconv_codec.evaluation.points import METRIC_TITLES, METRICS, Metric
from rnnconv_codec.evaluation.results import ModelResult, Results
from rnnconv_codec.evaluation.tables import TextTable, bd_rate_table, points_table, slopes_table
from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights, load_model_file

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RESULTS = DOCS / "RESULTS.md"
CARD = ROOT / "weights" / "README.md"
SPEED_HEADING = "## Speed\n"

CARD_HEAD = """\
# Weights

Made by `python scripts/write_results.py`; do not edit. `rnncodec` finds these files by name
(`--weights NAME`), here in a checkout and in an installed wheel alike. `state/` is a run folder:
`rnncodec train joint --run weights/state ...` goes on from it; it is not part of the wheel.
"""


@dataclass(frozen=True)
class Published:
    """A published curve on Kodak (RGB, means of 24 images) at `PUBLISHED_RATES`.

    Attributes:
        name: of the codec.
        psnr: in dB.
        ms_ssim: none if it was not published.
        bd_rate: to JPEG 4:2:0, for PSNR and for MS-SSIM.
        in_plot: what is measured here already is left out of the plots.
    """

    name: str
    psnr: tuple[float, ...]
    ms_ssim: tuple[float, ...] = ()
    bd_rate: str = ""
    in_plot: bool = True

    def cells(self) -> tuple[str, ...]:
        """A row of a table."""
        values = [
            f"{psnr:.2f}" + (f" {self.ms_ssim[i]:.4f}" if self.ms_ssim else "")
            for i, psnr in enumerate(self.psnr)
        ]
        return (self.name, *values, self.bd_rate)


PUBLISHED_RATES = (0.25, 0.5, 1.0, 1.5)
PUBLISHED = (
    Published(
        "Toderici 2017",
        (25.65, 28.27, 31.62, 33.63),
        (0.9037, 0.9538, 0.9796, 0.9868),
        "+8.7 % / -13.5 %",
    ),
    Published(
        "Johnston 2018",
        (28.01, 30.54, 33.94, 36.22),
        (0.9486, 0.9736, 0.9879, 0.9926),
        "-30.0 % / -43.1 %",
    ),
    Published(
        "JPEG 4:2:0",
        (25.14, 29.20, 32.81, 35.19),
        (0.8489, 0.9463, 0.9802, 0.9884),
        "0",
        in_plot=False,
    ),
    Published(
        "WebP",
        (28.15, 31.13, 34.98, 37.40),
        (0.9314, 0.9635, 0.9840, 0.9905),
        in_plot=False,
    ),
    Published("JPEG 2000 (Kakadu)", (28.52, 30.87, 34.29, 36.65)),
    Published(
        "Ballé 2017",
        (29.21, 31.92, 35.49, 38.22),
        (0.9446, 0.9705, 0.9860, 0.9924),
    ),
)

HEAD = """\
# Results

Made by `python scripts/write_results.py`; do not edit. The figures come from

    make results KODAK=DIR DEV=DIR WEIGHTS="{weights}"

(`rnncodec eval` on both folders, all anchors), those on speed from `make speed KODAK=DIR`, with
nothing else running. The default weights are `{default}`: side by side at equal bytes
(`rnncodec compare --weights NAME`, photographs of dev at 0.25 bpp) the pictures look much alike,
with the strong edges sharper and cleaner in those of `compact-mse`, and its PSNR is the higher one.

Rates are those of whole files, in bits per pixel. PSNR (RGB) and MS-SSIM (mean of the channels)
are means over the images. BD-rate: PCHIP over log rate, range of quality that both curves cover,
against what Pillow's encoders make of the same images; negative means fewer bits than the anchor.
It is given of the mean curves, as is usual, and as the mean over the images of each image's own:
JPEG 2000 gives each image the same rate, which makes its mean curve look better. The Kodak images
were neither trained on nor chosen by.

Slope per iteration, on the mean curve from the iteration before: -dMSE/dbpp in squared levels per
bit per pixel, and dB of PSNR per doubling of the rate. While the first falls strictly, the curve is
convex: no iteration is worse than stopping earlier and spending its bits in another image.
"""


def markdown(table: TextTable, *, title: bool = True) -> str:
    """A table of an evaluation."""
    aligned = [":---" if i < table.names else "---:" for i in range(len(table.headings))]
    rows = [table.headings, tuple(aligned), *table.rows]
    heading = f"{table.title}:\n\n" if title else ""
    return heading + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def published_table() -> str:
    """The published curves."""
    headings = ("at bpp", *map(str, PUBLISHED_RATES), "BD-rate to JPEG 4:2:0, PSNR / MS-SSIM")
    return markdown(
        TextTable("", headings, [p.cells() for p in PUBLISHED], names=len(headings)), title=False
    )


def published_curves(metric: Metric) -> list[PlottedCurve]:
    """The published curves of a metric, to be drawn beside measured ones."""
    return [
        PlottedCurve(published.name, "published", Curve(PUBLISHED_RATES, values))
        for published in PUBLISHED
        if published.in_plot and (values := getattr(published, metric))
    ]


def section(name: str, results: Results, *, with_published: bool) -> str:
    """One set of images: plots, which are written beside the page, and tables."""
    parts = [f"## {name} ({len(results.images)} images)\n"]
    for metric in METRICS:
        curves = curves_of(results, metric)
        if with_published:
            curves += published_curves(metric)
        title = METRIC_TITLES[metric]
        svg = rate_distortion_svg(f"{name}, {title}", metric, curves)
        if svg is None:
            raise SystemExit(f"{name}: nothing to plot")
        path = DOCS / f"{name.lower()}-{title.lower()}.svg"
        path.write_text(svg)
        parts.append(f"![{title} over bits per pixel on {name}]({path.name})\n")
    parts.append(markdown(bd_rate_table(results)))
    for model in results.models:
        parts.append(markdown(points_table(model.measurement)))
        parts.append(markdown(slopes_table(model)))
    if with_published:
        parts.append(
            "Published curves on Kodak, for orientation (JPEG's differ by 0.2 to 0.5 dB among "
            "sources; dashed in the plots):\n"
        )
        parts.append(published_table())
    parts.append("The anchors:\n")
    for anchor in results.anchors:
        parts.append(f"{anchor.name}: {anchor.description}.\n")
        parts.append(markdown(points_table(anchor), title=False))
    return "\n".join(parts)


def speed(cold: dict[str, Any]) -> str:
    """What `benchmarks/cold.py` measured."""
    times = cold["median_seconds"]
    return (
        f"{SPEED_HEADING}\nWhole commands, process start to exit, all iterations, "
        f"{cold['picture']} ({cold['pixels'] / 1e6:.2f} megapixels), {cold['cores']} cores "
        f"({cold['machine']}), median of {len(cold['seconds']['encode'])}: encode "
        f"{times['encode']:.1f} s, decode {times['decode']:.1f} s, info {times['info']:.2f} s.\n"
    )


def speed_of_the_page() -> str:
    """The section on speed that the page has now."""
    return SPEED_HEADING + RESULTS.read_text().partition(SPEED_HEADING)[2]


def card(model: ModelResult, sets: dict[str, Results]) -> str:
    """The card of a model, from the weights file itself and the measurements."""
    path = find_weights(model.name)
    loaded = load_model_file(path)
    stages = loaded.training["stages"]
    hours = sum(stage["seconds"] for stage in stages) / 3600
    rows = "\n".join(
        f"| {s['stage']} | {s['step']} | {s['seconds'] / 60:.0f} |" for s in stages if s["step"]
    )
    parameters = sum(tensor.numel() for tensor in loaded.tensors.values())
    default = " (the default)" if loaded.name == DEFAULT_WEIGHTS else ""
    figures = "\n".join(
        figures_row(name, results, same_model(model, results, loaded.model_id.hex()))
        for name, results in sets.items()
    )
    weight = loaded.training.get("ms_ssim_weight", 0)
    distortion = "mean squared error (RGB)"
    if weight:
        distortion += f" and 1 - MS-SSIM, mixed with `--ms-ssim-weight {weight:g}`"
    return f"""
## {loaded.name}{default}

| | |
| --- | --- |
| preset | `{loaded.config.preset}`, {loaded.config.iterations} iterations |
| parameters | {parameters / 1e6:.2f} million |
| file | {path.stat().st_size / 1e6:.1f} MB, model id `{loaded.model_id.hex()}` |
| SHA-256 | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |
| distortion | {distortion} |
| training data | 837 photographs: BSDS500, CID22 (training part), Unsplash and CC photographs |
| chosen by | 40 validation photographs of CID22 (`dev`); Kodak only for reporting |
| training | {hours:.1f} hours on one or two cores, see [docs/TRAINING.md](../docs/TRAINING.md) |

| stage | steps | minutes |
| --- | ---: | ---: |
{rows}

| images | BD-rate to JPEG 4:2:0, PSNR | MS-SSIM | bpp | PSNR / dB |
| --- | ---: | ---: | --- | --- |
{figures}
"""


def same_model(model: ModelResult, results: Results, installed_id: str) -> ModelResult:
    """The model of a set of images, which must be the one that is installed."""
    for found in results.models:
        if found.name == model.name and found.model_id == installed_id:
            return found
    raise SystemExit(f"{model.name} was not measured on all images with the installed weights")


def figures_row(name: str, results: Results, model: ModelResult) -> str:
    """A line of the card."""
    delta = results.bd_rates(model)["JPEG 4:2:0"]
    first, last = model.measurement.means[0], model.measurement.means[-1]
    return (
        f"| {name} | {delta['psnr']:+.1f} % | {delta['ms_ssim']:+.1f} % | "
        f"{first.bpp:.3f} to {last.bpp:.3f} | {first.psnr:.1f} to {last.psnr:.1f} |"
    )


CARD_TAIL = """
## compact-mse-0.1.0

The weights of version 0.1.0, model id `c53c1a316db3411f`, kept so that its files decode.

## All of them

were trained on natural photographs of 8 bits per channel. Drawings, text and screenshots are coded
correctly but no better than by codecs made for them.
"""


def main() -> None:
    """Read the measurements, write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kodak", "dev"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--cold", type=Path)
    options = parser.parse_args()
    sets = {
        name: Results.from_json(path.read_text())
        for name, path in (("Kodak", options.kodak), ("dev", options.dev))
    }
    models = sets["Kodak"].models
    cards = [card(model, sets) for model in models]
    head = HEAD.format(weights=" ".join(m.name for m in models), default=DEFAULT_WEIGHTS)
    sections = [
        section(name, results, with_published=name == "Kodak") for name, results in sets.items()
    ]
    last = (
        speed_of_the_page() if options.cold is None else speed(json.loads(options.cold.read_text()))
    )
    RESULTS.write_text("\n".join([head, *sections, last]))
    CARD.write_text(CARD_HEAD + "".join(cards) + CARD_TAIL)


if __name__ == "__main__":
    main()
