"""Range coding of binary codes with integer probabilities, by `constriction`.

A segment is the coder's 32-bit words, little-endian, without the zero bytes at its end (the
decoder reads zeros there).
"""

from __future__ import annotations

import constriction
import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.probability_table import PROBABILITY_TOTAL
from rnnconv_codec.errors import CodeSegmentError

WORD_BYTES = 4

# `perfect=False` takes multiples of 2^-16 as they are, and is several times faster.
_BINARY = constriction.stream.model.Categorical(perfect=False)


def _rows(probabilities: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n,) probabilities of bit 1 out of 2^16 to (n, 2) rows (P(0), P(1)), exact in float64."""
    if probabilities.ndim != 1 or probabilities.dtype != np.int32:
        raise ValueError("probabilities must be a flat int32 array")
    if probabilities.size and not (
        int(probabilities.min()) > 0 and int(probabilities.max()) < PROBABILITY_TOTAL
    ):
        # constriction accepts such probabilities and codes nonsense.
        raise ValueError("probabilities must lie between 0 and 2^16, exclusive")
    rows = np.empty((probabilities.size, 2), np.float64)
    rows[:, 1] = probabilities / PROBABILITY_TOTAL
    rows[:, 0] = 1.0 - rows[:, 1]
    return rows


class SegmentEncoder:
    """Encodes the codes of one iteration."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, bits: NDArray[np.uint8], probabilities: NDArray[np.int32]) -> None:
        """Append codes.

        Args:
            bits: (n,) 0 or 1.
            probabilities: (n,) of bit 1, out of 2^16, exclusive of both ends.

        Raises:
            ValueError: shapes, types or ranges are not those.
        """
        if bits.shape != probabilities.shape or (bits.size and int(bits.max()) > 1):
            raise ValueError("bits must be 0 or 1, as many as probabilities")
        if bits.size:
            self._coder.encode(bits.astype(np.int32), _BINARY, _rows(probabilities))

    def finish(self) -> bytes:
        """The segment."""
        words = self._coder.get_compressed()
        return bytes(words.astype("<u4").tobytes().rstrip(b"\0"))


class SegmentDecoder:
    """Decodes one segment, given the same probabilities in the same order."""

    def __init__(self, segment: bytes) -> None:
        padded = segment + bytes(-len(segment) % WORD_BYTES)
        words = np.frombuffer(padded, "<u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, probabilities: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The next codes, (n,) 0 or 1, for (n,) probabilities of bit 1 out of 2^16.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
            ValueError: the probabilities are out of shape or range.
        """
        if not probabilities.size:
            return np.empty(0, np.uint8)
        rows = _rows(probabilities)
        try:
            symbols: NDArray[np.int32] = self._coder.decode(_BINARY, rows)
        except AssertionError as error:
            raise CodeSegmentError("a segment holds invalid range coder data") from error
        return symbols.astype(np.uint8)
