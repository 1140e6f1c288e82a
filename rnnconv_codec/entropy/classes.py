"""Codes in classes of about equal probability, eight of a class to one symbol of the range coder.

The range coder's time goes into the models that it makes for its symbols: 25 ns for each, of an
alphabet of two or of four. Codes whose probabilities are the same need one model for all of them,
and eight such codes can be one symbol. So codes are put in order by their class, the least sure
first, and cut into eights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.fixed_point import MAX_LOGIT

CODES_OF_A_SYMBOL = 8
"""As many as numpy packs into a byte. (Four take a third more time.)"""

CLASS_LOGITS = 8
"""Neighbouring logits that are a class. With 4 files are 0.05 % smaller, with 16 0.2 % larger."""

_CLASS_BITS = CLASS_LOGITS.bit_length() - 1

CLASSES = MAX_LOGIT // CLASS_LOGITS + 1

SURE_CLASS = 28
"""Codes of this class and those above are sure: less than one of 1000 is not what it should be."""

Bits = NDArray[np.uint8]
Symbols = NDArray[np.uint8]

Runs = Sequence[tuple[int, int]]
"""How many symbols of a class there are, and its probability of a miss out of 2^16; for one class
after the other."""

_EACH = np.arange(CLASSES, dtype=np.uint8)


def classes_of(logits: NDArray[np.int16]) -> NDArray[np.uint8]:
    """The classes (n,) of codes with these logits (n,), 0 the least sure."""
    sureness = np.abs(logits)
    sureness >>= _CLASS_BITS
    return sureness.astype(np.uint8)


class SymbolOrder:
    """Codes in the order of their classes, in symbols of `CODES_OF_A_SYMBOL`.

    A code is a *miss* if it is not what the sign of its logit says. A symbol may hold codes of
    several classes: it is coded as one of the first of them, which is the least sure. The last
    symbol may have fewer codes; its other bits are 0.

    Attributes:
        runs: of the symbols.
    """

    def __init__(self, classes: NDArray[np.uint8], miss_probabilities: Sequence[int]) -> None:
        """Put codes in order.

        Args:
            classes: (n,) of the codes.
            miss_probabilities: by class, out of 2^16, exclusive of both ends.
        """
        self._places = np.argsort(classes, kind="stable")
        of_symbols = classes[self._places[::CODES_OF_A_SYMBOL]]
        ends = np.searchsorted(of_symbols, _EACH, side="right").tolist()
        counts = (end - begin for begin, end in pairwise([0, *ends]))
        self.runs: Runs = [
            run for run in zip(counts, miss_probabilities, strict=True) if run[0] > 0
        ]

    def symbols(self, misses: Bits) -> Symbols:
        """The symbols of codes, of which `misses` (n,) tells by a 1 which are misses."""
        return packed(misses[self._places])

    def unknown(self, symbols: Symbols) -> NDArray[np.intp]:
        """The places of the codes that are in none of the symbols, if these are the first ones."""
        return self._places[CODES_OF_A_SYMBOL * len(symbols) :]

    def misses(self, symbols: Symbols) -> NDArray[np.intp]:
        """The places of the misses among the codes of all symbols, or of the first ones."""
        # Of booleans numpy finds places several times as fast as of numbers.
        is_miss = unpacked(symbols).view(np.bool_)
        return self._places[np.flatnonzero(is_miss[: len(self._places)])]


def packed(misses: Bits) -> Symbols:
    """Misses (n,), 0 or 1, as symbols, the first one in the highest bit."""
    return np.packbits(misses)


def unpacked(symbols: Symbols) -> Bits:
    """The misses of symbols, and behind the last one those of its bits that are left."""
    return np.unpackbits(symbols)
