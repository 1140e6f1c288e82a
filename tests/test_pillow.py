"""Pillow opens and saves `.rnc` files."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

import rnnconv_codec
from rnnconv_codec import weights
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import (
    MAX_DIMENSION,
    MODEL_ID_BYTES,
    Container,
    Header,
    PixelMode,
    inspect,
    write_container,
)
from rnnconv_codec.errors import (
    ArgumentError,
    ImageFormatError,
    ImageSizeError,
    IterationsError,
    TargetError,
    TruncatedFileWarning,
)
from rnnconv_codec.images import open_image
from rnnconv_codec.pillow import RncImageFile

Photograph = Callable[[str], Image.Image]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tiny_weights: Path) -> None:
    """Let the tiny model be the installed weights."""
    monkeypatch.setattr(weights, "search_folders", lambda: [tiny_weights.parent])
    monkeypatch.setattr(weights, "DEFAULT_WEIGHTS", tiny_weights.stem)


@pytest.fixture
def picture(photograph: Photograph) -> Image.Image:
    image = photograph("coffee").crop((100, 80, 190, 141))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    image.info["exif"] = exif.tobytes()
    return image


@pytest.fixture
def data(tiny_codec: Codec, picture: Image.Image) -> bytes:
    return tiny_codec.encode(picture)


def opened(data: bytes) -> RncImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, RncImageFile)
    return image


def test_a_saved_file_is_what_the_codec_writes(
    picture: Image.Image, data: bytes, tmp_path: Path
) -> None:
    picture.save(tmp_path / "a.rnc")
    assert (tmp_path / "a.rnc").read_bytes() == data
    stream = io.BytesIO()
    picture.save(stream, "RNC", iterations=2)
    assert stream.getvalue() == rnnconv_codec.truncate(data, iterations=2)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.ConversionWarning")
def test_an_opened_file_is_what_the_codec_decodes(
    tiny_codec: Codec, picture: Image.Image, mode: str
) -> None:
    data = tiny_codec.encode(picture.convert(mode))
    image = opened(data)
    decoded = tiny_codec.decode(data)
    assert (image.format, image.mode, image.size) == ("RNC", mode, picture.size)
    assert image.get_format_mimetype() == "image/x-rnc"
    assert image.tobytes() == decoded.tobytes()


def test_metadata_are_there_before_the_pixels_and_travel_on(
    picture: Image.Image, data: bytes, tmp_path: Path
) -> None:
    image = opened(data)
    assert image.info["icc_profile"] == picture.info["icc_profile"]
    assert image.getexif()[ExifTags.Base.Make] == "Maker"
    image.save(tmp_path / "again.rnc")
    again = inspect((tmp_path / "again.rnc").read_bytes())
    assert set(again.metadata_bytes) == {"icc", "exif", "alpha"}


def test_size_and_mode_need_no_torch(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.rnc").write_bytes(data)
    script = (
        "import sys, rnnconv_codec\n"
        "from PIL import Image\n"
        "image = Image.open('a.rnc')\n"
        "print(image.size, image.mode, image.iterations, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(90, 61) RGBA 3 False\n"


def test_fewer_iterations_can_be_chosen_before_loading(tiny_codec: Codec, data: bytes) -> None:
    image = opened(data)
    image.choose(iterations=1)
    assert image.tobytes() == tiny_codec.decode(data, iterations=1).tobytes()
    with pytest.raises(OSError, match="loaded already"):
        image.choose(iterations=2)
    for wrong in (0, 4):
        with pytest.raises(IterationsError):
            opened(data).choose(iterations=wrong)


def test_weights_can_be_chosen(
    data: bytes, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "search_folders", list)
    with pytest.raises(OSError, match="no weights"):
        opened(data).load()
    image = opened(data)
    image.choose(weights=tiny_weights)
    assert image.getpixel((0, 0)) is not None


def test_a_cut_file_is_a_coarser_picture_with_a_warning(tiny_codec: Codec, data: bytes) -> None:
    with pytest.warns(TruncatedFileWarning):
        image = opened(data[:-1])
        image.load()
    assert image.iterations == 2
    assert image.tobytes() == tiny_codec.decode(data, iterations=2).tobytes()


def test_damaged_files_are_errors_as_of_any_other_image(data: bytes) -> None:
    damaged = bytearray(data)
    damaged[30] ^= 1
    with pytest.raises(OSError, match=r"damaged \.rnc file"):
        Image.open(io.BytesIO(bytes(damaged)))
    with pytest.raises(OSError, match="damaged"):
        Image.open(io.BytesIO(data[:30]))


def test_pillows_guard_against_bombs_holds_as_for_any_other_format(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = 90 * 61
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(data).load()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        opened(data).load()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels // 2 - 1)
    with pytest.raises(Image.DecompressionBombError):
        opened(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    opened(data).load()


def test_pixels_above_the_limit_are_not_loaded(data: bytes, picture: Image.Image) -> None:
    image = opened(data)
    image.choose(max_pixels=90 * 61 - 1)
    with pytest.raises(OSError, match="the limit is 5489"):
        image.load()
    image.choose(max_pixels=90 * 61)
    image.load()
    with pytest.raises(ImageSizeError):
        picture.save(io.BytesIO(), "RNC", max_pixels=90 * 61 - 1)


def test_the_default_limit_is_that_of_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    """As wide and high as the format allows, with a body of some bytes: nothing is allocated."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    header = Header(MAX_DIMENSION, MAX_DIMENSION, PixelMode.RGB, 1, bytes(MODEL_ID_BYTES))
    image = opened(write_container(Container(header, (b"",))))
    monkeypatch.setattr(weights, "find_by_model_id", lambda _: None)
    with pytest.raises(OSError, match="the limit is 100000000"):
        image.load()


def test_a_bound_is_met_as_by_truncate(data: bytes, picture: Image.Image) -> None:
    pixels = picture.width * picture.height
    for size in (len(data), len(data) - 30, len(data) - 100):
        stream = io.BytesIO()
        picture.save(stream, "RNC", bpp=8 * (size + 0.5) / pixels)
        assert stream.getvalue() == rnnconv_codec.truncate(data, size=size)


def test_a_file_that_ends_inside_an_iteration_opens_whole(tiny_codec: Codec, data: bytes) -> None:
    shorter = rnnconv_codec.truncate(data, size=len(data) - 30)
    image = opened(shorter)
    assert image.iterations == 2
    assert image.tobytes() == tiny_codec.decode(shorter).tobytes()


def test_a_bound_that_cannot_be_met_names_the_least(data: bytes, picture: Image.Image) -> None:
    least = len(rnnconv_codec.truncate(data, iterations=1))
    with pytest.raises(TargetError, match=f"{least} bytes"):
        picture.save(io.BytesIO(), "RNC", bpp=0.01)


def test_options_are_those_of_the_codec(tiny_codec: Codec, picture: Image.Image) -> None:
    stream = io.BytesIO()
    picture.save(stream, "RNC", alpha="drop", strip=["exif"], icc_profile=None, xmp=b"<xmp/>")
    assert set(inspect(stream.getvalue()).metadata_bytes) == {"xmp"}
    with pytest.raises(ArgumentError):
        picture.save(io.BytesIO(), "RNC", alpha="nonsense")


def test_a_failed_save_leaves_no_file(picture: Image.Image, tmp_path: Path) -> None:
    with pytest.raises(IterationsError):
        picture.save(tmp_path / "a.rnc", iterations=99)
    assert list(tmp_path.iterdir()) == []


def test_pillow_can_work_with_an_opened_file(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = opened(data)
        image.thumbnail((20, 20))
        assert max(image.size) == 20
        assert np.asarray(opened(data).convert("L")).shape == (61, 90)


def test_the_codec_does_not_encode_its_own_files_by_mistake(data: bytes) -> None:
    with pytest.raises(ImageFormatError, match=r"is an \.rnc file already"):
        open_image(data)
