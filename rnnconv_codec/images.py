"""Pictures in and out: any image that Pillow opens, as 8-bit RGB or grey, and back to bytes.

What cannot be kept is never dropped silently: it is announced with a `ConversionWarning`.
ICC, EXIF and XMP metadata are kept. They are in `Image.info` under Pillow's own names,
"icc_profile", "exif" and "xmp".
"""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from rnnconv_codec.container import MAX_DIMENSION, Metadata
from rnnconv_codec.errors import ConversionWarning, ImageFormatError, ImageSizeError
from rnnconv_codec.files import read_file

DEFAULT_MAX_PIXELS = 100_000_000
"""The largest picture that is opened, in pixels: small files can declare gigantic ones."""

JPEG_QUALITY = 95
"""Pillow's quality for JPEG output: the codec's own loss should be the one that is seen."""

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"})
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
    "WEBP": {"lossless": True},
}
_FORMATS_WITH_METADATA = frozenset({"PNG", "JPEG", "WEBP", "TIFF"})

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F"})  # and all that start with "I;16"
_ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
# Conversions of colour that lose nothing to speak of need no notice; these change colours.
_CONVERTED_WITH_NOTICE = frozenset({"CMYK", "LAB"})

_MAX_8_BIT = 255
_MAX_16_BIT = 65535
_WHITE = 255

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
    source: str | os.PathLike[str] | bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Image.Image:
    """Read the first frame of an image file, upright, with its metadata.

    `source` is a path or the content of a file. The EXIF orientation is applied to the pixels
    and reset in the metadata. The mode is whatever the file has; see `to_codec_mode`. Images of
    more than `max_pixels` are refused before their pixels are decoded.

    Raises `InputFileError` (unreadable), `ImageFormatError` (not an image, or a damaged one) or
    `ImageSizeError`; warns with `ConversionWarning` of frames and depth that are left behind.
    """
    name = "the data" if isinstance(source, bytes) else os.fspath(source)
    data = source if isinstance(source, bytes) else read_file(source)
    try:
        with warnings.catch_warnings():
            # Pillow warns at a limit near ours; ours is checked below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        with image:
            _check_size(image.size, max_pixels=max_pixels)
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


def to_codec_mode(image: Image.Image) -> Image.Image:
    """Return `image`, of any Pillow mode, as an 8-bit image of mode "RGB" or "L".

    Grey stays grey ("1" and 16-bit included), all else becomes RGB. Pixels that are not opaque
    are blended with white. Integers of 16 bits are scaled to 8, not clipped. An EXIF orientation
    that was not applied yet is applied. `image` itself is not changed.

    Raises `ImageSizeError` for no pixels or a side above `MAX_DIMENSION`, `ImageFormatError` for
    pixels that cannot be converted; warns with `ConversionWarning` of what is left behind.
    """
    _check_size(image.size)
    try:
        upright = _plain_upright(image)
        converted = _to_rgb_or_grey(upright)
    except (MemoryError, ImageFormatError):
        raise
    except Exception as error:  # loading happens here: see open_image
        raise ImageFormatError(f"the image cannot be converted: {error}") from error
    return converted


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


def _check_size(size: tuple[int, int], *, max_pixels: int | None = None) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageSizeError(f"an image of {width}x{height} has no pixels")
    if max(size) > MAX_DIMENSION:
        raise ImageSizeError(f"{width}x{height} pixels: each side may have {MAX_DIMENSION}")
    if max_pixels is not None and width * height > max_pixels:
        raise ImageSizeError(
            f"{width}x{height} is {width * height} pixels, the limit is {max_pixels}"
        )


def _plain_upright(image: Image.Image) -> Image.Image:
    """A copy without orientation, whose info holds what matters and nothing of the file."""
    _notice_frames(image)
    # The depth must be asked for before loading, and the EXIF of a TIFF before copying.
    tile = getattr(image, "tile", None)
    raw_mode = str(tile[0].args) if tile else ""
    image.load()
    metadata = extract_metadata(image)
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF or XMP is no reason to refuse good pixels
        upright = image.copy()
    if "16" in raw_mode and not image.mode.startswith("I"):
        _notice("16 bits per channel are reduced to 8")
        if "LA;16" in raw_mode:  # Pillow has no such mode and makes it colour
            upright = upright.convert("LA")
    transparency = upright.info.get("transparency")
    upright.info = {} if transparency is None else {"transparency": transparency}
    attach_metadata(upright, metadata)
    return upright


def _to_rgb_or_grey(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        converted = Image.fromarray(_to_8_bits(image))
        _notice(f"deep grey (mode {image.mode}) is reduced to 8 bits")
    elif image.mode in _ALPHA_MODES or "transparency" in image.info:
        converted = _without_alpha(image)
    else:
        if image.mode in _CONVERTED_WITH_NOTICE:
            _notice(f"{image.mode} colours are converted to RGB, without colour management")
        converted = image.convert(_codec_mode(image))
    converted.info = {
        key: image.info[key] for key in ("icc_profile", "exif", "xmp") if key in image.info
    }
    return converted


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


def _without_alpha(image: Image.Image) -> Image.Image:
    mode = _codec_mode(image)
    with_alpha = image.convert("LA" if mode == "L" else "RGBA")
    alpha = with_alpha.getchannel("A")
    opaque = with_alpha.convert(mode)
    if np.asarray(alpha).min() == _MAX_8_BIT:
        return opaque
    _notice("transparency is not kept: the picture is put on white")
    white = Image.new(mode, image.size, _WHITE if mode == "L" else (_WHITE,) * 3)
    return Image.composite(opaque, white, alpha)


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


def image_bytes(image: Image.Image, format: str, metadata: Metadata | None = None) -> bytes:
    """The content of an image file with this picture, of mode "RGB" or "L".

    `format` is a name that `format_for` gives. PNG, WebP, TIFF, BMP, PPM and TGA are written
    without loss, JPEG at quality `JPEG_QUALITY` with full colour resolution. `metadata` None
    takes what `image.info` has; `Metadata()` writes none.

    Raises `ImageFormatError` for a format that is not known or cannot hold the picture; warns
    with `ConversionWarning` of metadata that it cannot hold.
    """
    if format not in _FORMATS.values():
        raise ImageFormatError(f"unknown image format {format!r}")
    kept = extract_metadata(image) if metadata is None else metadata
    kept = _that_fits(kept, format)
    clean = image.copy()
    clean.info = {}  # some of Pillow's writers use it, others do not
    try:
        return _saved(clean, format, kept)
    except ImageFormatError:
        if kept == Metadata():
            raise
        _notice(f"the metadata cannot be written as {format} and are left out")
        return _saved(clean, format, Metadata())


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
