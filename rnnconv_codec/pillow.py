"""Pillow opens and saves `.rnc` files; importing `rnnconv_codec` is enough.

    from PIL import Image
    import rnnconv_codec

    with Image.open("photo.rnc") as image:  # size, mode and metadata, no pixels yet
        image.choose(iterations=2)  # optional; before the pixels are loaded
        image.save("preview.png")
    Image.open("photo.jpg").save("photo.rnc", bpp=0.5)

Opening reads the file and checks it; PyTorch is imported when the pixels are first needed. Pillow's
guard against decompression bombs, `Image.MAX_IMAGE_PIXELS`, holds as for any other format: above it
`Image.open` warns, and above twice as many pixels it raises `DecompressionBombError`. The pixels of
more than `DEFAULT_MAX_PIXELS` are decoded only if `choose(max_pixels=...)` or, when saving,
the option `max_pixels` says so.
"""

from __future__ import annotations

import io
import os
from typing import IO, Any

from PIL import Image, ImageFile

from rnnconv_codec.container import DEFAULT_MAX_PIXELS, MAGIC, Container, read_container
from rnnconv_codec.errors import ContainerError, IterationsError, RnncodecError

FORMAT = "RNC"
EXTENSION = ".rnc"
MIME_TYPE = "image/x-rnc"

_METADATA_OPTIONS = {"icc_profile": "icc", "exif": "exif", "xmp": "xmp"}
_ENCODE_OPTIONS = (
    *("iterations", "bpp", "size", "psnr", "ms_ssim"),
    *("weights", "alpha", "max_pixels"),
)
_ALPHA_MODES = {"RGB": "RGBA", "L": "LA"}


class RncImageFile(ImageFile.ImageFile):
    """An `.rnc` file as a Pillow image.

    Attributes:
        iterations: how many the file has; decoded are all, or as many as `choose` says.
    """

    format = FORMAT
    format_description = "rnncodec progressive image"

    iterations: int

    def _open(self) -> None:
        assert self.fp is not None
        self._content: bytes = self.fp.read()
        try:
            container = read_container(self._content)
        except ContainerError as error:
            raise OSError(f"damaged .rnc file: {error}") from error
        self.iterations = len(container.segments)
        self._chosen: int | None = None
        self._weights: str | os.PathLike[str] | None = None
        self._max_pixels = DEFAULT_MAX_PIXELS
        self._size = (container.header.width, container.header.height)
        self._mode = _mode_of(container)
        _attach_metadata(self, container)

    def choose(
        self,
        *,
        iterations: int | None = None,
        weights: str | os.PathLike[str] | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        """Say how the pixels are to be decoded, before they are loaded.

        `iterations` is between 1 and those of the file, which None stands for: fewer are faster and
        coarser. `weights` None stands for the installed ones that the file was written with. Of
        more than `max_pixels` the pixels are not loaded.

        Raises `IterationsError`; `OSError` if the pixels are loaded already.
        """
        if not self._content:
            raise OSError("the pixels are loaded already")
        if iterations is not None and not 1 <= iterations <= self.iterations:
            raise IterationsError(
                f"the file has 1 to {self.iterations} iterations, asked were {iterations}"
            )
        self._chosen, self._weights, self._max_pixels = iterations, weights, max_pixels

    def load(self) -> Any:
        """Decode the pixels, at the first call.

        Raises `OSError` if they cannot be decoded: no fitting weights, damaged codes, too many.
        """
        if self._content:
            from rnnconv_codec.api import decode

            try:
                picture = decode(
                    self._content,
                    iterations=self._chosen,
                    weights=self._weights,
                    max_pixels=self._max_pixels,
                )
            except RnncodecError as error:
                raise OSError(str(error)) from error
            self._content = b""
            self.fp = io.BytesIO(picture.tobytes())
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()


def _mode_of(container: Container) -> str:
    mode = container.header.mode.pillow_mode
    return mode if container.metadata.alpha is None else _ALPHA_MODES[mode]


def _attach_metadata(image: Image.Image, container: Container) -> None:
    from rnnconv_codec.images import attach_metadata

    attach_metadata(image, container.metadata)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, stream: IO[bytes], filename: str | bytes) -> None:
    """Write an image.

    Options of `Image.save` are those of `api.encode`, and `icc_profile`, `exif` and `xmp` in place
    of the image's, where an empty one leaves it out.
    """
    from rnnconv_codec.api import encode

    del filename  # Pillow has opened it
    options: dict[str, Any] = image.encoderinfo
    picture, strip = image.copy(), set(options.get("strip", ()))
    for key, name in _METADATA_OPTIONS.items():
        if key not in options:
            continue
        value = options[key]
        value = value.tobytes() if isinstance(value, Image.Exif) else value
        picture.info[key] = value
        if not value:
            strip.add(name)
    passed = {name: options[name] for name in _ENCODE_OPTIONS if name in options}
    stream.write(encode(picture, strip=strip, **passed))


Image.register_open(FORMAT, RncImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, EXTENSION)
Image.register_mime(FORMAT, MIME_TYPE)
