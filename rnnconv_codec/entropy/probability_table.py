"""From fixed-point logits to integer probabilities, by table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.fixed_point import MAX_LOGIT, UNIT

PROBABILITY_BITS = 16
"""Probabilities are integers out of 2^16."""

PROBABILITY_TOTAL = 1 << PROBABILITY_BITS

MIN_PROBABILITY = 16
"""No code is surer than 1 - 2^-12: a wrong guess costs at most 12 bits."""

TABLE_LENGTH = 2 * MAX_LOGIT + 1


def make_table() -> NDArray[np.int32]:
    """Probability of bit 1, out of 2^16, for the logits -`MAX_LOGIT`..`MAX_LOGIT`.

    Made once, when weights are exported, and stored with them: decoders read it, so a rounding
    difference in `exp` cannot reach them.
    """
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1) / UNIT
    probability = np.rint(PROBABILITY_TOTAL / (1 + np.exp(-logits)))
    return np.clip(probability, MIN_PROBABILITY, PROBABILITY_TOTAL - MIN_PROBABILITY).astype(
        np.int32
    )
