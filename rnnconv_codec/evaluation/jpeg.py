"""JPEG 4:2:0 of a size that is given."""

from __future__ import annotations

from PIL import Image

from rnnconv_codec.evaluation.anchors import JPEG_420

QUALITIES = range(1, 101)


class JpegSizes:
    """The JPEG files of one image by their size; each quality is encoded once at most.

    Sizes rise with the quality, but for an irregularity of a few bytes, so they are found by
    bisection.

    Args:
        image: of mode RGB or L.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self._files: dict[int, bytes] = {}

    def file(self, quality: int) -> bytes:
        """The file of a quality of `QUALITIES`."""
        if quality not in self._files:
            self._files[quality] = JPEG_420.encode(self._image, quality)
        return self._files[quality]

    def within(self, max_bytes: int) -> int:
        """The best quality whose file has at most this many bytes; the lowest if none has."""
        low, high = QUALITIES[0], QUALITIES[-1]
        while low < high:
            middle = (low + high + 1) // 2
            if len(self.file(middle)) <= max_bytes:
                low = middle
            else:
                high = middle - 1
        return low

    def nearest(self, file_bytes: int) -> int:
        """The quality whose file's size is nearest."""
        below = self.within(file_bytes)
        above = min(below + 1, QUALITIES[-1])
        return min((below, above), key=lambda quality: abs(len(self.file(quality)) - file_bytes))
