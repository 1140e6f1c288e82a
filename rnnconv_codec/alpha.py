"""The alpha plane of a picture as the payload of an alpha chunk, kept without loss.

The payload is a whole image file: lossless WebP, which was the smaller one on every matte that was
tried (`docs/FORMAT.md`), or a PNG where a side is too long for WebP. Both say their size in a
few bytes at a fixed place, so a payload that would unpack to more pixels than the picture has is
refused before anything is unpacked. Pillow might read another size than those bytes say (a PNG with
two headers has two), so what it is about to unpack is checked, too.
"""

from __future__ import annotations

import io
import struct
import warnings

from PIL import Image

from rnnconv_codec.errors import AlphaChunkError

_WEBP_MAX_SIDE = 16383
# Method 6 saves another tenth but takes 5 to 40 times as long.
_WEBP_OPTIONS = {"lossless": True, "quality": 100, "method": 4}

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Length, type, width, height, bit depth, colour type of the first chunk.
_PNG_HEADER = struct.Struct(">I4sIIBB")
_PNG_GREY = (8, 0)  # bit depth, colour type

_WEBP_NAME = slice(8, 16)
# Signature of VP8L, then width - 1 and height - 1 in 14 bits each, from the lowest bit up.
_WEBP_HEADER = struct.Struct("<BI")
_WEBP_HEADER_OFFSET = 20
_WEBP_SIGNATURE = 0x2F
_WEBP_SIDE_BITS = 14

# Pillow's modes of the two codings; the second of WebP has an alpha channel of its own, unused.
_MODES = {"PNG": ("L",), "WEBP": ("RGB", "RGBA")}


def encode_alpha(plane: Image.Image) -> bytes:
    """The payload of an alpha chunk with this plane, of mode "L": 0 transparent, 255 opaque."""
    stream = io.BytesIO()
    if max(plane.size) > _WEBP_MAX_SIDE:
        plane.save(stream, "PNG", optimize=True)
    else:
        Image.merge("RGB", (plane, plane, plane)).save(stream, "WEBP", **_WEBP_OPTIONS)
    return stream.getvalue()


def decode_alpha(payload: bytes, size: tuple[int, int]) -> Image.Image:
    """The plane, of mode "L", in the payload of the alpha chunk of a picture of this size.

    Raises `AlphaChunkError` for a payload that is neither of the two codings, has another size
    than the picture, or is damaged.
    """
    coding, found = _declared(payload)
    if found != size:
        raise AlphaChunkError(
            f"the alpha chunk has {found[0]}x{found[1]} pixels, the picture {size[0]}x{size[1]}"
        )
    try:
        with warnings.catch_warnings():
            # The size is the picture's, which has been accepted.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(payload), formats=(coding,)) as image:
                if image.size != size or image.mode not in _MODES[coding]:
                    raise AlphaChunkError("the alpha chunk contradicts itself")
                image.load()
    except (MemoryError, AlphaChunkError):
        raise
    except Exception as error:  # Pillow's parsers let almost any exception out on damaged files
        raise AlphaChunkError(f"the alpha chunk cannot be decoded: {error}") from error
    return image.copy() if coding == "PNG" else image.getchannel("G")


def _declared(payload: bytes) -> tuple[str, tuple[int, int]]:
    """Pillow's name of the payload's format, and the size that it declares."""
    try:
        if payload.startswith(_PNG_SIGNATURE):
            header = _PNG_HEADER.unpack_from(payload, len(_PNG_SIGNATURE))
            _, name, width, height, *kind = header
            if name == b"IHDR" and tuple(kind) == _PNG_GREY:
                return "PNG", (width, height)
        elif payload.startswith(b"RIFF") and payload[_WEBP_NAME] == b"WEBPVP8L":
            signature, sides = _WEBP_HEADER.unpack_from(payload, _WEBP_HEADER_OFFSET)
            if signature == _WEBP_SIGNATURE:
                mask = (1 << _WEBP_SIDE_BITS) - 1
                return "WEBP", ((sides & mask) + 1, (sides >> _WEBP_SIDE_BITS & mask) + 1)
    except struct.error:
        pass
    raise AlphaChunkError("the alpha chunk has an unknown coding")
