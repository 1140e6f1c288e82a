"""Metrics, BD-rate and the measuring of folders."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.errors import ArgumentError
from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.evaluation.measure import measure_codec, measure_jpeg
from rnnconv_codec.metrics import ms_ssim, psnr

RATES = [0.125, 0.25, 0.5, 1.0, 2.0]
QUALITIES = [24.0, 27.0, 30.0, 33.0, 36.0]


def test_psnr_is_that_of_the_definition() -> None:
    black = Image.new("RGB", (4, 4))
    one_off = Image.new("RGB", (4, 4), (1, 1, 1))

    assert psnr(one_off, black) == pytest.approx(20 * math.log10(255))
    assert psnr(black, black) == math.inf
    with pytest.raises(ValueError, match="cannot compare"):
        psnr(black, Image.new("L", (4, 4)))


def test_ms_ssim_is_one_for_equal_pictures_and_falls_with_damage(
    photograph: Callable[[str], Image.Image],
) -> None:
    picture = photograph("chelsea").crop((0, 0, 200, 180))
    noisy = Image.fromarray(
        np.clip(
            np.asarray(picture, float) + np.random.default_rng(0).normal(0, 20, (180, 200, 3)),
            0,
            255,
        ).astype(np.uint8)
    )

    assert ms_ssim(picture, picture) == pytest.approx(1)
    assert 0.5 < ms_ssim(noisy, picture) < 0.99
    assert math.isnan(ms_ssim(picture.crop((0, 0, 100, 100)), picture.crop((0, 0, 100, 100))))


def test_bd_rate_of_a_curve_with_a_constant_factor_is_that_factor() -> None:
    anchor = Curve(RATES, QUALITIES)

    assert bd_rate(anchor, anchor) == pytest.approx(0)
    assert bd_rate(Curve([0.8 * r for r in RATES], QUALITIES), anchor) == pytest.approx(-20)
    assert bd_rate(Curve([1.5 * r for r in RATES], QUALITIES), anchor) == pytest.approx(50)


def test_bd_rate_counts_only_the_range_that_both_curves_cover() -> None:
    anchor = Curve(RATES, QUALITIES)
    short = Curve([0.9 * r for r in RATES[1:4]], QUALITIES[1:4])

    assert bd_rate(short, anchor) == pytest.approx(-10, abs=0.2)


@pytest.mark.parametrize("qualities", [[10.0, 20.0], [24.0, 24.0], [math.nan, math.nan]])
def test_curves_without_overlap_or_slope_are_refused(qualities: list[float]) -> None:
    with pytest.raises(ArgumentError):
        bd_rate(Curve([1.0, 2.0], qualities), Curve(RATES, QUALITIES))


def test_measured_rates_are_those_of_files(
    tiny_codec: Codec, photograph: Callable[[str], Image.Image]
) -> None:
    picture = photograph("coffee").crop((0, 0, 120, 90))

    points = measure_codec(tiny_codec, picture)

    sizes = [len(tiny_codec.encode(picture, iterations=t)) for t in (1, 2, 3)]
    assert [p.bpp for p in points] == pytest.approx([8 * size / (120 * 90) for size in sizes])
    jpeg = measure_jpeg(picture)
    assert [p.psnr for p in jpeg] == sorted(p.psnr for p in jpeg)


def test_the_command_measures_a_folder(
    tmp_path: Path, tiny_weights: Path, photograph: Callable[[str], Image.Image]
) -> None:
    for name in ("coffee", "rocket"):
        photograph(name).crop((100, 100, 300, 280)).save(tmp_path / f"{name}.png")
    output = tmp_path / "result.json"
    arguments = ["eval", str(tmp_path), "--weights", str(tiny_weights), "--json", str(output)]

    result = CliRunner().invoke(cli, arguments)

    assert result.exit_code == 0, result.output
    assert "BD-rate" in result.output and "no overlap" in result.output  # a weak model
    measured = json.loads(output.read_text())
    assert set(measured["bd_rate"]["JPEG 4:2:0"]) == {"psnr", "ms_ssim"}
    assert set(measured["measurements"][0]["images"]) == {"coffee.png", "rocket.png"}

    empty = tmp_path / "empty"
    empty.mkdir()
    assert CliRunner().invoke(cli, ["eval", str(empty)]).exit_code in (1, 2)
