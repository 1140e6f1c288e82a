"""What all tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
