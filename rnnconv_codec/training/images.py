"""Training images and the crops taken from them."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rnnconv_codec.decoding import HALF_RANGE
from rnnconv_codec.errors import TrainingError
from rnnconv_codec.images import IMAGE_SUFFIXES

CLEAN_JPEG_DC_STEP = 1
"""A JPEG whose luma DC quantiser step is above this shows its 8x8 grid to a model."""

MAX_DOWNSCALE = 1.5
"""Largest random factor by which a crop of a visibly quantised JPEG is reduced."""

TRANSPOSE_PROBABILITY = 0.2
"""Photographs are not symmetric in their axes: few crops are transposed, half are mirrored."""


@dataclass(frozen=True)
class TrainingImage:
    """One decoded photograph.

    Attributes:
        pixels: uint8 (H, W, 3).
        gridded: the source was a JPEG coarse enough to show its 8x8 grid.
    """

    pixels: NDArray[np.uint8]
    gridded: bool


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted by path.

    Raises:
        TrainingError: the folder does not exist or holds no image.
    """
    if not folder.is_dir():
        raise TrainingError(f"{folder}: no such folder")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise TrainingError(f"{folder}: no images found")
    return paths


def load_image(path: Path) -> TrainingImage:
    """Decode one image file to RGB.

    Raises:
        TrainingError: Pillow cannot read it.
    """
    try:
        with Image.open(path) as image:
            tables = getattr(image, "quantization", None)
            gridded = tables is not None and tables[0][0] > CLEAN_JPEG_DC_STEP
            return TrainingImage(np.asarray(image.convert("RGB")), gridded)
    except OSError as error:
        raise TrainingError(f"{path}: {error}") from error


def load_images(folder: Path, minimum_side: int) -> list[TrainingImage]:
    """Decode all images below a folder whose shorter side is at least `minimum_side` pixels.

    Raises:
        TrainingError: none is large enough, or one cannot be read.
    """
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(load_image, find_images(folder)))
    images = [i for i in images if min(i.pixels.shape[:2]) >= minimum_side]
    if not images:
        raise TrainingError(f"{folder}: no image of at least {minimum_side} pixels a side")
    return images


def high_entropy_tiles(
    images: list[TrainingImage], tile_size: int, tiles_per_image: int
) -> list[TrainingImage]:
    """Per image the tiles that PNG compresses worst (Toderici et al. 2017, section 4).

    The tiles of one image do not overlap.

    Args:
        images: photographs at least `tile_size` pixels a side.
        tile_size: side of a tile in pixels.
        tiles_per_image: how many to keep of each image.
    """
    tiles: list[TrainingImage] = []
    for image in images:
        pixels = image.pixels
        candidates: list[tuple[int, int, int]] = []
        for top in range(0, pixels.shape[0] - tile_size + 1, tile_size):
            for left in range(0, pixels.shape[1] - tile_size + 1, tile_size):
                tile = pixels[top : top + tile_size, left : left + tile_size]
                candidates.append((_png_bytes(tile), top, left))
        candidates.sort(reverse=True)
        tiles.extend(
            TrainingImage(
                np.ascontiguousarray(pixels[top : top + tile_size, left : left + tile_size]),
                image.gridded,
            )
            for _, top, left in candidates[:tiles_per_image]
        )
    return tiles


def _png_bytes(pixels: NDArray[np.uint8]) -> int:
    """Size of the pixels as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.tell()


def to_tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [-1, 1], channels last in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(HALF_RANGE).sub_(1.0)


class CropSampler:
    """Random crops, the same for the same seed and step, whatever was drawn before.

    Images are drawn in proportion to their area. A crop of a gridded JPEG is reduced by a random
    factor of 1 to `MAX_DOWNSCALE`, so that no model learns the 8x8 grid.
    """

    def __init__(
        self, images: list[TrainingImage], crop_size: int, batch_size: int, seed: int
    ) -> None:
        self._images = images
        self._crop_size = crop_size
        self._batch_size = batch_size
        self._seed = seed
        areas = np.array([i.pixels.shape[0] * i.pixels.shape[1] for i in images], np.float64)
        self._cumulative = np.cumsum(areas / areas.sum())

    def batch(self, step: int) -> torch.Tensor:
        """The crops of one step: float32 (N, 3, H, W) in [-1, 1]."""
        rng = np.random.default_rng((self._seed, step))
        size = self._crop_size
        crops = np.empty((self._batch_size, size, size, 3), np.uint8)
        for index in range(self._batch_size):
            chosen = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
            image = self._images[min(chosen, len(self._images) - 1)]
            crops[index] = self._crop(image, rng)
        return to_tensor(crops)

    def _crop(self, image: TrainingImage, rng: np.random.Generator) -> NDArray[np.uint8]:
        height, width = image.pixels.shape[:2]
        side = self._crop_size
        if image.gridded:
            side = math.ceil(side * rng.uniform(1.0, MAX_DOWNSCALE))
            side = min(side, height, width)
        top = int(rng.integers(height - side + 1))
        left = int(rng.integers(width - side + 1))
        crop = image.pixels[top : top + side, left : left + side]
        if side != self._crop_size:
            reduced = Image.fromarray(crop).resize(
                (self._crop_size, self._crop_size), Image.Resampling.BICUBIC
            )
            crop = np.asarray(reduced)
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < TRANSPOSE_PROBABILITY:
            crop = crop.transpose(1, 0, 2)
        return crop


def prefetch(sampler: CropSampler, first_step: int, depth: int = 4) -> Iterator[torch.Tensor]:
    """Batches of `sampler` from `first_step` on, made by a thread ahead of their use."""
    queue: Queue[torch.Tensor | BaseException] = Queue(depth)
    stopped = threading.Event()

    def put(item: torch.Tensor | BaseException) -> None:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.5)
                return
            except Full:
                continue

    def produce() -> None:
        step = first_step
        try:
            while not stopped.is_set():
                put(sampler.batch(step))
                step += 1
        except BaseException as error:
            put(error)

    threading.Thread(target=produce, daemon=True).start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
