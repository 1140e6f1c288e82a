"""Range coding of binary codes with integer probabilities, by `constriction`.

A segment is the coder's 32-bit words, little-endian, without the zero bytes at its end (the
decoder reads zeros there). A segment may be cut after any whole word: see `CutSegmentDecoder`.

Most of the time goes into the models that the coder makes for its symbols. So it can take codes in
pairs, as one of four symbols whose probabilities are the products: half as many models for the
same bytes. This is exact if the probabilities of codes are multiples of 2^-12.
"""

from __future__ import annotations

from collections.abc import Iterator
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

# `perfect=False` takes multiples of 2^-24 as they are, and is several times faster.
_CATEGORICAL = constriction.stream.model.Categorical(perfect=False)

_PAIRS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8).view(np.uint16)[:, 0]
"""The two bits of each symbol of a pair, as they lie in memory."""

Bits = NDArray[np.uint8]
Probabilities = NDArray[np.int32]
Rows = NDArray[np.float64]

_ONE = np.arange(PROBABILITY_TOTAL + 1) / PROBABILITY_TOTAL
_ROWS: NDArray[np.float64] = np.stack([1.0 - _ONE, _ONE], axis=1)
"""P(0) and P(1) by the integer that stands for P(1)."""


def _check(probabilities: Probabilities) -> None:
    if probabilities.ndim != 1 or probabilities.dtype != np.int32:
        raise ValueError("probabilities must be a flat int32 array")
    if probabilities.size and not (
        int(probabilities.min()) > 0 and int(probabilities.max()) < PROBABILITY_TOTAL
    ):
        # constriction accepts such probabilities and codes nonsense.
        raise ValueError("probabilities must lie between 0 and 2^16, exclusive")


def _rows(probabilities: Probabilities) -> Rows:
    """(n,) probabilities of bit 1 out of 2^16 to (n, 2) rows (P(0), P(1)), exact in float64."""
    # With "clip" numpy need not look for indices out of range, ten times as fast.
    rows: Rows = np.take(_ROWS, probabilities, axis=0, mode="clip")
    return rows


def _rows_of_pairs(probabilities: Probabilities) -> Rows:
    """(2n,) probabilities of bit 1 to (n, 4) rows P(00), P(01), P(10), P(11), exact in float64."""
    one = probabilities * (1 / PROBABILITY_TOTAL)
    zero = 1 - one
    rows = np.empty((len(one) // 2, 4))
    for symbol in range(len(_PAIRS)):
        first, second = (one if symbol & bit else zero for bit in (2, 1))
        np.multiply(first[::2], second[1::2], out=rows[:, symbol])
    return rows


def _parts(probabilities: Probabilities, *, pairs: bool) -> list[tuple[slice, Rows]]:
    """Codes in parts whose symbols are alike, and the probabilities of the symbols.

    Args:
        probabilities: (n,) of bit 1, out of 2^16.
        pairs: two codes are a symbol; of an odd number of them the last one is alone.

    Raises:
        ValueError: the probabilities are out of shape or range.
    """
    _check(probabilities)
    paired = len(probabilities) // 2 * 2 if pairs else 0
    parts = ((slice(paired), _rows_of_pairs), (slice(paired, None), _rows))
    return [(part, rows(probabilities[part])) for part, rows in parts if probabilities[part].size]


def _symbols(bits: Bits, rows: Rows) -> NDArray[np.int32]:
    """The symbols of the bits of a part, one for each row."""
    if len(bits) == len(rows):
        return bits.astype(np.int32)
    symbols: NDArray[np.int32] = bits[::2] * np.int32(2) + bits[1::2]
    return symbols


def _bits(symbols: NDArray[np.int32], rows: Rows) -> Bits:
    """The bits of symbols, or of the first of them: the inverse of `_symbols`."""
    if rows.shape[1] == 2:
        return symbols.astype(np.uint8)
    return np.take(_PAIRS, symbols, mode="clip").view(np.uint8)


class SegmentEncoder:
    """Encodes the codes of one iteration.

    Args:
        pairs: the codes of a call two at a time; probabilities are then multiples of 2^-12.
    """

    def __init__(self, *, pairs: bool = False) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()
        self._pairs = pairs

    def encode(self, bits: Bits, probabilities: Probabilities) -> None:
        """Append codes.

        Args:
            bits: (n,) 0 or 1.
            probabilities: (n,) of bit 1, out of 2^16, exclusive of both ends.

        Raises:
            ValueError: shapes, types or ranges are not those.
        """
        if bits.shape != probabilities.shape or (bits.size and int(bits.max()) > 1):
            raise ValueError("bits must be 0 or 1, as many as probabilities")
        for part, rows in _parts(probabilities, pairs=self._pairs):
            self._coder.encode(_symbols(bits[part], rows), _CATEGORICAL, rows)

    def finish(self) -> bytes:
        """The segment."""
        words = self._coder.get_compressed()
        return bytes(words.astype("<u4").tobytes().rstrip(b"\0"))


class SegmentDecoder:
    """Decodes one segment, given the same probabilities in the same order and calls.

    Args:
        segment: that a `SegmentEncoder` made.
        pairs: as for that.
    """

    def __init__(self, segment: bytes, *, pairs: bool = False) -> None:
        self._coder = _range_decoder(segment + bytes(-len(segment) % WORD_BYTES))
        self._pairs = pairs

    def decode(self, probabilities: Probabilities) -> Bits:
        """The next codes, (n,) 0 or 1, for (n,) probabilities of bit 1 out of 2^16.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
            ValueError: the probabilities are out of shape or range.
        """
        bits = np.empty(len(probabilities), np.uint8)
        for part, rows in _parts(probabilities, pairs=self._pairs):
            try:
                bits[part] = _bits(self._coder.decode(_CATEGORICAL, rows), rows)
            except AssertionError as error:
                raise CodeSegmentError("a segment holds invalid range coder data") from error
        return bits


class CutSegmentDecoder:
    """Decodes the beginning of a segment of which only the first words are there.

    It decodes twice in step: with the smallest words, 0, in place of those missing, and with the
    largest. The true words are between them, and a symbol rises with the words it is read from. So
    where both ways give the same symbol, it is the true one. From the first one on where they
    differ, or where one of them is no symbol, nothing is known.

    Args:
        words: the first words of a segment.
        pairs: as for the encoder.

    Raises:
        CodeSegmentError: they are not whole words.
    """

    def __init__(self, words: bytes, *, pairs: bool = False) -> None:
        if len(words) % WORD_BYTES:
            raise CodeSegmentError(f"a cut segment has {len(words)} bytes, not whole words")
        self._coders = [_range_decoder(words + tail) for tail in _TAILS]
        self._pairs = pairs
        self._is_at_end = False

    @property
    def is_at_end(self) -> bool:
        """Whether a code was not known, so that no later one is."""
        return self._is_at_end

    def decode(self, probabilities: Probabilities) -> Bits:
        """The next codes as far as they are certain: (n,) or fewer, 0 or 1.

        Args:
            probabilities: (n,) of bit 1, out of 2^16.

        Raises:
            ValueError: the probabilities are out of shape or range.
        """
        certain = [np.empty(0, np.uint8)]
        for _, rows in _parts(probabilities, pairs=self._pairs):
            certain += [_bits(symbols, rows) for symbols in self._certain_symbols(rows)]
        return np.concatenate(certain)

    def _certain_symbols(self, rows: Rows) -> Iterator[NDArray[np.int32]]:
        """The next symbols as far as they are certain, some at a time."""
        position, step = 0, 0 if self._is_at_end else len(rows)
        # Bisection: a step that holds a doubtful symbol is taken back and halved.
        while position < len(rows) and step > 0:
            block = rows[position : position + step]
            symbols = self._decode_certain(block)
            if symbols is None:
                self._is_at_end = True
                step //= 2
            else:
                yield symbols
                position += len(block)

    def _decode_certain(self, rows: Rows) -> NDArray[np.int32] | None:
        """The next symbols, or None, and nothing is decoded, if not all of them are certain."""
        coders = [coder.clone() for coder in self._coders]
        try:
            found: list[NDArray[np.int32]] = [coder.decode(_CATEGORICAL, rows) for coder in coders]
        except AssertionError:
            return None
        if not np.array_equal(found[0], found[1]):
            return None
        self._coders = coders
        return found[0]


def _range_decoder(data: bytes) -> Any:
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)
