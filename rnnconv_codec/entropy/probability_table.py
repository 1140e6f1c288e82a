"""From fixed-point logits to integer probabilities, by table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.fixed_point import MAX_LOGIT, UNIT
from rnnconv_codec.errors import IntegerRangeError

PROBABILITY_BITS = 16
"""Probabilities are integers out of 2^16."""

PROBABILITY_TOTAL = 1 << PROBABILITY_BITS

PAIR_STEP = 16
"""Products of two multiples of 2^-12 are multiples of 2^-24, the range coder's precision."""

MIN_PROBABILITY = PAIR_STEP
"""No code is surer than 1 - 2^-12: a wrong guess costs at most 12 bits."""

TABLE_LENGTH = 2 * MAX_LOGIT + 1

_SKIPPED = (0, PROBABILITY_TOTAL)
_LIMITS = (MIN_PROBABILITY, PROBABILITY_TOTAL - MIN_PROBABILITY)


def make_table() -> NDArray[np.int32]:
    """Probability of bit 1, out of 2^16, for the logits -`MAX_LOGIT`..`MAX_LOGIT`.

    Made once, when weights are exported, and stored with them: decoders read it, so a rounding
    difference in `exp` cannot reach them. The 0 and 2^16 at its ends say that sure codes are
    skipped, and multiples of `PAIR_STEP` that codes are coded in pairs: see `ProbabilityTable`.
    """
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1) / UNIT
    steps = np.rint(PROBABILITY_TOTAL / PAIR_STEP / (1 + np.exp(-logits)))
    table: NDArray[np.int32] = np.clip(PAIR_STEP * steps, *_LIMITS).astype(np.int32)
    table[[0, -1]] = _SKIPPED
    return table


class ProbabilityTable:
    """The table of a weights file.

    Attributes:
        skips_sure_codes: whether sure codes, whose logits are at their limits, are left out where
            they can be (see `entropy.groups`). A table says so by a 0 as its first entry and 2^16
            as its last one. Tables of older weights have `MIN_PROBABILITY` there, which is what
            these two stand for where a sure code is coded after all.
        codes_pairs: whether the range coder takes codes two at a time (see `entropy.range_coder`),
            which it can if all probabilities are multiples of `PAIR_STEP`. Those of older weights
            are not.
    """

    def __init__(self, values: NDArray[np.int32]) -> None:
        """Check and take the values.

        Args:
            values: (`TABLE_LENGTH`,) of bit 1, out of 2^16, by logit.

        Raises:
            IntegerRangeError: there are probabilities of 0 or 1, other than at both ends.
        """
        self._values = values.copy()
        self.skips_sure_codes = (int(values[0]), int(values[-1])) == _SKIPPED
        if self.skips_sure_codes:
            self._values[[0, -1]] = _LIMITS
        if int(self._values.min()) <= 0 or int(self._values.max()) >= PROBABILITY_TOTAL:
            raise IntegerRangeError("the probability table holds impossible probabilities")
        self.codes_pairs = not bool((self._values % PAIR_STEP).any())

    def probabilities(self, logits: NDArray[np.int16]) -> NDArray[np.int32]:
        """Probabilities of bit 1, out of 2^16 and exclusive of both ends, of logits (n,)."""
        indices = logits.astype(np.intp) + MAX_LOGIT
        # Logits are clamped; with "clip" numpy does not look again, ten times as fast.
        probabilities: NDArray[np.int32] = np.take(self._values, indices, mode="clip")
        return probabilities
