"""Pictures side by side, with what is to be said of them under each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect
from rnnconv_codec.evaluation.anchors import decode
from rnnconv_codec.evaluation.jpeg import JpegSizes
from rnnconv_codec.metrics import psnr

SHOWN_ITERATIONS = (1, 2, 3, 4, 6, 8, 12, 16)
"""The iterations that a strip shows, as far as there are so many."""

MAX_REGION_SIDE = 320
"""A strip shows this part of larger pictures, in pixels, so that it shows them as they are."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

_GAP = 8
_CAPTION_HEIGHT = 44
_CAPTION_SIZE = 14
_MIN_PANEL_WIDTH = 160
_BACKGROUND = (255, 255, 255)
_INK = (0, 0, 0)


@dataclass(frozen=True)
class Panel:
    """A picture of a strip and the lines under it."""

    image: Image.Image
    caption: str


def caption(title: str, bpp: float, quality: float) -> str:
    """A title, the rate, and the PSNR in dB."""
    measured = "without loss" if math.isinf(quality) else f"{quality:.2f} dB"
    return f"{title}\n{bpp:.3f} bpp, {measured}"


def central_region(size: tuple[int, int]) -> Box:
    """The middle of a picture, of at most `MAX_REGION_SIDE` pixels a side."""
    width, height = (min(side, MAX_REGION_SIDE) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def draw_strip(rows: Sequence[Sequence[Panel]], region: Box) -> Image.Image:
    """The same region of each picture, row by row, with the captions under it."""
    width, height = region[2] - region[0], region[3] - region[1]
    column, row_height = max(width, _MIN_PANEL_WIDTH) + _GAP, height + _CAPTION_HEIGHT + _GAP
    columns = max(len(row) for row in rows)
    strip = Image.new("RGB", (_GAP + columns * column, _GAP + len(rows) * row_height), _BACKGROUND)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(_CAPTION_SIZE)
    for row_index, row in enumerate(rows):
        y = _GAP + row_index * row_height
        for index, panel in enumerate(row):
            x = _GAP + index * column
            strip.paste(panel.image.crop(region), (x, y))
            position = (x, y + height + _GAP // 2)
            draw.multiline_text(position, panel.caption, fill=_INK, font=font)
    return strip


def compare_with_jpeg(
    codec: Codec, image: Image.Image, iterations: Sequence[int]
) -> tuple[list[Panel], list[Panel]]:
    """A picture after some numbers of iterations, and JPEG of at most the same size each time.

    PSNR is that of whole pictures, bpp that of whole files without metadata.

    Args:
        codec: to encode with.
        image: of mode RGB or L.
        iterations: which, in any order.

    Returns:
        The codec's panels, the original last, and JPEG's. Where the smallest JPEG is larger than
        the codec's file, it is that one, and its title says so.

    Raises:
        IterationsError: the model has not so many iterations.
    """
    steps = list(codec.encode_iterations(image, max(iterations)))
    info = inspect(codec.pack(image, [step.segment for step in steps]))
    pixels = image.width * image.height
    sizes = JpegSizes(image)
    ours: list[Panel] = []
    jpegs: list[Panel] = []
    for number in sorted(set(iterations)):
        picture, bpp = steps[number - 1].picture, info.cumulative_bpp[number - 1]
        ours.append(Panel(picture, caption(f"iteration {number}", bpp, psnr(picture, image))))
        max_bytes = round(bpp * pixels / 8)
        quality = sizes.within(max_bytes)
        data = sizes.file(quality)
        decoded = decode(data, image.mode)
        title = f"JPEG, quality {quality}" if len(data) <= max_bytes else "JPEG, the smallest"
        measured = caption(title, 8 * len(data) / pixels, psnr(decoded, image))
        jpegs.append(Panel(decoded, measured))
    original = Panel(image, f"original\n{8 * len(image.getbands())} bpp")
    return [*ours, original], jpegs
