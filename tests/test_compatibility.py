"""Files that earlier releases wrote decode, and to the same pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rnnconv_codec

FOLDER = Path(__file__).parent / "compatibility"
FILES = sorted(FOLDER.glob("*.rnc"))


CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"
RELEASES = re.findall(r"^## \[(\d\S*)\]", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)


def test_there_is_a_file_of_every_release() -> None:
    assert "0.1.0" in RELEASES
    assert [name for name in RELEASES if FOLDER / f"{name}.rnc" not in FILES] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_of_earlier_releases_decode_without_naming_the_weights(path: Path) -> None:
    decoded = rnnconv_codec.decode(path.read_bytes())

    with Image.open(path.with_suffix(".png")) as expected:
        assert decoded.mode == expected.mode
        # The networks are floating point: another machine may round a level differently.
        difference = np.abs(np.asarray(decoded, int) - np.asarray(expected, int))
    assert difference.max() <= 1
