"""Files mean the same whatever computes: threads, instruction sets, arithmetic.

A sample of what `scripts/machines.py` tries; the whole of it is in docs/RELIABILITY.md.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "machines.py"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def compared(script: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The golden files and their pictures, under a few settings."""
    settings = [setting for setting in script["SETTINGS"] if setting.name in script["QUICK"]]
    assert len(settings) == len(script["QUICK"])
    rows: list[Any] = script["compare"](settings, (), tmp_path_factory.mktemp("machines"))
    assert len(rows) == 1 + len(settings)
    return rows


def test_golden_files_decode_to_their_codes_under_every_setting(compared: list[Any]) -> None:
    assert [row for row in compared if row.exact != row.files] == []


def test_files_written_under_one_setting_decode_under_another(compared: list[Any]) -> None:
    assert [row for row in compared if row.returned != row.written] == []


def test_pixels_differ_by_the_rounding_of_a_level_at_most(compared: list[Any]) -> None:
    assert max(row.difference for row in compared) <= 1


def test_codes_that_are_not_those_of_the_file_are_noticed(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, expected = script["golden_files"]()
    expected["golden-tiny-grey"] = expected["golden-tiny-colour"]
    monkeypatch.setitem(script["compare"].__globals__, "golden_files", lambda: (files, expected))
    (row,) = script["compare"]((), (), tmp_path)
    assert row.exact == row.files - 1 and not row.is_good
