"""Pictures in and out: modes, orientation, depth, limits, metadata."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from skimage import data

from rnnconv_codec import images
from rnnconv_codec.container import MAX_DIMENSION, Metadata
from rnnconv_codec.errors import (
    ConversionWarning,
    ImageFormatError,
    ImageSizeError,
    InputFileError,
    RnncodecError,
)
from rnnconv_codec.images import (
    attach_metadata,
    extract_metadata,
    format_for,
    image_bytes,
    open_image,
    to_codec_mode,
)

ORIENTATION = ExifTags.Base.Orientation
METADATA_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"'
    b' dc:title="caf\xc3\xa9"/></x:xmpmeta>'
)


def photograph() -> Image.Image:
    return Image.fromarray(data.astronaut()[:96, 150:280])


def file_of(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def exif_with(orientation: int, order: str | None = None) -> bytes:
    exif = Image.Exif()
    if order is not None:
        exif.endian = order
    exif[ORIENTATION] = orientation
    exif[ExifTags.Base.Make] = "Camera & Sons"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 400
    return exif.tobytes()


def icc_profile(space: str = "sRGB") -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]


def icc_for(signature: bytes) -> bytes:
    profile = bytearray(icc_profile())
    profile[16:20] = signature
    return bytes(profile)


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


@contextmanager
def no_notice() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- modes -----------------------------------------------------------------------------------


def test_rgb_and_grey_pictures_stay_as_they_are() -> None:
    for image in (photograph(), photograph().convert("L")):
        with no_notice():
            converted = to_codec_mode(image)
        assert converted.mode == image.mode
        assert np.array_equal(pixels(converted), pixels(image))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("1", "L"),
        ("L", "L"),
        ("LA", "L"),
        ("La", "L"),
        ("I", "L"),
        ("F", "L"),
        ("I;16", "L"),
        ("I;16B", "L"),
        ("I;16L", "L"),
        ("P", "RGB"),
        ("PA", "RGB"),
        ("RGB", "RGB"),
        ("RGBX", "RGB"),
        ("RGBA", "RGB"),
        ("RGBa", "RGB"),
        ("CMYK", "RGB"),
        ("YCbCr", "RGB"),
        ("LAB", "RGB"),
        ("HSV", "RGB"),
    ],
)
@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.ConversionWarning")
def test_every_pillow_mode_is_converted(mode: str, expected: str) -> None:
    converted = to_codec_mode(Image.new(mode, (5, 3)))
    assert converted.mode == expected
    assert converted.size == (5, 3)


@pytest.mark.parametrize("mode", ["P", "YCbCr", "HSV", "RGBX"])
def test_other_ways_to_store_rgb_need_no_notice(mode: str) -> None:
    image = photograph().convert(mode)
    with no_notice():
        converted = to_codec_mode(image)
    assert np.array_equal(pixels(converted), pixels(image.convert("RGB")))


def test_a_bitmap_becomes_black_and_white() -> None:
    image = photograph().convert("1")
    assert set(np.unique(pixels(to_codec_mode(image)))) == {0, 255}


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_a_conversion_that_changes_colours_has_a_notice(mode: str) -> None:
    image = Image.new(mode, (4, 4))
    with pytest.warns(ConversionWarning, match=mode):
        to_codec_mode(image)


def test_the_original_image_is_not_changed() -> None:
    image = photograph().convert("RGBA")
    image.putalpha(Image.new("L", image.size, 77))
    image.info["exif"] = exif_with(6)
    before = image.tobytes(), image.size, dict(image.info)
    with pytest.warns(ConversionWarning):
        to_codec_mode(image)
    assert (image.tobytes(), image.size, image.info) == before


# --- transparency ----------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "opaque_mode"), [("RGBA", "RGB"), ("LA", "L")])
def test_transparency_is_put_on_white_with_a_notice(mode: str, opaque_mode: str) -> None:
    image = photograph().convert(opaque_mode)
    alpha = np.full(image.size[::-1], 255, np.uint8)
    alpha[:, :10] = 0
    alpha[:, 10:20] = 128
    with_alpha = image.convert(mode)
    with_alpha.putalpha(Image.fromarray(alpha))
    with pytest.warns(ConversionWarning, match="white"):
        converted = to_codec_mode(with_alpha)
    assert converted.mode == opaque_mode
    result, source = pixels(converted).astype(int), pixels(image).astype(int)
    assert (result[:, :10] == 255).all()
    assert np.abs(result[:, 10:20] - (source[:, 10:20] * 128 + 255 * 127) / 255).max() <= 1
    assert np.array_equal(result[:, 20:], source[:, 20:])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_loses_nothing_and_needs_no_notice(mode: str) -> None:
    image = photograph().convert(mode)
    with no_notice():
        converted = to_codec_mode(image)
    assert np.array_equal(pixels(converted), pixels(image.convert(converted.mode)))


def test_a_transparent_palette_entry_is_put_on_white() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 200, 30, 30])
    image.putpixel((0, 0), 0)
    with pytest.warns(ConversionWarning, match="white"):
        converted = to_codec_mode(open_image(file_of(image, transparency=0)))
    assert converted.getpixel((0, 0)) == (255, 255, 255)
    assert converted.getpixel((1, 0)) == (200, 30, 30)


def test_a_transparent_colour_of_an_rgb_png_is_put_on_white() -> None:
    image = Image.new("RGB", (3, 1), (9, 8, 7))
    image.putpixel((1, 0), (100, 0, 0))
    with pytest.warns(ConversionWarning, match="white"):
        converted = to_codec_mode(open_image(file_of(image, transparency=(9, 8, 7))))
    assert [converted.getpixel((x, 0)) for x in range(3)] == [
        (255, 255, 255),
        (100, 0, 0),
        (255, 255, 255),
    ]


# --- depth -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_sixteen_bits_are_scaled_and_not_clipped(dtype: type[np.generic]) -> None:
    deep = (pixels(photograph().convert("L")).astype(np.int64) * 257).astype(dtype)
    with pytest.warns(ConversionWarning, match="8 bits"):
        converted = to_codec_mode(Image.fromarray(deep))
    assert np.array_equal(pixels(converted), deep // 257)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_sixteen_bit_file_is_scaled(format: str) -> None:
    ramp = np.linspace(0, 65535, 300).astype(np.uint16).reshape(3, 100)
    with pytest.warns(ConversionWarning, match="8 bits"):
        converted = to_codec_mode(open_image(file_of(Image.fromarray(ramp), format)))
    assert np.array_equal(pixels(converted), np.rint(ramp / 257).astype(np.uint8))


def png_of_16_bits(colour_type: int, samples: NDArray[np.uint16]) -> bytes:
    """A PNG with 16 bits per channel: Pillow reads them but does not write them."""

    def chunk(name: bytes, payload: bytes) -> bytes:
        crc = zlib.crc32(name + payload).to_bytes(4, "big")
        return len(payload).to_bytes(4, "big") + name + payload + crc

    height, width = samples.shape[:2]
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + bytes([16, colour_type, 0, 0, 0]))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_sixteen_bit_colour_png_is_reduced_with_a_notice() -> None:
    colours = pixels(photograph()).astype(np.uint16) * 257
    with pytest.warns(ConversionWarning, match="16 bits"):
        image = open_image(png_of_16_bits(2, colours))
    assert np.array_equal(pixels(to_codec_mode(image)), pixels(photograph()))


def test_a_sixteen_bit_grey_png_with_alpha_stays_grey() -> None:
    samples = np.full((2, 3, 2), 65535, np.uint16)
    samples[..., 0] = 100 * 257
    with pytest.warns(ConversionWarning, match="16 bits"):
        converted = to_codec_mode(open_image(png_of_16_bits(4, samples)))
    assert converted.mode == "L"
    assert (pixels(converted) == 100).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([-7.0, -7.0, -7.0], [0, 0, 0]),
    ],
)
@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.ConversionWarning")
def test_floating_point_pixels_are_scaled_by_their_range(
    values: list[float], expected: list[int]
) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert pixels(to_codec_mode(image))[0].tolist() == expected


def test_pixels_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ImageFormatError, match="finite"):
        to_codec_mode(Image.fromarray(np.array([[0.5, np.nan]], np.float32)))


# --- orientation and frames ------------------------------------------------------------------


def stored_for(orientation: int, upright: Image.Image) -> Image.Image:
    """The pixels that a camera stores so that `orientation` makes them upright."""
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    return upright if inverse is None else upright.transpose(inverse)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_exactly_once(format: str, orientation: int) -> None:
    upright = photograph()
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    stored = stored_for(orientation, upright)
    content = file_of(stored, format, exif=exif_with(orientation), **options)
    opened = open_image(content)
    assert np.array_equal(pixels(opened), pixels(upright))
    assert np.array_equal(pixels(to_codec_mode(opened)), pixels(upright))
    again = open_image(image_bytes(to_codec_mode(opened), "PNG"))
    assert np.array_equal(pixels(again), pixels(upright))


def test_an_image_that_was_opened_by_pillow_is_turned_too() -> None:
    upright = photograph()
    content = file_of(stored_for(6, upright), exif=exif_with(6))
    with Image.open(io.BytesIO(content)) as image:
        converted = to_codec_mode(image)
        metadata = extract_metadata(image)
    assert np.array_equal(pixels(converted), pixels(upright))
    assert metadata.exif is not None
    assert orientation_in(metadata.exif) == 1


def orientation_in(exif: bytes) -> int:
    loaded = Image.Exif()
    loaded.load(exif)
    return int(loaded.get(ORIENTATION, 1))


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_the_first_is_kept_with_a_notice(format: str) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    content = file_of(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.warns(ConversionWarning, match="first of 3 frames"):
        opened = open_image(content)
    with no_notice():
        converted = to_codec_mode(opened)
    red = np.array([255, 0, 0])
    assert np.abs(pixels(converted).astype(int) - red).max() <= 2


# --- limits and bad input --------------------------------------------------------------------


def test_an_image_above_the_pixel_limit_is_refused() -> None:
    content = file_of(Image.new("L", (100, 50)))
    assert open_image(content, max_pixels=5000).size == (100, 50)
    with pytest.raises(ImageSizeError, match="5000 pixels, the limit is 4999"):
        open_image(content, max_pixels=4999)


def test_a_small_file_with_gigantic_dimensions_is_refused_before_it_is_decoded() -> None:
    content = bytearray(file_of(Image.new("L", (1, 1))))
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageSizeError):
        open_image(bytes(content))


def test_between_pillows_limit_and_ours_there_is_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with no_notice():
        assert open_image(file_of(Image.new("L", (100, 50)))).size == (100, 50)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (MAX_DIMENSION + 1, 1), (1, MAX_DIMENSION + 1)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageSizeError):
        to_codec_mode(Image.new("L", size))


def test_the_smallest_image_is_fine() -> None:
    assert to_codec_mode(open_image(file_of(Image.new("RGB", (1, 1))))).size == (1, 1)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_not_an_image_is_a_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ImageFormatError, match=r"bad\.png"):
        open_image(path)


def test_a_missing_file_and_a_folder_are_clear_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(InputFileError):
            open_image(path)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_a_cut_image_is_an_error_and_not_half_a_picture(format: str) -> None:
    content = file_of(photograph(), format)
    with pytest.raises(ImageFormatError):
        open_image(content[: len(content) // 2])


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF"]), st.data())
def test_damaged_images_raise_nothing_but_our_own_errors(format: str, draw: st.DataObject) -> None:
    content = bytearray(file_of(photograph().resize((20, 12)), format, exif=exif_with(6)))
    for _ in range(draw.draw(st.integers(1, 4))):
        position = draw.draw(st.integers(0, len(content) - 1))
        content[position] = draw.draw(st.integers(0, 255))
    try:
        converted = to_codec_mode(open_image(bytes(content), max_pixels=10_000))
    except RnncodecError:
        return
    assert converted.mode in ("RGB", "L")


def test_memory_errors_are_not_called_bad_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "_plain_upright", exhausted)
    with pytest.raises(MemoryError):
        open_image(file_of(photograph()))


# --- metadata --------------------------------------------------------------------------------


@pytest.mark.parametrize("source_format", METADATA_FORMATS)
@pytest.mark.parametrize("target_format", METADATA_FORMATS)
def test_metadata_travel_from_format_to_format(source_format: str, target_format: str) -> None:
    upright_xmp = XMP.replace(b'"6"', b'"1"')
    original = Metadata(icc=icc_profile(), exif=exif_with(1), xmp=upright_xmp)
    content = image_bytes(photograph(), source_format, original)
    with no_notice():
        converted = to_codec_mode(open_image(content))
        again = open_image(image_bytes(converted, target_format))
    found = extract_metadata(again)
    assert found.icc == original.icc
    assert found.xmp == upright_xmp
    exif = again.getexif()
    assert exif[ExifTags.Base.Make] == "Camera & Sons"
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] == 400


@pytest.mark.parametrize("order", ["<", ">"])
def test_of_exif_only_the_orientation_changes(order: str) -> None:
    stored = exif_with(6, order).removeprefix(b"Exif\0\0")
    kept = extract_metadata(open_image(file_of(photograph(), exif=exif_with(6, order)))).exif
    assert kept is not None
    assert orientation_in(kept) == 1
    differing = [index for index, (a, b) in enumerate(zip(stored, kept, strict=True)) if a != b]
    assert len(differing) == 1


def test_orientation_is_reset_in_xmp() -> None:
    image = photograph()
    image.info["xmp"] = XMP + b"<tiff:Orientation>8</tiff:Orientation>"
    assert extract_metadata(image).xmp == (
        XMP.replace(b'"6"', b'"1"') + b"<tiff:Orientation>1</tiff:Orientation>"
    )


def test_the_tags_that_describe_a_tiff_file_itself_are_not_kept() -> None:
    opened = open_image(file_of(photograph(), "TIFF", exif=exif_with(1)))
    exif = opened.getexif()
    assert exif[ExifTags.Base.Make] == "Camera & Sons"
    assert ExifTags.Base.StripOffsets not in exif
    assert ExifTags.Base.ImageWidth not in exif


def test_damaged_exif_is_left_out_with_a_notice_and_the_picture_stays() -> None:
    content = file_of(photograph(), exif=b"Exif\0\0nonsense")
    with pytest.warns(ConversionWarning, match="EXIF"):
        opened = open_image(content)
    assert np.array_equal(pixels(opened), pixels(photograph()))
    assert extract_metadata(opened) == Metadata()


@given(st.binary(max_size=64), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0"]))
@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.ConversionWarning")
def test_no_exif_makes_extraction_fail(tail: bytes, start: bytes) -> None:
    image = Image.new("L", (2, 2))
    image.info["exif"] = start + tail
    kept = extract_metadata(image).exif
    assert kept is None or len(kept) == len(start + tail)


@pytest.mark.parametrize(
    ("mode", "space", "kept"),
    [
        ("RGB", b"RGB ", True),
        ("L", b"GRAY", True),
        ("P", b"RGB ", True),
        ("RGB", b"GRAY", False),
        ("L", b"RGB ", False),
        ("CMYK", b"CMYK", False),
        ("LAB", b"Lab ", False),
    ],
)
def test_an_icc_profile_is_kept_only_if_it_fits(mode: str, space: bytes, kept: bool) -> None:
    image = Image.new(mode, (2, 2))
    image.info["icc_profile"] = icc_for(space)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        found = extract_metadata(image)
    assert (found.icc is not None) == kept
    assert len(notices) == (0 if kept else 1)


def test_a_damaged_icc_profile_is_left_out() -> None:
    image = photograph()
    image.info["icc_profile"] = b"not a profile"
    with pytest.warns(ConversionWarning, match="damaged"):
        assert extract_metadata(image).icc is None


def cmyk_profile(ink_to_lab: Callable[[NDArray[np.int64]], tuple[int, int, int]]) -> bytes:
    """An ICC profile of a printer: a table of the 16 full or absent inks -> 8-bit L*a*b*."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    table = bytes(value for inks in corners for value in ink_to_lab(inks))
    matrix = b"".join(
        struct.pack(">i", 65536 * (row == column)) for row, column in np.ndindex(3, 3)
    )
    ramp = bytes(range(256))
    tags = {
        b"A2B0": b"mft1\0\0\0\0\4\3\2\0" + matrix + ramp * 4 + table + ramp * 3,
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061),
        b"cprt": b"text\0\0\0\0none\0",
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78),
    }
    offset = 128 + 4 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        directory += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    header[8:24] = b"\x02\x40\0\0prtrCMYKLab "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">iii", 63190, 65536, 54061)
    header[0:4] = struct.pack(">I", len(header) + len(directory) + len(body))
    return bytes(header) + directory + body


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_its_own_profile(format: str) -> None:
    def print_red_for_cyan(inks: NDArray[np.int64]) -> tuple[int, int, int]:
        cyan, _, _, black = inks
        return (0, 128, 128) if black else (140, 200, 190) if cyan else (255, 128, 128)

    profile = cmyk_profile(print_red_for_cyan)
    content = file_of(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), format, icc_profile=profile)
    with pytest.warns(ConversionWarning) as notices:
        converted = to_codec_mode(open_image(content))
    red, green, blue = pixels(converted)[8, 8].astype(int)
    assert red > 180 and green < 110 and blue < 110
    assert [str(notice.message) for notice in notices] == ["CMYK colours are converted to sRGB"]
    assert "icc_profile" not in converted.info


def test_a_cmyk_profile_that_cannot_be_used_has_one_notice_only() -> None:
    image = Image.new("CMYK", (2, 2))
    content = file_of(image, "JPEG", icc_profile=icc_for(b"CMYK"))
    with pytest.warns(ConversionWarning, match="profile cannot be used"):
        opened = open_image(content)
    with no_notice():
        converted = to_codec_mode(opened)
    assert "icc_profile" not in converted.info


def test_lab_is_converted_as_colorimetry_says() -> None:
    srgb = ImageCms.createProfile("sRGB")
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    image = ImageCms.profileToProfile(photograph(), srgb, lab, outputMode="LAB")
    assert image is not None
    with pytest.warns(ConversionWarning, match="LAB"):
        converted = to_codec_mode(image)
    assert np.abs(pixels(converted).astype(int) - pixels(photograph())).mean() < 2


def test_attached_metadata_are_those_extracted() -> None:
    metadata = Metadata(
        icc=icc_profile(), exif=exif_with(1).removeprefix(b"Exif\0\0"), xmp=b"<xmp/>"
    )
    image = photograph()
    attach_metadata(image, metadata)
    assert extract_metadata(image) == metadata
    assert image.getexif()[ExifTags.Base.Make] == "Camera & Sons"


# --- output ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP", "PPM", "TGA"])
def test_lossless_formats_give_the_same_pixels_back(format: str, mode: str) -> None:
    image = photograph().convert(mode)
    again = to_codec_mode(open_image(image_bytes(image, format)))
    assert np.array_equal(pixels(again.convert(mode)), pixels(image))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "TGA"])
def test_formats_with_transparency_keep_it_and_the_colours_under_it(format: str, mode: str) -> None:
    image = photograph().convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    with no_notice():
        again = open_image(image_bytes(image, format))
    assert again.mode == ("RGBA" if format == "WEBP" else mode)
    assert np.array_equal(pixels(again.convert(mode)), pixels(image))


@pytest.mark.parametrize("format", ["JPEG", "BMP", "PPM"])
def test_formats_without_transparency_get_white_with_a_notice(format: str) -> None:
    image = Image.new("RGBA", (16, 16), (200, 0, 0, 0))
    with pytest.warns(ConversionWarning, match=f"{format} cannot hold transparency"):
        again = open_image(image_bytes(image, format))
    assert again.mode == "RGB"
    assert pixels(again).min() > 250
    image.putalpha(255)
    with no_notice():
        assert pixels(open_image(image_bytes(image, format)))[..., 1].max() < 10


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_background_that_was_asked_for_has_no_notice(format: str) -> None:
    image = Image.new("LA", (16, 16), (200, 0))
    with no_notice():
        again = open_image(image_bytes(image, format, background="#00ff00"))
    assert again.mode == "RGB"
    assert np.abs(pixels(again).astype(int) - [0, 255, 0]).max() < 10


def test_jpeg_output_is_close_and_keeps_fine_colours() -> None:
    image = photograph()
    again = open_image(image_bytes(image, "JPEG"))
    error = pixels(again).astype(float) - pixels(image)
    assert np.sqrt(np.mean(error**2)) < 4


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.png", "PNG"), ("a.JPG", "JPEG"), ("b.c.webp", "WEBP"), ("x.tif", "TIFF")],
)
def test_the_ending_chooses_the_format(name: str, format: str) -> None:
    assert format_for(Path("folder") / name) == format


@pytest.mark.parametrize("name", ["a", "a.rnc", "a.xyz", "a.png.bak", ".png"])
def test_an_unknown_ending_is_an_error_that_names_the_known_ones(name: str) -> None:
    with pytest.raises(ImageFormatError, match=r"\.png"):
        format_for(name)


def test_an_unknown_format_is_an_error() -> None:
    with pytest.raises(ImageFormatError, match="NONSENSE"):
        image_bytes(photograph(), "NONSENSE")


@pytest.mark.parametrize("format", ["BMP", "PPM", "TGA"])
def test_metadata_that_a_format_cannot_hold_have_a_notice(format: str) -> None:
    with pytest.warns(ConversionWarning, match="ICC and XMP"):
        image_bytes(photograph(), format, Metadata(icc=icc_profile(), xmp=XMP))


def test_metadata_too_long_for_jpeg_have_a_notice_and_the_picture_is_written() -> None:
    long = Metadata(exif=exif_with(1) + bytes(70_000), xmp=bytes(70_000))
    with pytest.warns(ConversionWarning, match="EXIF and XMP"):
        content = image_bytes(photograph(), "JPEG", long)
    assert open_image(content).size == photograph().size


def test_metadata_that_cannot_be_written_do_not_cost_the_picture() -> None:
    resolution_as_text = struct.pack(
        "<4sIHHHI4sI", b"II*\0", 8, 1, ExifTags.Base.XResolution, 2, 4, b"abc\0", 0
    )
    with pytest.warns(ConversionWarning, match="metadata"):
        content = image_bytes(photograph(), "TIFF", Metadata(exif=resolution_as_text))
    assert np.array_equal(pixels(open_image(content)), pixels(photograph()))


def test_a_picture_that_a_format_cannot_hold_is_an_error() -> None:
    with pytest.raises(ImageFormatError, match="BMP"):
        image_bytes(Image.new("F", (2, 2)), "BMP")


def test_empty_metadata_write_nothing() -> None:
    image = photograph()
    attach_metadata(image, Metadata(icc=icc_profile(), exif=exif_with(1), xmp=XMP))
    for target in METADATA_FORMATS:
        found = extract_metadata(open_image(image_bytes(image, target, Metadata())))
        assert (found.icc, found.xmp) == (None, None)
        assert found.exif is None or target == "TIFF"  # a TIFF always has a resolution
