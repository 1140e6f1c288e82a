"""Metrics, BD-rate, anchors and their cache, results, and the command that measures folders."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, features

from rnnconv_codec.cli import eval as command_module
from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.errors import (
    AnchorError,
    AnchorUnavailableWarning,
    ArgumentError,
    CacheUnavailableWarning,
    ResultsFormatError,
)
from rnnconv_codec.evaluation.anchors import ANCHORS, JPEG_420, Anchor, decode
from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.evaluation.cache import PointCache
from rnnconv_codec.evaluation.measure import available, measure_anchor, measure_codec
from rnnconv_codec.evaluation.plots import curves_of, ms_ssim_decibels, rate_distortion_svg
from rnnconv_codec.evaluation.points import (
    Measurement,
    Point,
    bd_rates,
    bd_rates_per_image,
    is_convex,
    slopes,
)
from rnnconv_codec.evaluation.results import ImageInfo, ModelResult, Results
from rnnconv_codec.metrics import mean_squared_error, ms_ssim, psnr, psnr_of_error
from rnnconv_codec.weights import load_model_file, save_model_file

RATES = [0.125, 0.25, 0.5, 1.0, 2.0]
QUALITIES = [24.0, 27.0, 30.0, 33.0, 36.0]


def test_psnr_is_that_of_the_definition() -> None:
    black = Image.new("RGB", (4, 4))
    one_off = Image.new("RGB", (4, 4), (1, 1, 1))

    assert psnr(one_off, black) == pytest.approx(20 * math.log10(255))
    assert psnr(black, black) == math.inf
    with pytest.raises(ValueError, match="cannot compare"):
        psnr(black, Image.new("L", (4, 4)))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_squared_error_of_a_large_picture_is_that_of_all_its_rows(mode: str) -> None:
    rng = np.random.default_rng(1)
    first, second = (
        Image.fromarray(rng.integers(0, 256, (700, 601, 3), np.uint8)).convert(mode)
        for _ in range(2)
    )

    expected = np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2)

    assert mean_squared_error(first, second) == expected


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

    coded = measure_codec(tiny_codec, picture)

    sizes = [len(tiny_codec.encode(picture, iterations=t)) for t in (1, 2, 3)]
    assert coded.file_bytes == sizes
    assert [p.bpp for p in coded.points] == pytest.approx([8 * s / (120 * 90) for s in sizes])
    data = tiny_codec.encode(picture)
    decoded = [tiny_codec.decode(data, iterations=t) for t in (1, 2, 3)]
    assert [p.psnr for p in coded.points] == [psnr(shown, picture) for shown in decoded]


# --- anchors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.key)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_anchor_has_rising_rates_and_qualities(
    anchor: Anchor, mode: str, photograph: Callable[[str], Image.Image]
) -> None:
    picture = photograph("astronaut").crop((100, 0, 300, 180)).convert(mode)

    points = measure_anchor(anchor, picture, PointCache(None))

    assert [point.setting for point in points] == list(anchor.ladder)
    assert [point.bpp for point in points] == sorted(point.bpp for point in points)
    assert [point.psnr for point in points] == sorted(point.psnr for point in points)
    assert points[0].psnr < 30 < 36 < points[-1].psnr
    assert 0 < points[0].ms_ssim < points[-1].ms_ssim < 1


def test_jpeg_2000_transforms_colours(photograph: Callable[[str], Image.Image]) -> None:
    # Pillow leaves the colour transform out unless asked for: that costs it a third of its bits.
    picture = photograph("coffee").crop((0, 0, 300, 200))
    jpeg2000 = next(anchor for anchor in ANCHORS if anchor.key == "jpeg-2000")
    plain = replace(
        jpeg2000,
        save_options=lambda setting, channels: {
            **jpeg2000.save_options(setting, channels),
            "mct": 0,
        },
    )

    with_transform, without = (
        psnr(decode(anchor.encode(picture, 0.5), "RGB"), picture) for anchor in (jpeg2000, plain)
    )

    assert with_transform > without + 0.5


def test_an_anchor_that_refuses_an_image_says_so() -> None:
    webp = next(anchor for anchor in ANCHORS if anchor.key == "webp")

    with pytest.raises(AnchorError, match="WebP cannot encode 20000x1 pixels"):
        webp.encode(Image.new("RGB", (20000, 1)), 50)


def test_an_anchor_that_pillow_lacks_is_left_out_with_a_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "check", lambda name: name != "avif")

    with pytest.warns(AnchorUnavailableWarning, match="cannot write AVIF"):
        left = available(ANCHORS)

    assert [anchor.key for anchor in left] == ["jpeg-420", "jpeg-444", "webp", "jpeg-2000"]


def test_an_avif_library_without_libaom_counts_as_lacking() -> None:
    avif = next(anchor for anchor in ANCHORS if anchor.key == "avif")
    other = replace(
        avif,
        save_options=lambda setting, channels: {
            **avif.save_options(setting, channels),
            "codec": "no-such-encoder",
        },
    )

    assert avif.is_available()
    assert not other.is_available()


def test_the_command_knows_the_keys_of_all_anchors() -> None:
    assert command_module.ANCHOR_KEYS == tuple(anchor.key for anchor in ANCHORS)


# --- cache -----------------------------------------------------------------------------------


@pytest.fixture
def small_anchor() -> Anchor:
    return replace(JPEG_420, ladder=(20, 70))


def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    settings: list[float] = []
    encode = Anchor.encode

    def counted(anchor: Anchor, image: Image.Image, setting: float) -> bytes:
        settings.append(setting)
        return encode(anchor, image, setting)

    monkeypatch.setattr(Anchor, "encode", counted)
    return settings


@pytest.mark.parametrize("size", [(200, 170), (40, 30)], ids=["with MS-SSIM", "without"])
def test_cached_points_equal_fresh_ones(
    size: tuple[int, int],
    small_anchor: Anchor,
    tmp_path: Path,
    photograph: Callable[[str], Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = photograph("rocket").crop((0, 0, *size))
    encoded = count_encodings(monkeypatch)
    runs = [
        measure_anchor(small_anchor, picture, PointCache(folder))
        for folder in (None, tmp_path / "cache", tmp_path / "cache")
    ]

    assert encoded == [20, 70, 20, 70]  # none in the last run
    assert repr(runs[0]) == repr(runs[1]) == repr(runs[2])  # not a number equals nothing


def test_other_pixels_options_or_versions_are_measured_anew(
    small_anchor: Anchor,
    tmp_path: Path,
    photograph: Callable[[str], Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = photograph("rocket").crop((0, 0, 64, 48))
    cache = PointCache(tmp_path)
    encoded = count_encodings(monkeypatch)
    measure_anchor(small_anchor, picture, cache)

    other = picture.copy()
    other.putpixel((3, 3), (1, 2, 3))
    turned = Image.frombytes("RGB", (48, 64), picture.tobytes())
    full_colour = next(anchor for anchor in ANCHORS if anchor.key == "jpeg-444")
    for anchor, image in (
        (small_anchor, other),
        (small_anchor, turned),
        (replace(full_colour, ladder=(20, 70)), picture),
    ):
        encoded.clear()
        measure_anchor(anchor, image, cache)
        assert encoded == [20, 70]

    monkeypatch.setattr(Anchor, "versions", lambda self: {"pillow": "1.1.7"})
    encoded.clear()
    measure_anchor(small_anchor, picture, cache)
    assert encoded == [20, 70]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: b"\xff" + content[1:],
        lambda content: b"[" * 100_000,
        lambda content: b"null",
        lambda content: content.replace(b'"bpp": ', b'"bpp": 1'),
        lambda content: content.replace(b'"bpp": ', b'"bpp": "x", "b": '),
        lambda content: content.replace(b'"mse": ', b'"mse": -'),
        lambda content: content.replace(b'"key": "', b'"key": "0'),
    ],
    ids=["empty", "cut", "not text", "deep", "null", "number", "text", "negative", "key"],
)
def test_a_damaged_entry_is_measured_again_and_mended(
    damage: Callable[[bytes], bytes],
    tmp_path: Path,
    photograph: Callable[[str], Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = photograph("rocket").crop((0, 0, 64, 48))
    anchor = replace(JPEG_420, ladder=(20,))
    fresh = measure_anchor(anchor, picture, PointCache(tmp_path))
    (entry,) = (path for path in tmp_path.rglob("*") if path.is_file())
    content = entry.read_bytes()
    assert damage(content) != content
    entry.write_bytes(damage(content))
    encoded = count_encodings(monkeypatch)

    again = measure_anchor(anchor, picture, PointCache(tmp_path))

    assert encoded == [20]
    assert repr(again) == repr(fresh)
    assert entry.read_bytes() == content


def test_a_cache_that_cannot_be_written_costs_a_notice_and_nothing_else(
    small_anchor: Anchor, tmp_path: Path, photograph: Callable[[str], Image.Image]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    picture = photograph("rocket").crop((0, 0, 9, 9))

    with pytest.warns(CacheUnavailableWarning) as notices:
        points = measure_anchor(small_anchor, picture, PointCache(tmp_path / "file"))

    assert len(notices) == 1
    assert repr(points) == repr(measure_anchor(small_anchor, picture, PointCache(None)))


# --- what follows from the curves ------------------------------------------------------------


def curve(*points: tuple[float, float]) -> list[Point]:
    """Points of these rates and mean squared errors."""
    return [
        Point(setting, bpp, mse, psnr_of_error(mse), math.nan)
        for setting, (bpp, mse) in enumerate(points, 1)
    ]


def test_slopes_are_error_removed_per_bit_and_decibels_per_doubling() -> None:
    found = slopes(curve((0.1, 100), (0.2, 50), (0.8, 20)))

    assert [slope.iteration for slope in found] == [2, 3]
    assert [slope.mse_per_bpp for slope in found] == pytest.approx([500, 50])
    assert found[0].db_per_doubling == pytest.approx(10 * math.log10(2))
    assert found[1].db_per_doubling == pytest.approx(10 * math.log10(2.5) / 2)


@pytest.mark.parametrize(
    ("points", "off_hull"),
    [
        ([(0.1, 100.0), (0.2, 50.0), (0.8, 20.0)], []),
        ([(0.1, 100.0), (0.2, 90.0), (0.3, 20.0)], [2]),
        ([(0.1, 100.0), (0.2, 60.0), (0.3, 20.0)], [2]),  # no better than mixing its neighbours
        ([(0.1, 100.0), (0.2, 99.0), (0.3, 90.0), (0.4, 10.0)], [2, 3]),
        ([(0.1, 100.0), (0.2, 50.0), (0.3, 50.0)], [3]),
        ([(0.1, 100.0), (0.2, 50.0), (0.3, 70.0)], [3]),
    ],
)
def test_a_curve_is_convex_if_every_iteration_is_on_the_hull(
    points: list[tuple[float, float]], off_hull: list[int]
) -> None:
    found = slopes(curve(*points))

    assert [slope.iteration for slope in found if not slope.on_hull] == off_hull
    assert is_convex(curve(*points)) is not bool(off_hull)


def test_bd_rate_per_image_counts_images_alike_whatever_their_rates() -> None:
    easy, hard = curve((0.1, 80), (0.2, 40), (0.4, 20)), curve((1, 80), (2, 40), (4, 20))
    twice = [replace(point, bpp=2 * point.bpp) for point in hard]
    ours = Measurement.of_images("ours", "", "", {"easy": easy, "hard": hard})
    theirs = Measurement.of_images("theirs", "", "", {"easy": easy, "hard": twice})

    per_image = bd_rates_per_image(ours, theirs)

    assert per_image == {"psnr": pytest.approx(-25), "ms_ssim": None}
    assert bd_rates(ours, theirs)["psnr"] == pytest.approx(100 * (1.1 / 2.1 - 1))


# --- results ---------------------------------------------------------------------------------


def some_results() -> Results:
    """Two images, a model and an anchor, with values that JSON does not have."""
    names = ("a.png", "b.png")
    ours = curve((0.1, 100), (0.3, 50), (0.8, 20))
    theirs = [*curve((0.2, 100), (0.6, 50), (1.6, 20)), Point(4, 3.0, 0.0, math.inf, 1.0)]
    return Results(
        [ImageInfo(name, 40, 30) for name in names],
        [
            ModelResult(
                "00ff",
                Measurement.of_images("ours", "iterations", "", dict.fromkeys(names, ours)),
            )
        ],
        [Measurement.of_images("theirs", "quality", "old", dict.fromkeys(names, theirs))],
    )


def test_results_survive_json() -> None:
    results = some_results()

    text = results.to_json()

    assert repr(Results.from_json(text)) == repr(results)
    assert "NaN" not in text and "Infinity" not in text
    (model,) = json.loads(text)["models"]
    for kind in ("bd_rate", "bd_rate_per_image"):
        assert model[kind]["theirs"] == {"psnr": pytest.approx(-50), "ms_ssim": None}
    assert [slope["iteration"] for slope in model["slopes"]] == [2, 3]
    assert model["is_convex"] is True


def test_a_picture_without_loss_has_json_too() -> None:
    flat = [Point(1, 0.1, 0.0, math.inf, math.nan), Point(2, 0.2, 0.0, math.inf, math.nan)]
    measured = Measurement.of_images("flat", "iterations", "", {"a.png": flat})
    results = Results([ImageInfo("a.png", 8, 8)], [ModelResult("00", measured)], [])

    text = results.to_json()

    assert "NaN" not in text and "Infinity" not in text
    assert repr(Results.from_json(text)) == repr(results)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 1}', "[" * 100_000])
def test_what_is_not_results_is_refused(text: str) -> None:
    with pytest.raises(ResultsFormatError):
        Results.from_json(text)


def test_the_csv_has_every_point_and_the_means() -> None:
    rows = list(csv.DictReader(io.StringIO(some_results().to_csv())))

    assert len(rows) == (1 + 2) * 3 + (1 + 2) * 4
    assert rows[0] | {"bpp": "0.1", "codec": "ours", "image": "", "setting": "1"} == rows[0]
    assert rows[-1] | {"psnr": "", "codec": "theirs", "image": "b.png"} == rows[-1]


# --- plots -----------------------------------------------------------------------------------


def test_plots_are_the_same_every_time_and_name_their_curves() -> None:
    curves = curves_of(some_results(), "psnr")

    first, second = (rate_distortion_svg("Title", "psnr", curves) for _ in range(2))

    assert first is not None and first == second
    drawing = ElementTree.fromstring(first)
    assert drawing.tag.endswith("svg")
    comments = {line.strip() for line in first.splitlines()}
    assert {"<!-- ours -->", "<!-- theirs -->", "<!-- Title -->"} <= comments
    assert len(first) < 100_000


def test_there_is_no_plot_without_numbers() -> None:
    assert rate_distortion_svg("Title", "ms_ssim", curves_of(some_results(), "ms_ssim")) is None


def test_ms_ssim_in_decibels_spreads_what_is_close_to_one() -> None:
    assert ms_ssim_decibels(0.9) == pytest.approx(10)
    assert ms_ssim_decibels(0.999) == pytest.approx(30)
    assert ms_ssim_decibels(1.0) == math.inf


# --- the command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(
    tmp_path_factory: pytest.TempPathFactory, photograph: Callable[[str], Image.Image]
) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    photograph("coffee").crop((100, 100, 300, 280)).save(folder / "coffee.png")
    photograph("rocket").crop((100, 100, 300, 280)).convert("L").save(folder / "rocket.png")
    return folder


def run_eval(*arguments: str | Path) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli, ["eval", *map(str, arguments)])


def test_the_command_measures_a_folder(
    photographs: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second" / "tiny.safetensors"
    second.parent.mkdir()
    tiny = load_model_file(tiny_weights)
    second_id = save_model_file(second, tiny.config, tiny.tensors, {"stages": []}).hex()
    outputs = ("--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    models = ("--weights", tiny_weights, "--weights", second)
    arguments = (photographs, *models, "--anchors", "webp,jpeg-420", *outputs)

    result = run_eval(*arguments, "--cache", tmp_path / "cache")

    assert result.exit_code == 0, result.output
    assert "BD-rate" in result.output and "no overlap" in result.output  # a weak model
    assert "2 images" in result.output
    measured = Results.from_json((tmp_path / "r.json").read_text())
    assert [image.name for image in measured.images] == ["coffee.png", "rocket.png"]
    assert [anchor.name for anchor in measured.anchors] == ["JPEG 4:2:0", "WebP"]
    assert [m.name for m in measured.models] == [
        f"tiny ({tiny.model_id.hex()})",
        f"tiny ({second_id})",
    ]
    assert (tmp_path / "r.csv").read_text() == measured.to_csv()
    assert any((tmp_path / "cache").iterdir())

    again = run_eval(*arguments, "--no-cache", "-q")

    assert (again.exit_code, again.output) == (0, "")
    assert repr(Results.from_json((tmp_path / "r.json").read_text())) == repr(measured)


def test_without_weights_the_default_ones_are_measured(
    monkeypatch: pytest.MonkeyPatch, photographs: Path, tiny_codec: Codec
) -> None:
    asked: list[str] = []

    def load(name: str) -> Codec:
        asked.append(name)
        return tiny_codec

    monkeypatch.setattr(Codec, "load", load)

    assert run_eval(photographs, "--no-cache", "--anchors", "jpeg-420", "-q").exit_code == 0
    assert asked == ["compact-mse"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("empty",), 2, "no images"),
        (("photos", "--anchors", "gif"), 2, "'gif' is not one of jpeg-420"),
        (("photos", "--cache", "c", "--no-cache"), 2, "exclude each other"),
        (("photos", "--report-images", "1"), 2, "goes with --report"),
        (("photos", "--json", "missing/r.json"), 1, "no folder"),
        (("photos", "--report", "file"), 1, "cannot make the folder"),
        (("photos", "--weights", "tiny", "--weights", "tiny"), 2, "named twice"),
        (("missing.png",), 1, "cannot read missing.png"),
        (("file",), 1, "empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_calls_and_bad_files_are_one_line(
    arguments: tuple[str, ...],
    status: int,
    words: str,
    photographs: Path,
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "tiny").symlink_to(tiny_weights)
    (tmp_path / "photos").symlink_to(photographs)
    weights = () if "--weights" in arguments else ("--weights", "tiny")
    cache = () if "--no-cache" in arguments else ("--no-cache",)
    cache = () if "--cache" in arguments else cache

    result = run_eval(*arguments, *weights, *cache)

    assert result.exit_code == status
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, photographs: Path
) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)

    result = run_eval(photographs)

    assert result.exit_code == 1
    assert "pip install 'rnnconv-codec[eval]'" in result.stderr
