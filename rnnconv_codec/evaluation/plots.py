"""Rate–distortion plots as SVG: the same input gives the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnconv_codec.evaluation.bd_rate import Curve
from rnnconv_codec.evaluation.points import Metric, curve_of
from rnnconv_codec.evaluation.results import Results

Kind = Literal["model", "anchor", "published"]

_AXIS_LABELS: dict[Metric, str] = {
    "psnr": "PSNR / dB",
    "ms_ssim": "MS-SSIM, −10 log₁₀(1 − MS-SSIM) / dB",
}

_SIZE_INCHES = (5.4, 4.6)
"""Small: on the width of a phone its letters must still be legible."""

_MARGIN = 0.04
"""Of the range of the axes, around the points."""

# Hues that can be told apart with any kind of colour vision, and on white and black paper.
_MODEL_COLOURS = ("#d3302f", "#7a5ae0", "#c2185b")
_OTHER_COLOURS = ("#0b84c4", "#5ab4e5", "#0f9d72", "#c9851a", "#a8589b", "#8a8f98")
_MODEL_MARKERS = "osD"
_OTHER_MARKERS = "sD^vP*X<>"

# Colours that stand for those of the page around, which the SVG's own style sets: light or dark.
_INK = "#010203"
_PAPER = "#fdfcfb"
_STYLE = (
    "<style>svg{color:#1b1f24;--paper:#ffffff}"
    "@media(prefers-color-scheme:dark){svg{color:#e4e6ea;--paper:#16181c}}</style>"
)

_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "rnncodec",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.facecolor": _PAPER,
    "figure.facecolor": _PAPER,
    "savefig.facecolor": _PAPER,
    "legend.facecolor": _PAPER,
    "legend.edgecolor": _PAPER,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
}


@dataclass(frozen=True)
class PlottedCurve:
    """A curve of a plot.

    Attributes:
        name: in the legend.
        kind: models are drawn thick, published figures dashed.
        curve: rates in bpp; qualities as `points.Metric` has them.
    """

    name: str
    kind: Kind
    curve: Curve


def curves_of(results: Results, metric: Metric) -> list[PlottedCurve]:
    """The mean curves of all models and anchors."""
    models = [
        PlottedCurve(model.name, "model", curve_of(model.measurement.means, metric))
        for model in results.models
    ]
    return models + [
        PlottedCurve(anchor.name, "anchor", curve_of(anchor.means, metric))
        for anchor in results.anchors
    ]


def ms_ssim_decibels(value: float) -> float:
    """-10 log10(1 - MS-SSIM): spreads what lies close to 1."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def rate_distortion_svg(title: str, metric: Metric, curves: Iterable[PlottedCurve]) -> str | None:
    """A plot of quality over rate, in the range of rates of the models.

    Rates are on a logarithmic axis and MS-SSIM on one in decibels; points that are not finite
    are left out. The SVG is complete in itself and follows the reader's light or dark setting.

    Returns:
        The SVG's text, or None if no model has a point to plot.
    """
    plotted = [
        (curve, points) for curve in curves if (points := _finite_points(curve.curve, metric))
    ]
    model_rates = [r for curve, points in plotted if curve.kind == "model" for r, _ in points]
    if not model_rates:
        return None
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log", base=2)
        numbers: dict[bool, int] = {True: 0, False: 0}
        for curve, points in plotted:
            is_model = curve.kind == "model"
            _draw(axes, curve, points, numbers[is_model])
            numbers[is_model] += 1
        low, high = min(model_rates), max(model_rates)
        room = (high / low) ** _MARGIN if high > low else 2
        axes.set_xlim(low / room, high * room)
        visible = [q for _, points in plotted for r, q in points if low / room <= r <= high * room]
        margin = _MARGIN * (max(visible) - min(visible)) or 1
        axes.set_ylim(min(visible) - margin, max(visible) + margin)
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.2g}")
        axes.set_xlabel("bits per pixel, whole files")
        axes.set_ylabel(_AXIS_LABELS[metric])
        axes.set_title(title)
        axes.grid(alpha=0.15)
        axes.legend(loc="lower right", fontsize=8.5, framealpha=0.8)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _in_colours_of_the_page(buffer.getvalue())


def _finite_points(curve: Curve, metric: Metric) -> list[tuple[float, float]]:
    values = (
        [ms_ssim_decibels(q) for q in curve.qualities] if metric == "ms_ssim" else (curve.qualities)
    )
    return [(r, q) for r, q in zip(curve.rates, values, strict=True) if math.isfinite(q)]


def _draw(
    axes: Axes, curve: PlottedCurve, points: Sequence[tuple[float, float]], number: int
) -> None:
    """Draw a curve, the `number`-th of the models or of the others."""
    is_model = curve.kind == "model"
    palette = _MODEL_COLOURS if is_model else _OTHER_COLOURS
    markers = _MODEL_MARKERS if is_model else _OTHER_MARKERS
    axes.plot(
        [rate for rate, _ in points],
        [quality for _, quality in points],
        label=curve.name,
        color=palette[number % len(palette)],
        linestyle="--" if curve.kind == "published" else "-",
        linewidth=2.2 if is_model else 1.2,
        marker=markers[number % len(markers)],
        markersize=5.5 if is_model else 3.5,
        zorder=3 if is_model else 2,
    )


def _in_colours_of_the_page(svg: str) -> str:
    start = svg.index("<svg")
    body = svg.index(">", start) + 1
    coloured = svg[body:].replace(_INK, "currentColor").replace(_PAPER, "var(--paper)")
    return svg[start:body] + _STYLE + coloured
