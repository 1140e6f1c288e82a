"""The fixed-point numbers of the context model (DESIGN, section 3)."""

from __future__ import annotations

FRACTION_BITS = 5
"""Fractional bits of activations and logits."""

UNIT = 1 << FRACTION_BITS

MAX_ACTIVATION = 255
"""Activations are clipped to 0..255 in fixed point."""

MAX_WEIGHT = 127
"""Weights are int8, the lowest value unused."""

MAX_LOGIT = 272
"""Logits are clipped to ±272 in fixed point, ±8.5: there the probability is at its limit."""

MAX_SHIFT = 14
"""Largest power of two in a weight's scale."""

EXACT_LIMIT = 1 << 24
"""Integers below this are exact in float32, and so is every sum that stays below it."""

LAYER_SUM_LIMIT = 1 << 22
"""Training chooses scales so that Σ|w|·255 stays below this, a quarter of what loading allows."""
