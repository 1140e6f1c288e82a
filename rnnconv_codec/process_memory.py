"""What Python and the C library do about memory while it is not needed, in processes of ours.

Garbage collection while torch is imported is a quarter of the time that takes, for nothing: an
import makes hundreds of thousands of objects that stay, and Python looks through all of them again
and again for some that do not. It does so once more when the process ends.

And glibc gives large blocks back to the system whenever they are freed; those of the next strip of
a picture then have to be had page by page again.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
    _keep_freed_blocks()


def _keep_freed_blocks() -> None:
    """Where the C library is glibc; the others have nothing to set, or nothing to gain."""
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES)
        set_option(_M_TRIM_THRESHOLD, KEPT_BYTES)


@contextmanager
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
