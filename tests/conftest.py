"""What all tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import skimage.data
import torch
from PIL import Image

from rnnconv_codec.codec import Codec
from rnnconv_codec.weights import ModelFile, load_model_file

# Small tensors: more threads only wait for each other, and for whatever else runs.
torch.set_num_threads(1)

# A busy machine is no failure.
hypothesis.settings.register_profile("rnncodec", deadline=None)
hypothesis.settings.load_profile("rnncodec")

GOLDEN_FOLDER = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites the golden files."""
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="write tests/golden anew from the code; only after a deliberate change of format",
    )


@pytest.fixture
def golden_file(request: pytest.FixtureRequest) -> Callable[[str, bytes], bytes]:
    """A function (name, bytes the code makes now) -> bytes pinned in tests/golden.

    With `--regenerate-golden` it writes the bytes of now first, so the comparison passes.
    """

    def load(name: str, current: bytes) -> bytes:
        path = GOLDEN_FOLDER / name
        if request.config.getoption("--regenerate-golden"):
            path.write_bytes(current)
        return path.read_bytes()

    return load


@pytest.fixture(scope="session")
def tiny_weights() -> Path:
    """A weights file of a small model, trained by `scripts/make_golden.py`."""
    return GOLDEN_FOLDER / "tiny.safetensors"


@pytest.fixture(scope="session")
def tiny_model(tiny_weights: Path) -> ModelFile:
    """The small model's weights, loaded."""
    return load_model_file(tiny_weights)


@pytest.fixture(scope="session")
def tiny_codec(tiny_model: ModelFile) -> Codec:
    """The small model, ready to encode and decode."""
    return Codec(tiny_model)


@pytest.fixture(scope="session")
def photograph() -> Callable[[str], Image.Image]:
    """A function from the name of a photograph of scikit-image to the picture, mode RGB."""
    return lambda name: Image.fromarray(getattr(skimage.data, name)())
