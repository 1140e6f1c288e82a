"""Memory that is freed but not yet the system's again."""

from __future__ import annotations

import contextlib
import ctypes


def give_back_freed_memory() -> None:
    """Let the C library return to the system what was freed, where it can (glibc).

    Pillow's pictures are in blocks that leave holes when they are freed, which the larger tensors
    that come after do not fit into: 4 bytes a pixel of a large picture.
    """
    # Windows has no library of this name, other C libraries no such function.
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
