"""Transparency: kept bit for bit, in few bytes, and never unpacked to more than the picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

import rnnconv_codec
from fuzz.chunks import PngChunk, join_png
from rnnconv_codec.alpha import decode_alpha, encode_alpha
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect
from rnnconv_codec.errors import AlphaChunkError, ArgumentError

Photograph = Callable[[str], Image.Image]
Plane = NDArray[np.uint8]

planes = arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def matte(size: tuple[int, int]) -> Plane:
    """A disc with a soft edge: nothing, something and everything."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - width / 2, y - height / 2)
    values: Plane = np.clip(255 * (min(size) / 2.5 - distance) / 8 + 128, 0, 255).astype(np.uint8)
    return values


def png_of(values: Plane) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


# --- the coding ------------------------------------------------------------------------------


@given(planes)
def test_a_plane_comes_back_bit_for_bit(values: Plane) -> None:
    plane = Image.fromarray(values)
    assert np.array_equal(np.asarray(decode_alpha(encode_alpha(plane), plane.size)), values)


@pytest.mark.parametrize(
    "payload",
    [
        "524946462e000000574542505650384c210000002f024000001f201048e19327202858de750141c1"
        "f2aecf7f547f00f8014e44ff2300",
        "89504e470d0a1a0a0000000d4948445200000003000000020800000000b81f39c600000010494441"
        "54789c636068f8cff09f9101000b0202806a4f005c0000000049454e44ae426082",
    ],
)
def test_payloads_of_old_files_are_read(payload: str) -> None:
    plane = decode_alpha(bytes.fromhex(payload), (3, 2))
    assert np.asarray(plane).tolist() == [[0, 128, 255], [255, 1, 0]]


@pytest.mark.parametrize("size", [(16384, 2), (2, 16384), (65535, 1)])
def test_sides_too_long_for_webp_come_back_too(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).integers(0, 2, size[::-1], np.uint8) * 255
    payload = encode_alpha(Image.fromarray(values))
    assert payload.startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(decode_alpha(payload, size)), values)


def test_what_is_opaque_or_a_matte_costs_little(photograph: Photograph) -> None:
    assert len(encode_alpha(Image.new("L", (512, 512), 255))) < 64
    values = matte((512, 512))
    assert len(encode_alpha(Image.fromarray(values))) < len(png_of(values))


@pytest.mark.parametrize("payload", [b"", b"\0", b"RIFF", b"RIFF\0\0\0\0WEBPVP8L", b"\x89PNG\r\n"])
def test_an_unknown_coding_is_an_error(payload: bytes) -> None:
    with pytest.raises(AlphaChunkError, match="unknown coding"):
        decode_alpha(payload, (1, 1))


def test_other_kinds_of_the_two_formats_are_refused() -> None:
    image = Image.new("RGB", (3, 3))
    for name, options in (("PNG", {}), ("WEBP", {"lossless": False}), ("GIF", {})):
        stream = io.BytesIO()
        image.save(stream, name, **options)
        with pytest.raises(AlphaChunkError, match="unknown coding"):
            decode_alpha(stream.getvalue(), (3, 3))


def test_another_size_than_the_pictures_is_refused_before_anything_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unpack(*_: object, **__: object) -> None:
        raise AssertionError("it was unpacked")

    payloads = [encode_alpha(Image.new("L", (9, 7))), png_of(np.zeros((7, 9), np.uint8))]
    monkeypatch.setattr(Image, "open", unpack)
    for payload in payloads:
        with pytest.raises(AlphaChunkError, match=r"9x7 pixels, the picture 7x9"):
            decode_alpha(payload, (7, 9))


@pytest.mark.parametrize(("side", "colour_type"), [(2000, 0), (24, 2)], ids=["larger", "in colour"])
def test_a_second_header_of_a_png_is_refused_before_anything_is_unpacked(
    monkeypatch: pytest.MonkeyPatch, side: int, colour_type: int
) -> None:
    def unpack(*_: object) -> None:
        raise AssertionError("it was unpacked")

    headers = [(24, 0), (side, colour_type)]
    chunks = [
        PngChunk(b"IHDR", struct.pack(">IIBBBBB", width, width, 8, kind, 0, 0, 0))
        for width, kind in headers
    ]
    payload = join_png([*chunks, PngChunk(b"IDAT", b""), PngChunk(b"IEND", b"")])
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", unpack)
    with pytest.raises(AlphaChunkError, match="contradicts itself"):
        decode_alpha(payload, (24, 24))


def test_a_png_that_unpacks_to_more_than_it_declares_stops_at_the_picture() -> None:
    bomb = join_png(
        [
            PngChunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)),
            PngChunk(b"IDAT", zlib.compress(bytes(50_000_000), 9)),
            PngChunk(b"IEND", b""),
        ]
    )
    assert decode_alpha(bomb, (2, 2)).size == (2, 2)


@given(planes, st.data())
def test_a_damaged_payload_is_a_plane_of_the_size_or_our_own_error(
    values: Plane, draw: st.DataObject
) -> None:
    plane = Image.fromarray(values)
    payload = bytearray(draw.draw(st.sampled_from([encode_alpha(plane), png_of(values)])))
    payload[draw.draw(st.integers(0, len(payload) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(payload)))
    for damaged in (bytes(payload), bytes(payload[:cut])):
        try:
            found = decode_alpha(damaged, plane.size)
        except AlphaChunkError:
            continue
        assert (found.mode, found.size) == ("L", plane.size)


# --- through the codec -----------------------------------------------------------------------


def transparent(photograph: Photograph, mode: str) -> Image.Image:
    image = photograph("coffee").crop((100, 80, 173, 141)).convert(mode)
    image.putalpha(Image.fromarray(matte(image.size)))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_kind_of_picture_and_its_alpha_come_back_at_every_iteration(
    tiny_codec: Codec, photograph: Photograph, mode: str
) -> None:
    image = transparent(photograph, mode)
    data = tiny_codec.encode(image)
    for iterations in range(1, tiny_codec.iterations + 1):
        decoded = tiny_codec.decode(data, iterations=iterations)
        assert decoded.mode == mode
        assert decoded.getchannel("A").tobytes() == image.getchannel("A").tobytes()
        cut = rnnconv_codec.truncate(data, iterations=iterations)
        assert tiny_codec.decode(cut).tobytes() == decoded.tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_comes_back_too(
    tiny_codec: Codec, photograph: Photograph, mode: str
) -> None:
    image = photograph("coffee").crop((0, 0, 40, 30)).convert(mode)
    decoded = tiny_codec.decode(tiny_codec.encode(image))
    assert decoded.mode == mode
    assert decoded.getchannel("A").getextrema() == (255, 255)


def test_a_transparent_palette_comes_back_as_rgba(tiny_codec: Codec) -> None:
    image = Image.new("P", (20, 10), 1)
    image.putpalette([0, 0, 0, 200, 30, 30])
    image.paste(0, (0, 0, 7, 10))
    image.info["transparency"] = 0
    decoded = tiny_codec.decode(tiny_codec.encode(image))
    assert decoded.mode == "RGBA"
    expected = np.where(np.asarray(image) == 0, 0, 255)
    assert np.array_equal(np.asarray(decoded.getchannel("A")), expected)


@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.ConversionWarning")
def test_a_transparent_level_of_deep_grey_comes_back(tiny_codec: Codec) -> None:
    levels = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000
    image = Image.fromarray(levels)
    image.info["transparency"] = 6000
    decoded = tiny_codec.decode(tiny_codec.encode(image))
    assert decoded.mode == "LA"
    assert np.array_equal(np.asarray(decoded.getchannel("A")) == 0, levels == 6000)


def test_dropping_alpha_keeps_the_colours_of_every_pixel(
    tiny_codec: Codec, photograph: Photograph
) -> None:
    image = transparent(photograph, "RGBA")
    assert tiny_codec.encode(image, alpha="drop") == tiny_codec.encode(image.convert("RGB"))


@pytest.mark.parametrize(
    ("mode", "background", "stored"), [("RGBA", "#ff8000", "RGB"), ("LA", "white", "L")]
)
def test_blending_puts_the_picture_on_the_colour(
    tiny_codec: Codec, photograph: Photograph, mode: str, background: str, stored: str
) -> None:
    image = transparent(photograph, mode)
    ground = Image.new(mode, image.size, background)
    ground.alpha_composite(image) if mode == "RGBA" else ground.paste(image, mask=image)
    data = tiny_codec.encode(image, alpha=background)
    assert "alpha" not in inspect(data).metadata_bytes
    assert data == tiny_codec.encode(ground.convert(stored))


def test_grey_on_a_colour_becomes_colour(tiny_codec: Codec, photograph: Photograph) -> None:
    data = tiny_codec.encode(transparent(photograph, "LA"), alpha="red")
    assert tiny_codec.decode(data).mode == "RGB"


@pytest.mark.parametrize("treatment", ["", "keep", "#12", "#ff000080", "#gggggg"])
def test_another_treatment_of_alpha_is_an_error(tiny_codec: Codec, treatment: str) -> None:
    with pytest.raises(ArgumentError, match="colour"):
        tiny_codec.encode(Image.new("RGBA", (3, 3)), alpha=treatment)
