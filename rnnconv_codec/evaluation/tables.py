"""The tables of an evaluation as rows of text, for the terminal, the page and the documents."""

from __future__ import annotations

from dataclasses import dataclass

from rnnconv_codec.evaluation.points import METRIC_TITLES, METRICS, Measurement
from rnnconv_codec.evaluation.results import ModelResult, Results


@dataclass(frozen=True)
class TextTable:
    """A table.

    Attributes:
        title: what it shows.
        headings: of the columns.
        rows: of cells, as many as there are headings.
        names: how many columns at the left hold names; the others hold numbers.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    names: int = 0


def points_table(measurement: Measurement) -> TextTable:
    """The mean points of one codec."""
    return TextTable(
        measurement.name,
        (measurement.setting_name, "bpp", "PSNR / dB", "MS-SSIM"),
        [
            (f"{p.setting:g}", f"{p.bpp:.3f}", f"{p.psnr:.2f}", f"{p.ms_ssim:.4f}")
            for p in measurement.means
        ],
    )


def bd_rate_table(results: Results) -> TextTable:
    """BD-rates of every model against every anchor, of the mean curves and per image."""
    titles = [METRIC_TITLES[metric] for metric in METRICS]
    return TextTable(
        "BD-rate (negative: fewer bits than the anchor)",
        ("model", "against", *titles, *(f"{title}, per image" for title in titles)),
        [
            (
                model.name,
                anchor,
                *(
                    _percent(delta[metric])
                    for delta in (deltas, per_image[anchor])
                    for metric in METRICS
                ),
            )
            for model in results.models
            for per_image in (results.bd_rates_per_image(model),)
            for anchor, deltas in results.bd_rates(model).items()
        ],
        names=2,
    )


def slopes_table(model: ModelResult) -> TextTable:
    """What each iteration of a model buys."""
    shape = "convex" if model.is_convex() else "not convex"
    return TextTable(
        f"{model.name}, slope per iteration: {shape}",
        ("iteration", "-dMSE/dbpp", "dB per doubling of rate", "on the convex hull"),
        [
            (
                str(slope.iteration),
                f"{slope.mse_per_bpp:.1f}",
                f"{slope.db_per_doubling:.2f}",
                "yes" if slope.on_hull else "no",
            )
            for slope in model.slopes()
        ],
    )


def _percent(delta: float | None) -> str:
    return "no overlap" if delta is None else f"{delta:+.1f} %"
