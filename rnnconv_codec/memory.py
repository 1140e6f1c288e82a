"""What Python and the C library do about memory that is not needed.

Garbage collection while torch is imported is a quarter of the time that takes, for nothing: an
import makes hundreds of thousands of objects that stay, and Python looks through all of them again
and again for some that do not. It does so once more when the process ends.

And glibc gives large blocks back to the system whenever they are freed; those of the next strip of
a picture then have to be had page by page again.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""

KEPT_BLOCK_BYTES = 1 << 28
"""Blocks up to this size are kept for the next of their kind: those of strips, not of pictures."""

KEPT_BYTES = 1 << 29
"""At most so much is kept at the end of the heap."""


def own_process() -> None:
    """Say that this process is one of ours, where what is imported stays to the end.

    A process that uses the package as a library decides by itself about `gc.freeze` and `mallopt`.
    """
    gc.freeze()
    atexit.register(gc.freeze)
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
    _call_glibc("mallopt", _M_TRIM_THRESHOLD, KEPT_BYTES)


@contextlib.contextmanager
def collected_later() -> Iterator[None]:
    """For imports: while active there is no garbage collection.

    In a process of ours, or another one that has frozen objects, what is there at the end is
    frozen too: no later collection looks at it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count():
            gc.freeze()
        if was_enabled:
            gc.enable()


def give_back_freed_memory() -> None:
    """Let the C library return to the system what was freed, where it can (glibc).

    Pillow's pictures are in blocks that leave holes when they are freed, which the larger tensors
    that come after do not fit into: 4 bytes a pixel of a large picture.
    """
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int) -> None:
    """Call a function of glibc; elsewhere do nothing."""
    # Windows has no library of this name, other C libraries no such function.
    with contextlib.suppress(OSError, TypeError, AttributeError):
        getattr(ctypes.CDLL(None), name)(*arguments)
