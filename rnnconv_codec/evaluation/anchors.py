"""The codecs that ours is compared with, as Pillow writes them, and their ladders of settings."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import PIL
from PIL import Image, features

from rnnconv_codec.errors import AnchorError

SaveOptions = Mapping[str, Any]
"""Keyword arguments of `Image.save`, of JSON types."""

_BITS_PER_SAMPLE = 8
_TRIAL_SIDE = 64
_LIBRARY_NAMES = {
    "pillow": "Pillow",
    "jpg": "libjpeg interface",
    "libjpeg_turbo": "libjpeg-turbo",
    "webp": "libwebp",
    "jpg_2000": "OpenJPEG",
    "avif": "libavif",
    "avif_codecs": "with",
}


@dataclass(frozen=True)
class Anchor:
    """A codec to compare with.

    Attributes:
        key: its name on the command line.
        name: its name in tables and plots.
        description: how it is run, in words.
        format: Pillow's name of the format.
        libraries: Pillow's names of the libraries that encode it.
        setting_name: what a setting is.
        ladder: the settings, rate rising.
        save_options: from a setting and the number of channels.
    """

    key: str
    name: str
    description: str
    format: str
    libraries: tuple[str, ...]
    setting_name: str
    ladder: tuple[float, ...]
    save_options: Callable[[float, int], SaveOptions]

    def is_available(self) -> bool:
        """Whether this Pillow can write the format, tried with a small picture.

        The trial matters for AVIF, whose library may come with other encoders than libaom.
        """
        if not all(bool(features.check(library)) for library in self.libraries):
            return False
        try:
            self.encode(Image.new("RGB", (_TRIAL_SIDE, _TRIAL_SIDE)), self.ladder[-1])
        except AnchorError:
            return False
        return True

    def versions(self) -> dict[str, str]:
        """Of Pillow and the encoder: with the options they determine the bytes of a file."""
        # libjpeg-turbo has the version of libjpeg's interface as "jpg", and one of its own.
        libraries = (*self.libraries, "libjpeg_turbo") if self.format == "JPEG" else self.libraries
        versions = {library: str(features.version(library)) for library in libraries}
        if self.format == "AVIF":
            from PIL import _avif

            # features.version tells that of the container library, not that of the AV1 encoder.
            versions["avif_codecs"] = str(_avif.codec_versions())
        return {"pillow": PIL.__version__, **versions}

    def full_description(self) -> str:
        """How it is run, and by which libraries."""
        versions = [f"{_LIBRARY_NAMES[name]} {found}" for name, found in self.versions().items()]
        return f"{self.description}; {', '.join(versions)}"

    def encode(self, image: Image.Image, setting: float) -> bytes:
        """The content of a file of `image`, of mode RGB or L, without metadata.

        Raises:
            AnchorError: the encoder refuses the image.
        """
        buffer = io.BytesIO()
        options = self.save_options(setting, len(image.getbands()))
        try:
            image.save(buffer, self.format, **options)
        except (OSError, SystemError, ValueError) as error:
            raise AnchorError(
                f"{self.name} cannot encode {image.width}x{image.height} pixels: {error}"
            ) from error
        return buffer.getvalue()


def decode(data: bytes, mode: str) -> Image.Image:
    """The picture in a file that an anchor wrote, in the mode of its source.

    WebP and AVIF have no grey: they give RGB, whose luma is the grey picture.
    """
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert(mode)


def _jpeg(subsampling: str) -> Callable[[float, int], SaveOptions]:
    def options(quality: float, channels: int) -> SaveOptions:
        return {
            "quality": quality,
            "subsampling": subsampling,
            "progressive": True,
            "optimize": True,
        }

    return options


def _webp(quality: float, channels: int) -> SaveOptions:
    return {"quality": quality, "method": 6}


def _jpeg2000(target_bpp: float, channels: int) -> SaveOptions:
    return {
        "quality_mode": "rates",
        "quality_layers": [_BITS_PER_SAMPLE * channels / target_bpp],
        "irreversible": True,
        # Off in Pillow unless asked for; without it JPEG 2000 loses up to 5 dB.
        "mct": int(channels == 3),
        "no_jp2": True,
    }


def _avif(quality: float, channels: int) -> SaveOptions:
    # One thread and no tiles: tiles cost bits, and the bytes must not depend on the machine.
    return {
        "quality": quality,
        "subsampling": "4:2:0",
        "speed": 6,
        "codec": "aom",
        "max_threads": 1,
        "autotiling": False,
    }


# Below quality 5 JPEG falls apart and saves next to nothing: those points would make the range
# of the BD-rate wider just where JPEG is at its worst.
_JPEG_QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)

JPEG_420 = Anchor(
    key="jpeg-420",
    name="JPEG 4:2:0",
    description="progressive, optimised Huffman tables",
    format="JPEG",
    libraries=("jpg",),
    setting_name="quality",
    ladder=_JPEG_QUALITIES,
    save_options=_jpeg("4:2:0"),
)

ANCHORS: tuple[Anchor, ...] = (
    JPEG_420,
    replace(JPEG_420, key="jpeg-444", name="JPEG 4:4:4", save_options=_jpeg("4:4:4")),
    Anchor(
        key="webp",
        name="WebP",
        description="lossy (4:2:0), method 6",
        format="WEBP",
        libraries=("webp",),
        setting_name="quality",
        ladder=(0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95),
        save_options=_webp,
    ),
    Anchor(
        key="jpeg-2000",
        name="JPEG 2000",
        description=(
            "irreversible 9/7 wavelet and colour transform, one layer at a target "
            "rate, bare codestream"
        ),
        format="JPEG2000",
        libraries=("jpg_2000",),
        setting_name="target bpp",
        ladder=(0.03, 0.045, 0.065, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 1.0, 1.5, 2.0, 2.5),
        save_options=_jpeg2000,
    ),
    Anchor(
        key="avif",
        name="AVIF",
        description="4:2:0, speed 6, no tiles",
        format="AVIF",
        libraries=("avif",),
        setting_name="quality",
        ladder=(0, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90),
        save_options=_avif,
    ),
)
"""All anchors, in the order in which tables show them."""

ANCHOR_KEYS = tuple(anchor.key for anchor in ANCHORS)


def anchors_of(keys: Sequence[str]) -> list[Anchor]:
    """The anchors with these keys, in the order of `ANCHORS`."""
    return [anchor for anchor in ANCHORS if anchor.key in keys]
