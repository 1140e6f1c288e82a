"""From fixed-point logits to integer probabilities, by table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.classes import CLASS_LOGITS, CLASSES, classes_of
from rnnconv_codec.entropy.fixed_point import MAX_LOGIT, UNIT
from rnnconv_codec.errors import IntegerRangeError

PROBABILITY_BITS = 16
"""Probabilities are integers out of 2^16."""

PROBABILITY_TOTAL = 1 << PROBABILITY_BITS

MIN_PROBABILITY = 16
"""No code is surer than 1 - 2^-12: a wrong guess costs at most 12 bits."""

TABLE_LENGTH = 2 * MAX_LOGIT + 1

_SKIPPED = (0, PROBABILITY_TOTAL)
_LIMITS = (MIN_PROBABILITY, PROBABILITY_TOTAL - MIN_PROBABILITY)


def make_table() -> NDArray[np.int32]:
    """Probability of bit 1, out of 2^16, for the logits -`MAX_LOGIT`..`MAX_LOGIT`.

    Made once, when weights are exported, and stored with them: decoders read it, so a rounding
    difference in `exp` cannot reach them. The 0 and 2^16 at its ends say that sure codes are
    skipped and the others coded in classes: see `ProbabilityTable`.
    """
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1, dtype=np.int16)
    middles = (classes_of(logits) + 0.5) * CLASS_LOGITS - 0.5
    misses = np.rint(PROBABILITY_TOTAL / (1 + np.exp(middles / UNIT)))
    ones = np.where(logits > 0, PROBABILITY_TOTAL - misses, misses)
    table: NDArray[np.int32] = np.clip(ones, *_LIMITS).astype(np.int32)
    table[[0, -1]] = _SKIPPED
    return table


class ProbabilityTable:
    """The table of a weights file.

    Attributes:
        miss_probabilities: of codes not to be what the sign of their logit says, out of 2^16, by
            class. Then codes are coded in classes (see `entropy.classes`), and sure codes are left
            out where they can be (see `entropy.groups`). A table says so by a 0 as its first entry
            and 2^16 as its last one, which stand for `MIN_PROBABILITY` where such a code is coded
            after all. None for tables of weights of version 0.1.0: every code is coded, by itself.
    """

    def __init__(self, values: NDArray[np.int32]) -> None:
        """Check and take the values.

        Args:
            values: (`TABLE_LENGTH`,) of bit 1, out of 2^16, by logit.

        Raises:
            IntegerRangeError: there are probabilities of 0 or 1, other than at both ends, or there
                but the others are not those of classes.
        """
        self._values = values.copy()
        has_classes = (int(values[0]), int(values[-1])) == _SKIPPED
        if has_classes:
            self._values[[0, -1]] = _LIMITS
        if int(self._values.min()) <= 0 or int(self._values.max()) >= PROBABILITY_TOTAL:
            raise IntegerRangeError("the probability table holds impossible probabilities")
        self.miss_probabilities = self._of_classes() if has_classes else None

    def probabilities(self, logits: NDArray[np.int16]) -> NDArray[np.int32]:
        """Probabilities of bit 1, out of 2^16 and exclusive of both ends, of logits (n,)."""
        indices = logits.astype(np.intp) + MAX_LOGIT
        # Logits are clamped; with "clip" numpy does not look again, ten times as fast.
        probabilities: NDArray[np.int32] = np.take(self._values, indices, mode="clip")
        return probabilities

    def _of_classes(self) -> tuple[int, ...]:
        """The probabilities of misses by class.

        Raises:
            IntegerRangeError: those of a class are not the same, or not below one half.
        """
        logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1, dtype=np.int16)
        misses = np.where(logits > 0, PROBABILITY_TOTAL - self._values, self._values)
        by_class = misses[MAX_LOGIT::CLASS_LOGITS]
        assert len(by_class) == CLASSES
        if 2 * int(by_class.max()) >= PROBABILITY_TOTAL or not np.array_equal(
            misses, by_class[classes_of(logits)]
        ):
            raise IntegerRangeError("the probability table skips sure codes but has no classes")
        return tuple(by_class.tolist())
