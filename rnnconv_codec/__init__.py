"""rnncodec: a progressive neural image codec.

    from PIL import Image
    import rnnconv_codec

    data = rnnconv_codec.encode(Image.open("photo.png"))
    rnnconv_codec.decode(data, iterations=3).save("preview.png")

Pillow then opens and saves `.rnc` files, too: see `rnnconv_codec.pillow`. Importing this package
imports neither torch nor NumPy: each name is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rnnconv_codec import pillow as pillow

if TYPE_CHECKING:
    from rnnconv_codec.api import decode, encode
    from rnnconv_codec.codec import Codec
    from rnnconv_codec.container import inspect
    from rnnconv_codec.targets import truncate

__version__ = "0.1.0"

__all__ = ["Codec", "__version__", "decode", "encode", "inspect", "pillow", "truncate"]

_HOMES = {
    "Codec": "rnnconv_codec.codec",
    "decode": "rnnconv_codec.api",
    "encode": "rnnconv_codec.api",
    "inspect": "rnnconv_codec.container",
    "truncate": "rnnconv_codec.targets",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
