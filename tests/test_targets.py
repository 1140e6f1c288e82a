"""Sizes are upper bounds on real files, qualities lower bounds on real pictures."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import rnnconv_codec
from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect, read_container
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.errors import (
    ArgumentError,
    IterationsError,
    MissingExtraError,
    QualityError,
    TargetError,
)
from rnnconv_codec.metrics import ms_ssim, psnr
from rnnconv_codec.targets import WHOLE, Cut, Target, encode_to_target, truncate

Photograph = Callable[[str], Image.Image]


@pytest.fixture(scope="module")
def picture(photograph: Photograph) -> Image.Image:
    return photograph("coffee").crop((100, 80, 280, 250))


@pytest.fixture(scope="module")
def data(tiny_codec: Codec, picture: Image.Image) -> bytes:
    return tiny_codec.encode(picture)


@pytest.fixture(scope="module")
def sizes(data: bytes) -> list[int]:
    """The file's bytes after each iteration."""
    return [len(truncate(data, iterations=count)) for count in (1, 2, 3)]


def target_of(**bounds: Any) -> Target:
    return Target(**bounds)


# --- bounds on the size ----------------------------------------------------------------------


OVERHEAD = 6
"""Bytes of a chunk beside its payload, below 128 bytes; one more from there on."""


def limits(sizes: list[int]) -> list[int]:
    """Bounds that fall on an iteration, just below and above it, and far inside the next."""
    near = [size + spare for size in sizes[:2] for spare in (0, 1, 12, 13, 14, 40, 150)]
    return [*near, sizes[1] - 1, sizes[2] - 1, sizes[2], sizes[2] + 1000]


def test_truncating_equals_encoding_at_every_bound(
    tiny_codec: Codec, picture: Image.Image, data: bytes, sizes: list[int]
) -> None:
    pixels = picture.width * picture.height
    for limit in limits(sizes):
        shorter = truncate(data, size=limit)
        assert len(shorter) <= limit
        assert encode_to_target(tiny_codec, picture, Target(size=limit)) == shorter
        assert truncate(data, bpp=8 * (limit + 0.5) / pixels) == shorter


def test_a_file_ends_with_a_part_of_the_next_iteration(data: bytes, sizes: list[int]) -> None:
    segments = read_container(data).segments
    for limit in range(sizes[1] + 40, sizes[2], 7):
        found = read_container(truncate(data, size=limit))
        assert found.segments == segments[:2]
        assert found.partial is not None and len(found.partial) % WORD_BYTES == 0
        assert segments[2].startswith(found.partial)
        size = len(truncate(data, size=limit))
        # Of the bound only what is less than a word is not used, and a byte of a length that grows.
        assert size <= limit <= size + WORD_BYTES


def test_a_part_that_would_not_pay_is_left_out(data: bytes, sizes: list[int]) -> None:
    least = -(-inspect(data).segment_bytes[0] // 20 // WORD_BYTES) * WORD_BYTES
    for spare in range(OVERHEAD + least):
        assert len(truncate(data, size=sizes[0] + spare)) == sizes[0]
    assert len(truncate(data, size=sizes[0] + OVERHEAD + least)) == sizes[0] + OVERHEAD + least


def test_a_shortened_file_is_shortened_like_the_whole_one(data: bytes, sizes: list[int]) -> None:
    shorter = truncate(data, size=sizes[2] - 10)
    for limit in (sizes[0], sizes[0] + 50, sizes[1], sizes[1] + 3, sizes[1] + 100, sizes[2] - 11):
        assert truncate(shorter, size=limit) == truncate(data, size=limit)
    assert truncate(shorter, size=sizes[2]) == shorter
    assert truncate(shorter, iterations=2) == truncate(data, iterations=2)


def test_more_bytes_are_a_better_picture(
    tiny_codec: Codec, picture: Image.Image, data: bytes, sizes: list[int]
) -> None:
    bounds = [sizes[0] + k * (sizes[2] - sizes[0]) // 12 for k in range(13)]
    qualities = [psnr(tiny_codec.decode(truncate(data, size=b)), picture) for b in bounds]
    assert qualities == sorted(qualities)
    assert len(set(qualities)) == len(bounds)


def test_a_partial_iteration_is_not_counted(tiny_codec: Codec, data: bytes) -> None:
    shorter = truncate(data, size=len(data) - 20)
    assert inspect(shorter).iterations == 2
    with pytest.raises(IterationsError):
        tiny_codec.decode(shorter, iterations=3)
    whole = tiny_codec.decode(shorter, iterations=2)
    assert whole.tobytes() == tiny_codec.decode(data, iterations=2).tobytes()
    assert whole.tobytes() != tiny_codec.decode(shorter).tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_codec.decode(shorter)


def test_metadata_and_transparency_count(tiny_codec: Codec, picture: Image.Image) -> None:
    transparent = picture.convert("RGBA")
    transparent.putalpha(Image.linear_gradient("L").resize(picture.size))
    whole = tiny_codec.encode(transparent)
    limit = len(truncate(whole, iterations=2))
    assert len(encode_to_target(tiny_codec, transparent, Target(size=limit))) == limit
    shorter = encode_to_target(tiny_codec, transparent, Target(size=limit - 20))
    assert limit - 20 - WORD_BYTES < len(shorter) <= limit - 20


def test_too_little_for_anything_names_the_least(
    tiny_codec: Codec, picture: Image.Image, data: bytes, sizes: list[int]
) -> None:
    too_little = Target(size=sizes[0] - 1)
    with pytest.raises(TargetError, match=f"the least is {sizes[0]} bytes"):
        encode_to_target(tiny_codec, picture, too_little)
    with pytest.raises(TargetError, match=f"the least is {sizes[0]} bytes"):
        too_little.cut_of(inspect(data))


# --- bounds on the quality -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "measure"), [("psnr", psnr), ("ms_ssim", ms_ssim)])
def test_a_file_is_as_short_as_its_quality_allows(
    tiny_codec: Codec,
    picture: Image.Image,
    data: bytes,
    sizes: list[int],
    name: str,
    measure: Callable[[Image.Image, Image.Image], float],
) -> None:
    def quality(file: bytes) -> float:
        return measure(tiny_codec.decode(file), picture)

    first, second, third = (quality(truncate(data, iterations=n)) for n in (1, 2, 3))
    assert first < second < third
    for least in (0.9 * first, first):
        encoded = encode_to_target(tiny_codec, picture, target_of(**{name: least}))
        assert encoded == truncate(data, iterations=1)
    for least in ((first + second) / 2, second, (second + third) / 2, third):
        encoded = encode_to_target(tiny_codec, picture, target_of(**{name: least}))
        assert quality(encoded) >= least
        assert encoded == truncate(data, size=len(encoded))
        words_less = truncate(data, size=len(encoded) - 8)
        assert quality(words_less) < least or len(words_less) == sizes[0]
    nearest = f"{third:.2f} dB" if name == "psnr" else f"{third:.4f}"
    with pytest.raises(TargetError, match=f"all 3 iterations give {nearest}"):
        encode_to_target(tiny_codec, picture, target_of(**{name: third + 1e-4}))


def test_ms_ssim_of_small_pictures_cannot_be_asked_for(
    tiny_codec: Codec, picture: Image.Image
) -> None:
    with pytest.raises(QualityError, match="161 pixels"):
        encode_to_target(tiny_codec, picture.crop((0, 0, 160, 200)), Target(ms_ssim=0.5))


def test_ms_ssim_without_its_library_says_what_to_install(
    tiny_codec: Codec, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_import = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name == "pytorch_msssim":
            raise ImportError(name)
        return real_import(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"rnnconv-codec\[eval\]"):
        encode_to_target(tiny_codec, picture, Target(ms_ssim=0.5))


# --- what can be asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds",
    [
        {"iterations": 1, "bpp": 1.0},
        {"psnr": 30.0, "ms_ssim": 0.9},
        {"bpp": 0.0},
        {"bpp": float("nan")},
        {"size": 0},
        {"psnr": -1.0},
        {"ms_ssim": 1.01},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_an_error(bounds: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        target_of(**bounds)


def test_a_file_does_not_tell_qualities(data: bytes) -> None:
    with pytest.raises(ArgumentError, match="quality"):
        Target(psnr=30).cut_of(inspect(data))
    with pytest.raises(ArgumentError, match="needs"):
        truncate(data)
    for wrong in (0, 4):
        with pytest.raises(IterationsError):
            truncate(data, iterations=wrong)
    assert WHOLE.cut_of(inspect(data)) == Cut(3)


def test_the_library_takes_targets(
    picture: Image.Image, data: bytes, sizes: list[int], tiny_weights: Path
) -> None:
    encoded = rnnconv_codec.encode(picture, size=sizes[1] + 90, weights=tiny_weights)
    assert encoded == truncate(data, size=sizes[1] + 90)
    decoded = rnnconv_codec.decode(data, size=sizes[1] + 90, weights=tiny_weights)
    assert decoded.tobytes() == rnnconv_codec.decode(encoded, weights=tiny_weights).tobytes()


# --- on the command line ---------------------------------------------------------------------


def run(*arguments: str | Path) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Image.Image, data: bytes
) -> Path:
    monkeypatch.chdir(tmp_path)
    picture.save(tmp_path / "a.png")
    (tmp_path / "whole.rnc").write_bytes(data)
    return tmp_path


def test_commands_meet_the_bound_alike(folder: Path, sizes: list[int], tiny_weights: Path) -> None:
    bound = f"{(sizes[1] + 91) / 1000}k"
    model = ("--weights", tiny_weights, "--threads", "1")
    assert run("encode", "a.png", "--size", bound, *model).exit_code == 0
    assert run("truncate", "whole.rnc", "--size", bound).exit_code == 0
    assert (folder / "a.rnc").read_bytes() == (folder / "whole.3.rnc").read_bytes()
    assert run("decode", "whole.rnc", "--size", bound, "-o", "b.png", *model).exit_code == 0
    assert run("decode", "a.rnc", "-o", "c.png", *model).exit_code == 0
    assert (folder / "b.png").read_bytes() == (folder / "c.png").read_bytes()


def test_an_encoded_file_is_good_enough(folder: Path, tiny_weights: Path) -> None:
    result = run("encode", "a.png", "--psnr", "15", "--weights", tiny_weights, "--threads", "1")
    assert result.exit_code == 0
    assert inspect((folder / "a.rnc").read_bytes()).iterations < 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [("40000", 40_000), ("40k", 40_000), ("1.5M", 1_500_000), ("1.1m", 1_100_000), (".5K", 500)],
)
def test_sizes_have_units(size: str, expected: int, folder: Path) -> None:
    result = run("truncate", "whole.rnc", "--size", size, "-o", "b.rnc")
    fits = len((folder / "whole.rnc").read_bytes()) <= expected
    assert (result.exit_code == 0) == (fits or expected >= 500)


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "a.png", "--size", "40k", "--bpp", "1"),
        ("encode", "a.png", "--psnr", "30", "--iterations", "1"),
        ("encode", "a.png", "--size", "0"),
        ("encode", "a.png", "--size", "40 kB"),
        ("encode", "a.png", "--size", "-5"),
        ("encode", "a.png", "--bpp", "0"),
        ("encode", "a.png", "--ms-ssim", "1.5"),
        ("decode", "whole.rnc", "--bpp", "1", "--size", "5"),
        ("decode", "whole.rnc", "--size", "5"),
        ("truncate", "whole.rnc"),
        ("truncate", "whole.rnc", "--size", "5"),
        ("truncate", "whole.rnc", "--psnr", "30"),
    ],
    ids=" ".join,
)
def test_bounds_that_cannot_be_met_are_wrong_usage(
    arguments: tuple[str, ...], folder: Path
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "whole.rnc"]
