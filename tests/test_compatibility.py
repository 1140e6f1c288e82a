"""Files that earlier releases wrote decode, and to the same pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rnnconv_codec

FOLDER = Path(__file__).parent / "compatibility"
FILES = sorted(FOLDER.glob("*.rnc"))


def test_there_are_files_of_earlier_releases() -> None:
    assert FOLDER / "0.1.0.rnc" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_earlier_releases_decode_without_naming_the_weights(path: Path) -> None:
    decoded = rnnconv_codec.decode(path.read_bytes())

    with Image.open(path.with_suffix(".png")) as expected:
        assert decoded.mode == expected.mode
        # The networks are floating point: another machine may round a level differently.
        difference = np.abs(np.asarray(decoded, int) - np.asarray(expected, int))
    assert difference.max() <= 1
