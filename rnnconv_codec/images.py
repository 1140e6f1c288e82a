"""Pictures in and out: any image that Pillow opens, as 8-bit RGB or grey, and back to bytes.

What cannot be kept is never dropped silently: it is announced with a `ConversionWarning`.
Transparency is kept beside the picture. ICC, EXIF and XMP metadata are kept; they are in
`Image.info` under Pillow's own names, "icc_profile", "exif" and "xmp".
"""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageColor,
    ImageOps,
    PngImagePlugin,
    UnidentifiedImageError,
)

from rnnconv_codec.alpha import decode_alpha, encode_alpha
from rnnconv_codec.container import DEFAULT_MAX_PIXELS, MAGIC, MAX_DIMENSION, Metadata
from rnnconv_codec.errors import (
    ArgumentError,
    ConversionWarning,
    ImageFormatError,
    ImageSizeError,
)
from rnnconv_codec.files import read_file

JPEG_QUALITY = 95
"""Pillow's quality for JPEG output: the codec's own loss should be the one that is seen."""

ALPHA_LOSSLESS = "lossless"
ALPHA_DROP = "drop"
"""What to do with transparency: keep it, or drop it; the third way is a colour to blend with."""

WHITE = "#ffffff"
"""What transparent pictures are put on where they must lose their transparency."""

STRIPPABLE = ("icc", "exif", "xmp")
"""The metadata that can be left out, by their names in `Metadata`."""

IMAGE_SUFFIXES = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
        *(".tga", ".jp2", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    }
)
"""Endings by which images are found in a folder."""

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pnm": "PPM",
    ".tga": "TGA",
}
# Pillow's default WebP is lossy, and its default JPEG halves the resolution of the colours.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": JPEG_QUALITY, "subsampling": 0},
    # Exact: the colours under transparent pixels are the picture's, too.
    "WEBP": {"lossless": True, "exact": True},
}
_FORMATS_WITH_METADATA = frozenset({"PNG", "JPEG", "WEBP", "TIFF"})
_FORMATS_WITH_ALPHA = frozenset({"PNG", "WEBP", "TIFF", "TGA"})

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})  # and all that start with "I;16"
_ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
# Conversions of colour that lose nothing to speak of need no notice; these change colours, and
# need a profile to be right.
_MANAGED_MODES = frozenset({"CMYK", "LAB"})

_MAX_8_BIT = 255
_MAX_16_BIT = 65535

_EXIF_PREFIX = b"Exif\0\0"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>))[2-8]")
_XMP_PNG_KEY = "XML:com.adobe.xmp"
_TIFF_XMP_TAG = 700
# A JPEG marker has a 16-bit length that counts itself; XMP is preceded by its namespace.
_JPEG_MAX_EXIF_BYTES = 65533
_JPEG_MAX_XMP_BYTES = _JPEG_MAX_EXIF_BYTES - len(b"http://ns.adobe.com/xap/1.0/\0")

_ICC_HEADER_BYTES = 128
_ICC_SPACE = slice(16, 20)
_ICC_SIGNATURE = slice(36, 40)

# The tags of a TIFF that describe the picture. The others describe how that file stores it
# and would be wrong anywhere else.
_DESCRIPTIVE_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
    ExifTags.Base.XPTitle,
    ExifTags.Base.XPComment,
    ExifTags.Base.XPAuthor,
    ExifTags.Base.XPKeywords,
    ExifTags.Base.XPSubject,
)
_SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


# --- in --------------------------------------------------------------------------------------


def open_image(
    source: str | os.PathLike[str] | bytes,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name: str = "the data",
) -> Image.Image:
    """Read the first frame of an image file, upright, with its metadata.

    `source` is a path or the content of a file, which messages call `name`. The EXIF orientation
    is applied to the pixels and reset in the metadata. The mode is whatever the file has; see
    `to_codec_mode`. Images of more than `max_pixels` are refused before their pixels are decoded.

    Raises `InputFileError` (unreadable), `ImageFormatError` (not an image, or a damaged one) or
    `ImageSizeError`; warns with `ConversionWarning` of frames and depth that are left behind.
    """
    name = name if isinstance(source, bytes) else os.fspath(source)
    data = source if isinstance(source, bytes) else read_file(source)
    if data.startswith(MAGIC):  # Pillow would open it: see `pillow`
        raise ImageFormatError(f"{name} is an .rnc file already")
    try:
        with warnings.catch_warnings():
            # Pillow warns at a limit near ours; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        with image:
            check_size(image.size, max_pixels=max_pixels)
            return _plain_upright(image)
    except Image.DecompressionBombError as error:
        raise ImageSizeError(f"{name} is too large: {error}") from error
    except ImageSizeError as error:
        raise ImageSizeError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        reason = "is not an image that can be read" if data else "is empty"
        raise ImageFormatError(f"{name} {reason}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parsers let almost any exception out on damaged files
        raise ImageFormatError(f"{name} cannot be decoded: {error}") from error


def check_size(size: tuple[int, int], *, max_pixels: int | None = None) -> None:
    """Raise `ImageSizeError` for a width and height that no file may have, or for too many pixels.

    `max_pixels` None stands for what the format allows.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ImageSizeError(f"an image of {width}x{height} has no pixels")
    if max(size) > MAX_DIMENSION:
        raise ImageSizeError(f"{width}x{height} pixels: each side may have {MAX_DIMENSION}")
    if max_pixels is not None and width * height > max_pixels:
        raise ImageSizeError(
            f"{width}x{height} is {width * height} pixels, the limit is {max_pixels}"
        )


def to_codec_mode(image: Image.Image) -> Image.Image:
    """Return `image`, of any Pillow mode, as an opaque 8-bit image of mode "RGB" or "L".

    Grey stays grey ("1" and 16-bit included), all else becomes RGB. Pixels that are not opaque
    are blended with white; `prepare_picture` keeps them. Integers of 16 bits are scaled to 8, not
    clipped. An EXIF orientation that was not applied yet is applied. `image` itself is not changed.

    Raises `ImageSizeError` for no pixels or a side above `MAX_DIMENSION`, `ImageFormatError` for
    pixels that cannot be converted; warns with `ConversionWarning` of what is left behind.
    """
    colours, plane = _upright_planes(image)
    if plane is None or _is_opaque(plane):
        return colours
    _notice("transparency is not kept: the picture is put on white")
    return _blended(colours, plane, WHITE)


@dataclass(frozen=True)
class PreparedPicture:
    """A picture as the codec takes it.

    Attributes:
        pixels: opaque, of mode "RGB" or "L".
        metadata: what travels with it, the alpha chunk included.
    """

    pixels: Image.Image
    metadata: Metadata


def prepare_picture(
    image: Image.Image,
    *,
    alpha: str = ALPHA_LOSSLESS,
    strip: Collection[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> PreparedPicture:
    """What is to be encoded of `image`, of any Pillow mode: see `to_codec_mode` for the pixels.

    `alpha` is "lossless" (the alpha plane becomes `Metadata.alpha`), "drop" (the colours stay as
    they are, transparent pixels included) or a CSS colour such as "#ffffff" to blend with. `strip`
    has the names of `STRIPPABLE` metadata to leave out. Images of more than `max_pixels` are
    refused before their pixels are loaded. `image` itself is not changed.

    Raises what `to_codec_mode` raises, and `ArgumentError` for another `alpha` or `strip`.
    """
    check_alpha(alpha)
    check_strip(strip)
    check_size(image.size, max_pixels=max_pixels)
    colours, plane = _upright_planes(image)
    metadata = extract_metadata(colours)
    if plane is not None and alpha == ALPHA_LOSSLESS:
        metadata = replace(metadata, alpha=encode_alpha(plane))
    elif plane is not None and alpha != ALPHA_DROP:
        colours = _blended(colours, plane, alpha)
    return PreparedPicture(colours, strip_metadata(metadata, strip))


def check_alpha(alpha: str) -> None:
    """Raise `ArgumentError` unless `alpha` is "lossless", "drop" or a CSS colour."""
    if alpha not in (ALPHA_LOSSLESS, ALPHA_DROP):
        parse_colour(alpha)


def parse_colour(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of a CSS colour, "#rrggbb" or a name; each 0 to 255.

    Raises `ArgumentError` if it is none, or is not opaque.
    """
    try:
        found = ImageColor.getrgb(colour)
    except ValueError:
        raise ArgumentError(f"{colour!r} is not a colour such as #ffffff or white") from None
    if len(found) != 3:
        raise ArgumentError(f"{colour!r} is not an opaque colour")
    return found


def check_strip(strip: Collection[str]) -> None:
    """Raise `ArgumentError` unless all names are in `STRIPPABLE`."""
    unknown = [name for name in strip if name not in STRIPPABLE]
    if isinstance(strip, str) or unknown:
        raise ArgumentError(f"only {', '.join(STRIPPABLE)} can be left out, not {strip!r}")


def strip_metadata(metadata: Metadata, names: Collection[str]) -> Metadata:
    """`metadata` without those of these names, which are among `STRIPPABLE`."""
    return replace(metadata, **dict.fromkeys(names))


def attach_alpha(image: Image.Image, payload: bytes | None) -> None:
    """Make `image`, of mode "RGB" or "L", an "RGBA" or "LA" with the plane of an alpha chunk.

    Does nothing without a payload. Raises `AlphaChunkError`.
    """
    if payload is not None:
        image.putalpha(decode_alpha(payload, image.size))


def extract_metadata(image: Image.Image) -> Metadata:
    """The ICC profile, EXIF and XMP of `image`, as they fit what `to_codec_mode` makes of it.

    EXIF comes without the prefix that JPEG files give it; orientations in EXIF and XMP are
    reset to 1, because `open_image` and `to_codec_mode` turn the pixels. An ICC profile for
    another colour space than the converted image's is left out with a `ConversionWarning`.
    `Metadata.alpha` is not filled in here.
    """
    return Metadata(icc=_icc_of(image), exif=_exif_of(image), xmp=_xmp_of(image))


def attach_metadata(image: Image.Image, metadata: Metadata) -> None:
    """Put ICC, EXIF and XMP into `image.info`, in the form in which Pillow's own readers do."""
    found = {
        "icc_profile": metadata.icc,
        "exif": None if metadata.exif is None else _with_prefix(metadata.exif),
        "xmp": metadata.xmp,
    }
    image.info.update({key: value for key, value in found.items() if value is not None})


def _plain_upright(image: Image.Image) -> Image.Image:
    """A copy without orientation, whose info holds what matters and nothing of the file."""
    _notice_frames(image)
    # The depth must be asked for before loading, and the EXIF of a TIFF before copying.
    tile = getattr(image, "tile", None)
    raw_mode = str(tile[0].args) if tile else ""
    image.load()
    is_managed = image.mode in _MANAGED_MODES
    icc = None if is_managed else _icc_of(image)
    metadata = Metadata(icc=icc, exif=_exif_of(image), xmp=_xmp_of(image))
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF or XMP is no reason to refuse good pixels
        upright = image.copy()
    if is_managed:
        upright = _to_srgb(upright)
    if "16" in raw_mode and not image.mode.startswith("I"):
        _notice("16 bits per channel are reduced to 8")
        if "LA;16" in raw_mode:  # Pillow has no such mode and makes it colour
            upright = upright.convert("LA")
    transparency = upright.info.get("transparency")
    upright.info = {} if transparency is None else {"transparency": transparency}
    attach_metadata(upright, metadata)
    return upright


def _to_srgb(image: Image.Image) -> Image.Image:
    """A CMYK or Lab image in RGB, by its ICC profile if it has a good one."""
    profile = image.info.get("icc_profile")
    try:
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif isinstance(profile, bytes) and profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        else:
            _notice(f"{image.mode} colours without a profile are converted to RGB by a formula")
            return image.convert("RGB")
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        _notice(f"the {image.mode} image's profile cannot be used, a formula is: {error}")
        return image.convert("RGB")
    assert converted is not None  # it is None only if asked to convert in place
    _notice(f"{image.mode} colours are converted to sRGB")
    return converted


def _upright_planes(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The opaque picture, of mode RGB or L with its metadata, and its alpha plane if it has one."""
    check_size(image.size)
    try:
        return _split_alpha(_plain_upright(image))
    except (MemoryError, ImageFormatError):
        raise
    except Exception as error:  # loading happens here: see open_image
        raise ImageFormatError(f"the image cannot be converted: {error}") from error


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """See `_upright_planes`; `image` may become the picture itself, its info be changed."""
    plane: Image.Image | None = None
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        colours = Image.fromarray(_to_8_bits(image))
        if "transparency" in image.info:
            visible = np.asarray(image) != image.info["transparency"]
            plane = Image.fromarray(np.where(visible, _MAX_8_BIT, 0).astype(np.uint8))
        _notice(f"deep grey (mode {image.mode}) is reduced to 8 bits")
    elif image.mode in _ALPHA_MODES or "transparency" in image.info:
        mode = _codec_mode(image)
        with_alpha = image.convert("LA" if mode == "L" else "RGBA")
        colours, plane = with_alpha.convert(mode), with_alpha.getchannel("A")
    else:
        mode = _codec_mode(image)
        colours = image if image.mode == mode else image.convert(mode)
    colours.info = {
        key: image.info[key] for key in ("icc_profile", "exif", "xmp") if key in image.info
    }
    return colours, plane


def _is_opaque(plane: Image.Image) -> bool:
    return plane.getextrema()[0] == _MAX_8_BIT


def _blended(colours: Image.Image, plane: Image.Image, background: str) -> Image.Image:
    """`colours`, of mode RGB or L, on a background; RGB if that has a colour."""
    red, green, blue = parse_colour(background)
    if colours.mode == "L" and red == green == blue:
        ground = Image.new("L", colours.size, red)
    else:
        ground = Image.new("RGB", colours.size, (red, green, blue))
    blended = Image.composite(colours.convert(ground.mode), ground, plane)
    blended.info = dict(colours.info)
    return blended


def _codec_mode(image: Image.Image) -> str:
    is_grey = image.mode in _GREY_MODES or image.mode.startswith("I;16")
    return "L" if is_grey else "RGB"


def _to_8_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Scale deep grey to 0..255. Pillow's own conversion clips everything above 255."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ImageFormatError("the image has pixels that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        black, white = 0.0, 1.0
    elif image.mode == "F" and low >= 0 and high <= _MAX_8_BIT:
        black, white = 0.0, float(_MAX_8_BIT)
    elif low >= 0 and high <= _MAX_16_BIT:
        black, white = 0.0, float(_MAX_16_BIT)
    else:  # 32 bits have no customary white: show all there is
        black, white = low, high
    scaled = (values - black) * (_MAX_8_BIT / ((white - black) or 1.0))
    return np.rint(scaled).astype(np.uint8)


def _notice(message: str) -> None:
    # The caller of the public function is of no interest: the message is about an image.
    warnings.warn(message, ConversionWarning, stacklevel=2)


def _notice_frames(image: Image.Image) -> None:
    try:
        frames = int(getattr(image, "n_frames", 1))
    except Exception:  # counting reads the later frames, which may be damaged
        frames = 1
    if frames > 1:
        position = image.tell() + 1
        which = "the first" if position == 1 else f"number {position}"
        _notice(f"only {which} of {frames} frames is kept")


# --- metadata --------------------------------------------------------------------------------


def _icc_of(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:
        return None
    if len(profile) < _ICC_HEADER_BYTES or profile[_ICC_SIGNATURE] != b"acsp":
        _notice("the ICC profile is damaged and left out")
        return None
    expected = b"GRAY" if _codec_mode(image) == "L" else b"RGB "
    if profile[_ICC_SPACE] != expected:
        space = profile[_ICC_SPACE].decode("latin-1").strip()
        _notice(f"the ICC profile is for {space}, not for the converted image, and left out")
        return None
    return profile


def _exif_of(image: Image.Image) -> bytes | None:
    stored = image.info.get("exif")
    if isinstance(stored, bytes) and stored:
        return _upright_exif(stored.removeprefix(_EXIF_PREFIX))
    try:
        exif = _descriptive_exif(image.getexif())
        if not exif:
            return None
        return exif.tobytes().removeprefix(_EXIF_PREFIX)
    except Exception:  # getexif and tobytes parse what the file says
        _notice("the EXIF data are damaged and left out")
        return None


def _upright_exif(exif: bytes) -> bytes | None:
    """Set the orientation to 1 in place, so that every other byte stays as it was."""
    orders = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(exif[:4])
    entry = struct.Struct(f"{order or '<'}HHI4s")  # tag, type, count, value
    try:
        if order is None:
            raise struct.error("no byte order mark")
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        first = start + 2
        patched = bytearray(exif)
        for offset in range(first, first + count * entry.size, entry.size):
            tag, *_ = entry.unpack_from(exif, offset)
            if tag == ExifTags.Base.Orientation:
                entry.pack_into(patched, offset, tag, 3, 1, struct.pack(f"{order}HH", 1, 0))
        return bytes(patched)
    except struct.error:
        _notice("the EXIF data are damaged and left out")
        return None


def _descriptive_exif(exif: Image.Exif) -> Image.Exif:
    """The part of `exif` that holds for the picture in another file, too."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if tag in exif:
            kept[tag] = exif[tag]
    for directory in _SUB_DIRECTORIES:
        if entries := exif.get_ifd(directory):
            kept.get_ifd(directory).update(entries)
    return kept


def _xmp_of(image: Image.Image) -> bytes | None:
    xmp = image.info.get("xmp") or image.info.get(_XMP_PNG_KEY)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or not xmp:
        return None
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _with_prefix(exif: bytes) -> bytes:
    return exif if exif.startswith(_EXIF_PREFIX) else _EXIF_PREFIX + exif


# --- out -------------------------------------------------------------------------------------


def format_for(path: str | os.PathLike[str]) -> str:
    """Pillow's name of the format that the ending of `path` stands for, such as "PNG".

    Raises `ImageFormatError` for an ending that is not known for output.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        known = " ".join(sorted(_FORMATS))
        problem = f"unknown image format {suffix!r}" if suffix else "no file name ending"
        raise ImageFormatError(f"{os.fspath(path)}: {problem}, use one of {known}")
    return _FORMATS[suffix]


def image_bytes(
    image: Image.Image,
    format: str,
    metadata: Metadata | None = None,
    *,
    background: str | None = None,
) -> bytes:
    """The content of an image file with this picture, of mode "RGB", "L", "RGBA" or "LA".

    `format` is a name that `format_for` gives. PNG, WebP, TIFF, BMP, PPM and TGA are written
    without loss, JPEG at quality `JPEG_QUALITY` with full colour resolution. `metadata` None
    takes what `image.info` has; `Metadata()` writes none. A transparent picture is put on the
    CSS colour `background`; None puts it on white where the format has no transparency, and
    otherwise keeps it.

    Raises `ImageFormatError` for a format that is not known or cannot hold the picture, and
    `ArgumentError` for what is no colour; warns with `ConversionWarning` of metadata and
    transparency that the format cannot hold.
    """
    if format not in _FORMATS.values():
        raise ImageFormatError(f"unknown image format {format!r}")
    kept = extract_metadata(image) if metadata is None else metadata
    kept = _that_fits(kept, format)
    clean = _for_format(image, format, background)
    clean.info = {}  # some of Pillow's writers use it, others do not
    try:
        return _saved(clean, format, kept)
    except ImageFormatError:
        if kept == Metadata():
            raise
        _notice(f"the metadata cannot be written as {format} and are left out")
        return _saved(clean, format, Metadata())


def _for_format(image: Image.Image, format: str, background: str | None) -> Image.Image:
    """A copy of `image`, without alpha if it must or shall have none."""
    if image.mode not in _ALPHA_MODES:
        return image.copy()
    if background is None and format in _FORMATS_WITH_ALPHA:
        return image.copy()
    colours, plane = _split_alpha(image)
    assert plane is not None  # because of the mode
    if _is_opaque(plane):
        return colours
    if background is None:
        _notice(f"{format} cannot hold transparency: the picture is put on white")
    return _blended(colours, plane, WHITE if background is None else background)


def _saved(image: Image.Image, format: str, metadata: Metadata) -> bytes:
    stream = io.BytesIO()
    try:
        options = {**_SAVE_OPTIONS.get(format, {}), **_metadata_options(metadata, format)}
        image.save(stream, format=format, **options)
    except MemoryError:
        raise
    except Exception as error:  # metadata that Pillow cannot write raise almost anything
        raise ImageFormatError(f"cannot be written as {format}: {error}") from error
    return stream.getvalue()


def _that_fits(metadata: Metadata, format: str) -> Metadata:
    icc, exif, xmp = metadata.icc, metadata.exif, metadata.xmp
    dropped = []
    if format not in _FORMATS_WITH_METADATA:
        dropped = [name for name, found in (("ICC", icc), ("EXIF", exif), ("XMP", xmp)) if found]
        icc = exif = xmp = None
    if format == "JPEG":
        if exif is not None and len(_with_prefix(exif)) > _JPEG_MAX_EXIF_BYTES:
            dropped.append("EXIF")
            exif = None
        if xmp is not None and len(xmp) > _JPEG_MAX_XMP_BYTES:
            dropped.append("XMP")
            xmp = None
    if dropped:
        _notice(f"{format} cannot hold this image's {' and '.join(dropped)} data")
    return Metadata(icc=icc, exif=exif, xmp=xmp)


def _metadata_options(metadata: Metadata, format: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if metadata.icc is not None:
        options["icc_profile"] = metadata.icc
    if format == "TIFF":
        return {**options, "exif": _tiff_tags(metadata)}
    if metadata.exif is not None:
        options["exif"] = _with_prefix(metadata.exif)
    if metadata.xmp is not None:
        if format == "PNG":
            text = PngImagePlugin.PngInfo()
            text.add_itxt(_XMP_PNG_KEY, metadata.xmp.decode("utf-8", "replace"))
            options["pnginfo"] = text
        else:
            options["xmp"] = metadata.xmp
    return options


def _tiff_tags(metadata: Metadata) -> bytes:
    """EXIF and XMP as the tags that Pillow takes for a TIFF."""
    tags = Image.Exif()
    if metadata.exif is not None:
        source = Image.Exif()
        try:
            source.load(_with_prefix(metadata.exif))
            tags = _descriptive_exif(source)
        except Exception:  # the EXIF of a foreign file, see _exif_of
            _notice("the EXIF data are damaged and left out")
    if metadata.xmp is not None:
        tags[_TIFF_XMP_TAG] = metadata.xmp
    # As bytes: Pillow does not write the directories of an Exif that it did not load.
    return tags.tobytes()
