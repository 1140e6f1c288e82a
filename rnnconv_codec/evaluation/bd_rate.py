"""Bjøntegaard delta rate: the mean difference in rate between two curves at equal quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from rnnconv_codec.errors import ArgumentError


@dataclass(frozen=True)
class Curve:
    """A rate–distortion curve, rate rising.

    Attributes:
        rates: bits per pixel of each point.
        qualities: PSNR in dB, or another measure that rises with quality.
    """

    rates: Sequence[float]
    qualities: Sequence[float]


def bd_rate(curve: Curve, anchor: Curve) -> float:
    """Mean rate difference in per cent over the range of quality that both curves cover.

    PCHIP interpolation of log rate over quality (Bjøntegaard, VCEG-M33, with piecewise cubic
    instead of one polynomial). Negative: `curve` needs fewer bits than `anchor`.

    Raises:
        ArgumentError: fewer than two points, or no overlap in quality.
    """
    logs = [_log_rate(c) for c in (curve, anchor)]
    low = max(log.x[0] for log in logs)
    high = min(log.x[-1] for log in logs)
    if low >= high:
        raise ArgumentError("the curves do not overlap in quality: no BD-rate")
    difference = [float(log.integrate(low, high)) for log in logs]
    return float(100 * (np.exp((difference[0] - difference[1]) / (high - low)) - 1))


def _log_rate(curve: Curve) -> PchipInterpolator:
    points = sorted(zip(curve.qualities, curve.rates, strict=True))
    qualities = np.array([q for q, _ in points])
    rates = np.array([r for _, r in points])
    # Points of equal quality have no slope: keep the cheapest.
    distinct = np.concatenate([[True], np.diff(qualities) > 0]) & np.isfinite(qualities)
    if distinct.sum() < 2:
        raise ArgumentError("a curve needs two points of different quality")
    return PchipInterpolator(qualities[distinct], np.log(rates[distinct]))
