"""How many iterations of a file fit into a budget."""

from __future__ import annotations

from rnnconv_codec.container import FileInfo, inspect, truncate
from rnnconv_codec.errors import BudgetError

_BITS_PER_BYTE = 8


def iterations_within(info: FileInfo, max_bpp: float) -> int:
    """The most iterations with which the file has at most `max_bpp` bits per pixel.

    Raises `BudgetError`, which names the least possible, if even the first iteration has more.
    """
    fitting = sum(bpp <= max_bpp for bpp in info.cumulative_bpp)
    if fitting == 0:
        least = info.cumulative_bpp[0]
        least_bytes = round(least * info.width * info.height / _BITS_PER_BYTE)
        raise BudgetError(
            f"{max_bpp:.3f} bpp is too little for this picture: "
            f"the least is {least:.3f} bpp, {least_bytes} bytes"
        )
    return fitting


def truncate_to_bpp(data: bytes, max_bpp: float) -> bytes:
    """The `.rnc` file `data` with as many whole iterations as `max_bpp` bits per pixel allow.

    Raises `BudgetError` if the first iteration has more, and what `inspect` raises.
    """
    return truncate(data, iterations=iterations_within(inspect(data), max_bpp))
