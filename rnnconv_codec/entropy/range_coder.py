"""Range coding of binary codes with integer probabilities, by `constriction`.

A segment is the coder's 32-bit words, little-endian, without the zero bytes at its end (the
decoder reads zeros there). A segment may be cut after any whole word: see `CutSegmentDecoder`.
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.probability_table import PROBABILITY_TOTAL
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.errors import CodeSegmentError

# Two words are read ahead, so no codes depend on words farther behind the end than these.
_TAIL_WORDS = 2
_TAILS = (bytes(_TAIL_WORDS * WORD_BYTES), b"\xff" * (_TAIL_WORDS * WORD_BYTES))

# `perfect=False` takes multiples of 2^-16 as they are, and is several times faster.
_BINARY = constriction.stream.model.Categorical(perfect=False)

_ONE = np.arange(PROBABILITY_TOTAL + 1) / PROBABILITY_TOTAL
_ROWS: NDArray[np.float64] = np.stack([1.0 - _ONE, _ONE], axis=1)
"""P(0) and P(1) by the integer that stands for P(1)."""


def _rows(probabilities: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n,) probabilities of bit 1 out of 2^16 to (n, 2) rows (P(0), P(1)), exact in float64."""
    if probabilities.ndim != 1 or probabilities.dtype != np.int32:
        raise ValueError("probabilities must be a flat int32 array")
    if probabilities.size and not (
        int(probabilities.min()) > 0 and int(probabilities.max()) < PROBABILITY_TOTAL
    ):
        # constriction accepts such probabilities and codes nonsense.
        raise ValueError("probabilities must lie between 0 and 2^16, exclusive")
    # With "clip" numpy need not look for indices out of range, ten times as fast.
    rows: NDArray[np.float64] = np.take(_ROWS, probabilities, axis=0, mode="clip")
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
        self._coder = _range_decoder(segment + bytes(-len(segment) % WORD_BYTES))

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


class CutSegmentDecoder:
    """Decodes the beginning of a segment of which only the first words are there.

    It decodes twice in step: with the smallest words, 0, in place of those missing, and with the
    largest. The true words are between them, and a code rises with the words it is read from. So
    where both ways give the same code, it is the true one. From the first code on where they
    differ, or where one of them is no code, nothing is known.

    Args:
        words: the first words of a segment.

    Raises:
        CodeSegmentError: they are not whole words.
    """

    def __init__(self, words: bytes) -> None:
        if len(words) % WORD_BYTES:
            raise CodeSegmentError(f"a cut segment has {len(words)} bytes, not whole words")
        self._coders = [_range_decoder(words + tail) for tail in _TAILS]
        self._is_at_end = False

    @property
    def is_at_end(self) -> bool:
        """Whether a code was not known, so that no later one is."""
        return self._is_at_end

    def decode(self, probabilities: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The next codes as far as they are certain: (n,) or fewer, 0 or 1.

        Args:
            probabilities: (n,) of bit 1, out of 2^16.

        Raises:
            ValueError: the probabilities are out of shape or range.
        """
        rows = _rows(probabilities)
        certain = [np.empty(0, np.int32)]
        position, step = 0, 0 if self._is_at_end else len(rows)
        # Bisection: a step that holds a doubtful code is taken back and halved.
        while position < len(rows) and step > 0:
            block = rows[position : position + step]
            bits = self._decode_certain(block)
            if bits is None:
                self._is_at_end = True
                step //= 2
            else:
                certain.append(bits)
                position += len(block)
        return np.concatenate(certain).astype(np.uint8)

    def _decode_certain(self, rows: NDArray[np.float64]) -> NDArray[np.int32] | None:
        """The next codes, or None, and nothing is decoded, if not all of them are certain."""
        coders = [coder.clone() for coder in self._coders]
        try:
            bits: list[NDArray[np.int32]] = [coder.decode(_BINARY, rows) for coder in coders]
        except AssertionError:
            return None
        if not np.array_equal(bits[0], bits[1]):
            return None
        self._coders = coders
        return bits[0]


def _range_decoder(data: bytes) -> Any:
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)
