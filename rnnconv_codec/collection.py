"""Garbage collection while torch is imported: a quarter of the time that takes, for nothing.

An import makes hundreds of thousands of objects that stay, and Python looks through all of them
again and again for some that do not. It does so once more when the process ends.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def own_process() -> None:
    """Say that this process is one of ours, where what is imported stays to the end.

    A process that uses the package as a library decides by itself about `gc.freeze`.
    """
    gc.freeze()
    atexit.register(gc.freeze)


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
