"""What a file is decoded with: torch, or NumPy alone while importing torch would take longer."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rnnconv_codec.api import weights_for
from rnnconv_codec.container import inspect
from rnnconv_codec.errors import ArgumentError, WeightsError

if TYPE_CHECKING:
    from rnnconv_codec.light.decoder import LightDecoder

LIGHT_PIXELS = 3 << 17
"""Up to so many pixels a picture is there sooner without torch (`benchmarks/engines.py`)."""

LIGHT_FILES = 2
"""The same for so many files of that size, one after the other."""

ENGINE_VARIABLE = "RNNCODEC_ENGINE"
"""Environment variable that takes the choice away, for tests and measurements."""

TORCH, LIGHT = "torch", "light"
"""Its values; `LIGHT` is for pictures of any size and any number of files."""


def light_decoder_for(
    data: bytes, weights: str | os.PathLike[str] | None, *, few_files: bool
) -> LightDecoder | None:
    """The decoder without torch if that is the way to decode a file, and None if it is not.

    Args:
        data: content of an `.rnc` file.
        weights: those of `api.decode`.
        few_files: whether there are at most `LIGHT_FILES` to decode.

    Raises:
        ContainerError: the file is damaged.
        WeightsNotFoundError: there are no such weights.
        ArgumentError: `ENGINE_VARIABLE` has another value than these two.
    """
    if not _is_light(data, few_files=few_files):
        return None
    path = weights_for(data, weights)
    status = path.stat()
    try:
        return _load_once(path.resolve(), status.st_mtime_ns, status.st_size)
    except WeightsError:
        # Weights of another preset, or none at all: torch's decoder does it, or says what is wrong.
        return None


def _is_light(data: bytes, *, few_files: bool) -> bool:
    asked = os.environ.get(ENGINE_VARIABLE)
    if asked is not None:
        if asked not in (TORCH, LIGHT):
            raise ArgumentError(f"{ENGINE_VARIABLE} is {asked!r}, neither {TORCH} nor {LIGHT}")
        return asked == LIGHT
    info = inspect(data)
    # Once torch is there it is faster.
    return few_files and "torch" not in sys.modules and info.width * info.height <= LIGHT_PIXELS


@lru_cache(maxsize=1)
def _load_once(path: Path, modified: int, size: int) -> LightDecoder:
    from rnnconv_codec.light.decoder import LightDecoder

    del modified, size  # as in `api`
    return LightDecoder.load(path)
