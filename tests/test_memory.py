"""Imports without garbage collection, and what of it stays."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rnnconv_codec.memory import collected_later


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_until_the_end_of_an_import() -> None:
    with pytest.raises(ImportError), collected_later():
        assert not gc.isenabled()
        raise ImportError

    assert gc.isenabled()


def test_who_had_no_collection_has_none_afterwards() -> None:
    gc.disable()

    with collected_later():
        pass

    assert not gc.isenabled()


def test_the_objects_of_a_library_user_are_not_frozen() -> None:
    with collected_later():
        made = [[] for _ in range(1000)]  # type: ignore[var-annotated]

    assert gc.get_freeze_count() == 0
    assert any(found is made for found in gc.get_objects())


def test_in_a_process_of_ours_what_was_imported_is_never_looked_at_again() -> None:
    program = """
import gc
from rnnconv_codec.memory import collected_later, own_process
own_process()
before = gc.get_freeze_count()
with collected_later():
    made = [[] for _ in range(100000)]
print(gc.get_freeze_count() - before, gc.isenabled(), any(o is made for o in gc.get_objects()))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert int(found[0]) >= 100000
    assert found[1:] == ["True", "False"]
