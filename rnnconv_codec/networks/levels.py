"""The numbers of the networks' 8-bit arithmetic: see `int8` for what they are for."""

from __future__ import annotations

MAX_WEIGHT = 127
MAX_SIGNED = 127
MAX_BYTE = 255

LEAST_SHARE = 2.0**-6
"""No channel counts as smaller than this share of the largest, or its weights would vanish."""

LEAST_WEIGHT = 2.0**-40
"""Outputs whose weights are all 0 need a scale too."""

RANGED_PARTS = ("analysis", "fine_encoder", "synthesis", "loop_filter", "post_filter")
"""The parts of the compact network whose convolutions can do with 8 bits.

Not the coarse encoder, whose coefficients are the largest, nor the binarizers, whose signs are the
codes, nor what the decoder's state is made of, as that adds up over the iterations.
"""
