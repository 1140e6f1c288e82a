"""A damaged file gives the right picture, the picture so far with a notice, or an error.

A sample of what `scripts/damage.py` tries; the whole of it is in docs/RELIABILITY.md.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "damage.py"

VALUES = 2
CHANGES = 500
SEED = 7


@pytest.fixture(scope="module")
def damage() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def codec(damage: dict[str, Any]) -> Codec:
    """The model that it takes."""
    return Codec.load(damage["WEIGHTS"])


@pytest.fixture(scope="module", params=[0, 1], ids=["whole", "partial"])
def subject(request: pytest.FixtureRequest, damage: dict[str, Any], codec: Codec) -> Any:
    """A file to damage."""
    return damage["subjects"](codec)[request.param]


def bad(damage: dict[str, Any], found: Any) -> dict[str, int]:
    return {name: found[name] for name in damage["BAD"] if found[name]}


def test_a_cut_file_gives_the_picture_so_far_or_an_error(
    damage: dict[str, Any], codec: Codec, subject: Any
) -> None:
    found = damage["count"](codec, subject, damage["beginnings"](subject.content))

    assert not bad(damage, found)
    # Cut inside the second iteration or later there is a picture, and before an error.
    first = inspect(subject.content).cumulative_bytes[0]
    assert found["so far"] == len(subject.content) - first
    assert found["error"] == first


def test_no_changed_byte_gives_another_picture(
    damage: dict[str, Any], codec: Codec, subject: Any
) -> None:
    changed = damage["single_changes"](subject.content, VALUES, SEED)

    found = damage["count"](codec, subject, changed)

    assert found.total() == VALUES * len(subject.content)
    assert not bad(damage, found)


def test_no_random_change_gives_another_picture(
    damage: dict[str, Any], codec: Codec, subject: Any
) -> None:
    changed = damage["random_changes"](subject.content, CHANGES, SEED)

    found = damage["count"](codec, subject, changed)

    assert found.total() == CHANGES
    assert not bad(damage, found)


def test_another_picture_would_be_found(damage: dict[str, Any], codec: Codec, subject: Any) -> None:
    other = codec.encode(codec.decode(subject.content).rotate(180))

    assert damage["outcome"](codec, subject, other) == "wrong"
    assert damage["outcome"](codec, subject, subject.content) == "right"
