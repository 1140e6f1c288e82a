"""Measured points of anchors, kept between runs: an image's anchors never change.

An entry is a small JSON file. Its name is the SHA-256 of all that the point depends on: pixels,
anchor, options, and the versions of the libraries that encode and measure. It carries a digest of
its content, so that an entry that was damaged is measured again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from rnnconv_codec.errors import CacheUnavailableWarning, InputFileError, OutputFileError
from rnnconv_codec.evaluation.anchors import Anchor
from rnnconv_codec.evaluation.points import Point, point_from_dict, to_dict
from rnnconv_codec.files import atomic_write, read_file

CACHE_VERSION = 1
"""Part of every key: to be raised when the same key would be given another point."""

_METRIC_LIBRARIES = ("numpy", "torch", "pytorch-msssim")


@dataclass(frozen=True)
class ImageKey:
    """The pixels of an image, hashed once for all its settings.

    Attributes:
        digest: SHA-256 of size, mode and pixels.
        channels: 3 or 1.
    """

    digest: str
    channels: int

    @classmethod
    def of(cls, image: Image.Image) -> ImageKey:
        """The key of these pixels, whatever file they came from."""
        sha = hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode())
        sha.update(image.tobytes())
        return cls(sha.hexdigest(), len(image.getbands()))


class PointCache:
    """Points in a folder, or nowhere.

    Args:
        folder: made when the first point is stored; None measures everything anew.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def point(
        self, image: ImageKey, anchor: Anchor, setting: float, measure: Callable[[], Point]
    ) -> Point:
        """The stored point, or `measure()`, which is stored.

        Warns:
            CacheUnavailableWarning: it cannot be stored; once, then nothing is tried any more.
        """
        if self._folder is None:
            return measure()
        description = {
            "cache": CACHE_VERSION,
            "image": image.digest,
            "format": anchor.format,
            "setting": setting,
            "options": dict(anchor.save_options(setting, image.channels)),
            "versions": {**anchor.versions(), **_metric_versions()},
        }
        key = _digest(description)
        path = self._folder / key[:2] / f"{key}.json"
        found = _read(path, key)
        if found is None:
            found = measure()
            try:
                _write(path, key, found)
            except (OSError, OutputFileError) as error:
                warnings.warn(
                    f"measurements are not kept for the next time: {error}",
                    CacheUnavailableWarning,
                    stacklevel=2,
                )
                self._folder = None
        return found


@lru_cache(maxsize=1)
def _metric_versions() -> dict[str, str]:
    return {library: version(library) for library in _METRIC_LIBRARIES}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _entry(key: str, point: Point) -> dict[str, Any]:
    content = {"key": key, "point": to_dict(point)}
    return {**content, "sha256": _digest(content)}


def _read(path: Path, key: str) -> Point | None:
    """The point of an entry; None if there is none or anything at all is wrong with it."""
    try:
        entry = json.loads(read_file(path))
        point = point_from_dict(entry["point"])
        return point if entry == _entry(key, point) else None
    except (InputFileError, ArithmeticError, KeyError, RecursionError, TypeError, ValueError):
        return None


def _write(path: Path, key: str, point: Point) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(_entry(key, point)).encode(), force=True)
