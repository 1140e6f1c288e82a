"""The codec and its anchors on a folder of images, by real file sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from rnnconv_codec.codec import Codec
from rnnconv_codec.container import truncate
from rnnconv_codec.errors import AnchorUnavailableWarning, ArgumentError, CodeSegmentError
from rnnconv_codec.evaluation.anchors import Anchor, decode
from rnnconv_codec.evaluation.cache import ImageKey, PointCache
from rnnconv_codec.evaluation.points import Measurement, Point, measure
from rnnconv_codec.evaluation.results import ImageInfo, ModelResult, Results
from rnnconv_codec.images import IMAGE_SUFFIXES, open_image, to_codec_mode


@dataclass(frozen=True)
class CodedImage:
    """One image and what a model makes of it.

    Attributes:
        points: one per iteration.
        pictures: what a decoder shows after each iteration.
        file_bytes: sizes of the file cut after each iteration.
    """

    points: list[Point]
    pictures: list[Image.Image]
    file_bytes: list[int]


ImageObserver = Callable[[str, Image.Image, dict[str, CodedImage]], None]
"""Called with an image's name, the image, and the coded images by the models' names."""


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Image files among the paths, and in the folders among them, sorted, each once.

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
    return list(dict.fromkeys(found))


def measure_codec(codec: Codec, image: Image.Image) -> CodedImage:
    """The codec at each number of iterations, by the size of a real file each time.

    The pictures are the encoder's own, which are what a decoder shows; the last one is decoded
    to make sure.

    Args:
        codec: to measure.
        image: of mode RGB or L.

    Raises:
        CodeSegmentError: the file does not decode to the encoder's picture.
    """
    segments: list[bytes] = []
    pictures: list[Image.Image] = []
    for step in codec.encode_iterations(image):
        segments.append(step.segment)
        pictures.append(step.picture)
    data = codec.pack(image, segments)
    if codec.decode(data).tobytes() != pictures[-1].tobytes():
        raise CodeSegmentError("the file decodes to another picture than the encoder's")
    sizes = [len(truncate(data, iterations=count)) for count in range(1, len(segments) + 1)]
    points = [
        measure(count, size, picture, image)
        for count, (size, picture) in enumerate(zip(sizes, pictures, strict=True), 1)
    ]
    return CodedImage(points, pictures, sizes)


def measure_anchor(anchor: Anchor, image: Image.Image, cache: PointCache) -> list[Point]:
    """An anchor at each setting of its ladder.

    Args:
        anchor: to measure.
        image: of mode RGB or L.
        cache: of points that were measured before.

    Raises:
        AnchorError: the encoder refuses the image.
    """
    key = ImageKey.of(image)

    def fresh(setting: float) -> Point:
        data = anchor.encode(image, setting)
        return measure(setting, len(data), decode(data, image.mode), image)

    return [cache.point(key, anchor, setting, partial(fresh, setting)) for setting in anchor.ladder]


def available(anchors: Iterable[Anchor]) -> list[Anchor]:
    """Those that this Pillow can write.

    Warns:
        AnchorUnavailableWarning: of each of the others.
    """
    found: list[Anchor] = []
    for anchor in anchors:
        if anchor.is_available():
            found.append(anchor)
        else:
            warnings.warn(
                f"this Pillow cannot write {anchor.name}: it is left out",
                AnchorUnavailableWarning,
                stacklevel=2,
            )
    return found


def evaluate(
    codecs: Sequence[Codec],
    anchors: Sequence[Anchor],
    paths: Iterable[Path],
    *,
    cache: PointCache,
    progress: Callable[[int, int], None] | None = None,
    observer: ImageObserver | None = None,
) -> Results:
    """Models and anchors on all images.

    Of the pictures only those of one image are in memory at a time.

    Args:
        codecs: models to measure.
        anchors: codecs to compare with.
        paths: images, or folders of them.
        cache: of anchors' points.
        progress: called with measurements done and their number, one per image and codec.
        observer: sees each image once all models have coded it.

    Raises:
        ArgumentError: there are no images.
        ImageFormatError: one cannot be read.
        AnchorError: an encoder refuses one.
    """
    files = find_images(paths)
    image_names = _distinct([path.name for path in files], [str(path) for path in files])
    model_names = _model_names(codecs)
    images: list[ImageInfo] = []
    points: dict[str, dict[str, list[Point]]] = {
        name: {} for name in (*model_names, *(anchor.name for anchor in anchors))
    }
    done, total = 0, len(files) * len(points)

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    for name, path in zip(image_names, files, strict=True):
        image = to_codec_mode(open_image(path))
        # Pixels alone are compared: `pack` writes no metadata, and anchors must not either.
        image.info.clear()
        images.append(ImageInfo(name, image.width, image.height))
        for anchor in anchors:
            points[anchor.name][name] = measure_anchor(anchor, image, cache)
            count()
        coded: dict[str, CodedImage] = {}
        for model_name, codec in zip(model_names, codecs, strict=True):
            coded[model_name] = measure_codec(codec, image)
            points[model_name][name] = coded[model_name].points
            count()
        if observer is not None:
            observer(name, image, coded)
    return Results(
        images,
        [
            ModelResult(
                codec.model_id.hex(),
                Measurement.of_images(
                    model_name,
                    "iterations",
                    f"model {codec.model_id.hex()}, preset {codec.config.preset}",
                    points[model_name],
                ),
            )
            for model_name, codec in zip(model_names, codecs, strict=True)
        ],
        [
            Measurement.of_images(
                anchor.name,
                anchor.setting_name,
                anchor.full_description(),
                points[anchor.name],
            )
            for anchor in anchors
        ],
    )


def _model_names(codecs: Sequence[Codec]) -> list[str]:
    ids = [codec.model_id.hex() for codec in codecs]
    if len(set(ids)) < len(ids):
        raise ArgumentError("the same weights are named twice")
    names = [codec.name for codec in codecs]
    return _distinct(names, [f"{n} ({i})" for n, i in zip(names, ids, strict=True)])


def _distinct(short: Sequence[str], long: Sequence[str]) -> list[str]:
    """The short names if no two are equal, else the long ones."""
    return list(short if len(set(short)) == len(short) else long)
