"""What is measured: points, the curves of their means, and what follows from the curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from PIL import Image

from rnnconv_codec.errors import ArgumentError
from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.metrics import mean_squared_error, ms_ssim, psnr_of_error

Metric = Literal["psnr", "ms_ssim"]
METRICS: tuple[Metric, ...] = ("psnr", "ms_ssim")
METRIC_TITLES: dict[Metric, str] = {"psnr": "PSNR", "ms_ssim": "MS-SSIM"}


@dataclass(frozen=True)
class Point:
    """One setting of one codec on one image, or the mean over images.

    Attributes:
        setting: iterations, or what an anchor calls its setting.
        bpp: bits per pixel of the whole file.
        mse: mean squared error in squared levels.
        psnr: in dB, infinite where nothing is lost.
        ms_ssim: 0 to 1, not a number for small images.
    """

    setting: float
    bpp: float
    mse: float
    psnr: float
    ms_ssim: float


def measure(setting: float, file_bytes: int, picture: Image.Image, reference: Image.Image) -> Point:
    """The point of a file of `file_bytes` that shows `picture` for `reference`.

    Raises:
        ValueError: the pictures differ in size or mode.
    """
    bpp = 8 * file_bytes / (reference.width * reference.height)
    error = mean_squared_error(picture, reference)
    return Point(setting, bpp, error, psnr_of_error(error), ms_ssim(picture, reference))


def mean_point(points: Sequence[Point]) -> Point:
    """The means over images of points at one setting."""
    means = {
        name: statistics.fmean(getattr(point, name) for point in points)
        for name in ("bpp", "mse", "psnr", "ms_ssim")
    }
    return Point(points[0].setting, **means)


@dataclass(frozen=True)
class Measurement:
    """Points of one codec, mean over all images, and of each image; rate rising.

    Attributes:
        name: of the codec, as tables and plots call it.
        setting_name: what its settings are: iterations, quality.
        description: how it was run, in words.
        means: one point per setting.
        images: the same per image.
    """

    name: str
    setting_name: str
    description: str
    means: list[Point]
    images: dict[str, list[Point]]

    @classmethod
    def of_images(
        cls, name: str, setting_name: str, description: str, images: dict[str, list[Point]]
    ) -> Measurement:
        """The measurement of these points per image, all with the same settings."""
        means = [mean_point(points) for points in zip(*images.values(), strict=True)]
        return cls(name, setting_name, description, means, images)


def curve_of(points: Sequence[Point], metric: Metric) -> Curve:
    """The curve through points."""
    return Curve([p.bpp for p in points], [getattr(p, metric) for p in points])


Deltas = dict[Metric, float | None]
"""BD-rates in per cent; None where curves do not overlap, or are none: small images have no
MS-SSIM."""


def bd_rates(ours: Measurement, anchor: Measurement) -> Deltas:
    """BD-rate of the mean curves."""
    return {metric: _bd_rate(ours.means, anchor.means, metric) for metric in METRICS}


def bd_rates_per_image(ours: Measurement, anchor: Measurement) -> Deltas:
    """Mean over the images of the BD-rate of each image's curves.

    It does not depend on how an anchor's ladder spreads bits over the images: JPEG 2000 gives
    each image the same rate, which makes its mean curve look better.
    """
    deltas: Deltas = {}
    for metric in METRICS:
        found = [
            _bd_rate(points, anchor.images[name], metric) for name, points in ours.images.items()
        ]
        known = [delta for delta in found if delta is not None]
        deltas[metric] = statistics.fmean(known) if len(known) == len(found) else None
    return deltas


def _bd_rate(ours: Sequence[Point], anchor: Sequence[Point], metric: Metric) -> float | None:
    try:
        return bd_rate(curve_of(ours, metric), curve_of(anchor, metric))
    except ArgumentError:
        return None


@dataclass(frozen=True)
class Slope:
    """What an iteration buys on the mean curve, from the iteration before it.

    Attributes:
        iteration: 2 to the last; 1 has nothing before it.
        mse_per_bpp: -dMSE / dbpp, the squared error that a bit per pixel removes.
        db_per_doubling: gain in PSNR per doubling of the rate.
        on_hull: the point at its end is on the lower convex hull of MSE over bpp. If not, some
            bits are better spent by stopping earlier here and later in another image.
    """

    iteration: int
    mse_per_bpp: float
    db_per_doubling: float
    on_hull: bool


def slopes(points: Sequence[Point]) -> list[Slope]:
    """The slopes between neighbouring iterations of a curve whose rate rises."""
    hull = _lower_hull(points)
    return [
        Slope(
            iteration=int(point.setting),
            mse_per_bpp=_steepness(before, point),
            db_per_doubling=(point.psnr - before.psnr) / math.log2(point.bpp / before.bpp),
            on_hull=point in hull,
        )
        for before, point in pairwise(points)
    ]


def is_convex(points: Sequence[Point]) -> bool:
    """Whether every point is on the lower convex hull: the slopes fall strictly."""
    return len(_lower_hull(points)) == len(points)


def _steepness(before: Point, after: Point) -> float:
    return (before.mse - after.mse) / (after.bpp - before.bpp)


def _lower_hull(points: Sequence[Point]) -> list[Point]:
    """The corners of the lower convex hull of MSE over bpp, by Andrew's monotone chain."""
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _steepness(hull[-2], hull[-1]) <= _steepness(hull[-1], point):
            hull.pop()
        hull.append(point)
    # Behind the lowest error more bits only do harm.
    while len(hull) > 1 and hull[-1].mse >= hull[-2].mse:
        hull.pop()
    return hull


def to_dict(row: Point | Slope) -> dict[str, float | None]:
    """A point or a slope as JSON types; JSON has no infinity and no not-a-number: null."""
    return {k: value if math.isfinite(value) else None for k, value in asdict(row).items()}


def point_from_dict(fields: Mapping[str, Any]) -> Point:
    """The inverse of `to_dict`.

    Raises:
        TypeError, KeyError, ValueError: these are not the fields of a point.
    """
    mse = float(fields["mse"])
    if set(fields) != set(Point.__dataclass_fields__) or not mse >= 0:
        raise ValueError("not the fields of a point")
    missing = {"psnr": math.inf, "ms_ssim": math.nan}
    values = {name: missing[name] if value is None else value for name, value in fields.items()}
    if not all(isinstance(value, int | float) for value in values.values()):
        raise TypeError("a field of a point is no number")
    return Point(**values)
