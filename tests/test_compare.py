"""`rnncodec compare`: the codec beside JPEG, by real files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.evaluation.anchors import JPEG_420
from rnnconv_codec.evaluation.jpeg import QUALITIES, JpegSizes
from rnnconv_codec.evaluation.strip import (
    Panel,
    central_region,
    compare_with_jpeg,
    draw_strip,
)
from rnnconv_codec.metrics import psnr

Photograph = Callable[[str], Image.Image]


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    runner = CliRunner(catch_exceptions=False)
    return runner.invoke(cli, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photograph: Photograph) -> Path:
    monkeypatch.chdir(tmp_path)
    photograph("coffee").crop((100, 80, 300, 200)).save(tmp_path / "coffee.png")
    return tmp_path


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("max_bytes", [1500, 2500, 6000])
def test_the_jpeg_is_the_best_that_is_not_larger(
    photograph: Photograph, mode: str, max_bytes: int
) -> None:
    image = photograph("chelsea").crop((100, 50, 300, 200)).convert(mode)
    sizes = JpegSizes(image)
    quality = sizes.within(max_bytes)
    assert len(sizes.file(quality)) <= max_bytes
    assert sizes.file(quality) == JPEG_420.encode(image, quality)
    assert len(JPEG_420.encode(image, quality + 1)) > max_bytes


def test_without_a_jpeg_that_is_small_enough_it_is_the_smallest(photograph: Photograph) -> None:
    assert JpegSizes(photograph("chelsea")).within(10) == QUALITIES[0]


def test_panels_tell_rate_and_quality(tiny_codec: Codec, photograph: Photograph) -> None:
    image = photograph("coffee").crop((100, 80, 260, 208))
    ours, jpegs = compare_with_jpeg(tiny_codec, image, [3, 1])
    assert [panel.caption.splitlines()[0] for panel in ours] == [
        "iteration 1",
        "iteration 3",
        "original",
    ]
    for iterations, panel in zip((1, 3), ours, strict=False):
        data = tiny_codec.encode(image, iterations=iterations)
        assert panel.image.tobytes() == tiny_codec.decode(data).tobytes()
        bpp = 8 * len(data) / (160 * 128)
        assert panel.caption.endswith(f"\n{bpp:.3f} bpp, {psnr(panel.image, image):.2f} dB")
    assert len(jpegs) == 2
    assert all(panel.caption.startswith("JPEG") for panel in jpegs)


def test_a_strip_shows_the_region_of_each_picture() -> None:
    reds = [Panel(Image.new("RGB", (500, 400), (200 + i, 0, 0)), f"{i}") for i in range(3)]
    strip = np.asarray(draw_strip([reds, reds[:2]], (100, 100, 300, 350)))
    for i in range(3):
        assert (strip == (200 + i, 0, 0)).all(axis=2).sum() == 200 * 250 * (2 if i < 2 else 1)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 50), (0, 0, 100, 50)), ((1000, 400), (340, 40, 660, 360))],
)
def test_large_pictures_are_shown_in_part(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert central_region(size) == expected


def test_the_command_writes_a_strip(folder: Path, tiny_weights: Path) -> None:
    model = ("--weights", tiny_weights, "--threads", "1")
    result = run("compare", "coffee.png", *model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("coffee.strip.png: ")
    assert result.stdout.endswith("3 steps beside JPEG\n")
    with Image.open(folder / "coffee.strip.png") as strip:
        assert strip.width > 4 * 200
    picture = (folder / "coffee.png").read_bytes()
    options = ("--iterations", "2", "--region", "10,20,50,40")
    piped = run("compare", "-", *options, *model, stdin=picture)
    with Image.open(io.BytesIO(piped.stdout_bytes)) as small:
        assert small.height < 250


@pytest.mark.parametrize(
    "region", ["1,2,3", "a,b,c,d", "-1,0,5,5", "0,0,0,5", "150,0,51,10", "0,100,10,21"]
)
def test_a_region_outside_of_the_picture_is_wrong_usage(
    region: str, folder: Path, tiny_weights: Path
) -> None:
    result = run("compare", "coffee.png", "--region", region, "--weights", tiny_weights)
    assert result.exit_code == 2
    assert not (folder / "coffee.strip.png").exists()
