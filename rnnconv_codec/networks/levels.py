"""The numbers of the networks' 8-bit arithmetic: see `int8` for what they are for."""

from __future__ import annotations

MAX_WEIGHT = 127
MAX_SIGNED = 127
MAX_BYTE = 255

MAX_CODE = 63
"""A code of 1; with bytes of 7 bits no weights can saturate (`pair_weight`)."""

LEAST_SHARE = 2.0**-6
"""No channel counts as smaller than this share of the largest, or its weights would vanish."""

LEAST_WEIGHT = 2.0**-40
"""Outputs whose weights are all 0 need a scale too."""


def pair_weight(largest: int) -> int:
    """How large two neighbouring weights of the same sign may be in sum, before rounding.

    Processors without VNNI add the products of inputs 2i and 2i + 1 in 16 bits. So that every
    machine computes with the same integers, none may need more. Rounding may add 1.

    Args:
        largest: of the bytes that they are multiplied with.
    """
    return (2**15 - 1) // largest - 1


RANGED_PARTS = ("analysis", "fine_encoder", "synthesis", "loop_filter", "post_filter")
"""The parts of the compact network whose convolutions can do with 8 bits.

Not the coarse encoder, whose coefficients are the largest, nor the binarizers, whose signs are the
codes, nor what the decoder's state is made of, as that adds up over the iterations.
"""
