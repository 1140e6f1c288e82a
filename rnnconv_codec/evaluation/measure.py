"""Rate and quality of the codec and of JPEG on a folder of images, by real file sizes."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect
from rnnconv_codec.errors import ArgumentError, CodeSegmentError
from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.evaluation.jpeg import jpeg_bytes
from rnnconv_codec.images import IMAGE_SUFFIXES, open_image, to_codec_mode
from rnnconv_codec.metrics import ms_ssim, psnr

JPEG_QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95)
"""Settings of the JPEG anchor; from below the codec's first iteration to beyond its last."""

JPEG_420 = "JPEG 4:2:0"


@dataclass(frozen=True)
class Point:
    """One setting of one codec on one image, or the mean over images.

    Attributes:
        setting: iterations, or the quality of JPEG.
        bpp: bits per pixel of the whole file.
        psnr: in dB.
        ms_ssim: 0 to 1, not a number for small images.
    """

    setting: int
    bpp: float
    psnr: float
    ms_ssim: float


@dataclass(frozen=True)
class Measurement:
    """Points of one codec, mean over all images, and of each image."""

    name: str
    means: list[Point]
    images: dict[str, list[Point]]


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Image files among the paths, and in the folders among them, sorted.

    Raises:
        ArgumentError: there is none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found.extend(p for p in sorted(path.iterdir()) if p.suffix.lower() in IMAGE_SUFFIXES)
        else:
            found.append(path)
    if not found:
        raise ArgumentError("no images to measure")
    return found


def measure_codec(codec: Codec, image: Image.Image) -> list[Point]:
    """The codec at each number of iterations, by the size of a real file each time.

    The pictures are the encoder's own, which are what a decoder shows; the last one is decoded
    to make sure.

    Args:
        codec: to measure.
        image: of mode RGB or L.

    Raises:
        CodeSegmentError: the file does not decode to the encoder's picture.
    """
    steps = list(codec.encode_iterations(image))
    data = codec.pack(image, [step.segment for step in steps])
    if codec.decode(data).tobytes() != steps[-1].picture.tobytes():
        raise CodeSegmentError("the file decodes to another picture than the encoder's")
    rates = inspect(data).cumulative_bpp
    return [
        _point(count, rate, step.picture, image)
        for count, (rate, step) in enumerate(zip(rates, steps, strict=True), 1)
    ]


def measure_jpeg(image: Image.Image) -> list[Point]:
    """Pillow's progressive, optimised JPEG 4:2:0 at `JPEG_QUALITIES`."""
    points: list[Point] = []
    for quality in JPEG_QUALITIES:
        data = jpeg_bytes(image, quality)
        bpp = 8 * len(data) / (image.width * image.height)
        with Image.open(io.BytesIO(data)) as decoded:
            points.append(_point(quality, bpp, decoded, image))
    return points


def _point(setting: int, bpp: float, picture: Image.Image, reference: Image.Image) -> Point:
    return Point(setting, bpp, psnr(picture, reference), ms_ssim(picture, reference))


def measure_folder(
    codec: Codec, paths: Iterable[Path], progress: Callable[[int, int], None] | None = None
) -> list[Measurement]:
    """The codec and its anchor on all images.

    Args:
        codec: to measure.
        paths: images, or folders of them.
        progress: called with images done and their number.

    Raises:
        ArgumentError: there are no images.
        ImageFormatError: one cannot be read.
    """
    images = find_images(paths)
    ours: dict[str, list[Point]] = {}
    jpeg: dict[str, list[Point]] = {}
    for done, path in enumerate(images, 1):
        image = to_codec_mode(open_image(path))
        # Pixels alone are compared: `pack` writes no metadata, and JPEG must not either.
        image.info.clear()
        ours[path.name] = measure_codec(codec, image)
        jpeg[path.name] = measure_jpeg(image)
        if progress is not None:
            progress(done, len(images))
    return [_measurement(codec.name, ours), _measurement(JPEG_420, jpeg)]


def _measurement(name: str, images: dict[str, list[Point]]) -> Measurement:
    means = [
        Point(
            points[0].setting,
            statistics.fmean(p.bpp for p in points),
            statistics.fmean(p.psnr for p in points),
            statistics.fmean(p.ms_ssim for p in points),
        )
        for points in zip(*images.values(), strict=True)
    ]
    return Measurement(name, means, images)


def bd_rates(ours: Measurement, anchor: Measurement) -> dict[str, float | None]:
    """BD-rate of the mean curves in per cent, for PSNR and for MS-SSIM.

    None where the curves do not overlap, or are none: small images have no MS-SSIM.
    """

    def delta(quality: str) -> float | None:
        curves: list[Curve] = []
        for measurement in (ours, anchor):
            values = [getattr(point, quality) for point in measurement.means]
            curves.append(Curve([point.bpp for point in measurement.means], values))
        try:
            return bd_rate(*curves)
        except ArgumentError:
            return None

    return {quality: delta(quality) for quality in ("psnr", "ms_ssim")}
