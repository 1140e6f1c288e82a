"""Range coding of binary codes with integer probabilities, by `constriction`.

A segment is the coder's 32-bit words, little-endian, without the zero bytes at its end (the
decoder reads zeros there). A segment may be cut after any whole word: see `CutSegmentDecoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.classes import CODES_OF_A_SYMBOL, Runs, Symbols
from rnnconv_codec.entropy.probability_table import PROBABILITY_BITS, PROBABILITY_TOTAL
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.errors import CodeSegmentError

# Two words are read ahead, so no codes depend on words farther behind the end than these.
_TAIL_WORDS = 2
_TAILS = (bytes(_TAIL_WORDS * WORD_BYTES), b"\xff" * (_TAIL_WORDS * WORD_BYTES))

# `perfect=False` takes multiples of 2^-16 as they are, and is several times faster.
_BINARY = constriction.stream.model.Categorical(perfect=False)

Bits = NDArray[np.uint8]
Probabilities = NDArray[np.int32]

_ONE = np.arange(PROBABILITY_TOTAL + 1) / PROBABILITY_TOTAL
_ROWS: NDArray[np.float64] = np.stack([1.0 - _ONE, _ONE], axis=1)
"""P(0) and P(1) by the integer that stands for P(1)."""

_SYMBOL_MISSES = np.unpackbits(
    np.arange(1 << CODES_OF_A_SYMBOL, dtype=np.uint8)[:, None], axis=1
).sum(1)
"""How many of the codes of each symbol are misses."""

# Of the 2^24 shares `constriction` gives each symbol one, and the rest as it is asked.
_FREE_SHARES = (1 << 24) - len(_SYMBOL_MISSES)

# More than the weights of one process have.
_CACHED_MODELS = 256

_NO_SYMBOLS = np.empty(0, np.int32)


def _rows(probabilities: Probabilities) -> NDArray[np.float64]:
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


@lru_cache(maxsize=_CACHED_MODELS)
def _symbol_model(miss_probability: int) -> Any:
    """The range coder's model of symbols of a class.

    The shares are integers, of whole-number arithmetic, with which `constriction` has nothing to
    round.

    Args:
        miss_probability: of each of the codes, out of 2^16, exclusive of both ends.
    """
    hit_probability = PROBABILITY_TOTAL - miss_probability
    by_misses = [
        _FREE_SHARES * miss_probability**k * hit_probability ** (CODES_OF_A_SYMBOL - k)
        >> PROBABILITY_BITS * CODES_OF_A_SYMBOL
        for k in range(CODES_OF_A_SYMBOL + 1)
    ]
    shares = np.array(by_misses, np.float64)[_SYMBOL_MISSES]
    shares[0] += _FREE_SHARES - shares.sum()
    return constriction.stream.model.Categorical(shares, perfect=False)


class SegmentEncoder:
    """Encodes the codes of one iteration."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, bits: Bits, probabilities: Probabilities) -> None:
        """Append bits, one by one.

        Args:
            bits: (n,) 0 or 1.
            probabilities: (n,) of bit 1, out of 2^16, exclusive of both ends.

        Raises:
            ValueError: shapes, types or ranges are not those.
        """
        if bits.shape != probabilities.shape or (bits.size and int(bits.max()) > 1):
            raise ValueError("bits must be 0 or 1, as many as probabilities")
        self._coder.encode(bits.astype(np.int32), _BINARY, _rows(probabilities))

    def encode_symbols(self, symbols: Symbols, runs: Runs) -> None:
        """Append symbols of codes in classes."""
        values, first = symbols.astype(np.int32), 0
        for count, probability in runs:
            self._coder.encode(values[first : first + count], _symbol_model(probability))
            first += count

    def finish(self) -> bytes:
        """The segment."""
        words = self._coder.get_compressed()
        return bytes(words.astype("<u4").tobytes().rstrip(b"\0"))


class SegmentDecoder:
    """Decodes one segment, given the same probabilities in the same order and calls.

    Args:
        segment: that a `SegmentEncoder` made.
    """

    def __init__(self, segment: bytes) -> None:
        self._coder = _range_decoder(segment + bytes(-len(segment) % WORD_BYTES))

    def decode(self, probabilities: Probabilities) -> Bits:
        """The next bits, (n,) 0 or 1, for (n,) probabilities of bit 1 out of 2^16.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
            ValueError: the probabilities are out of shape or range.
        """
        return self._decode([(_BINARY, _rows(probabilities))])

    def decode_symbols(self, runs: Runs) -> Symbols:
        """The next symbols of codes in classes.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
        """
        return self._decode([(_symbol_model(probability), count) for count, probability in runs])

    def _decode(self, calls: Iterable[tuple[Any, Any]]) -> NDArray[np.uint8]:
        try:
            return _joined([self._coder.decode(*call) for call in calls])
        except AssertionError as error:
            raise CodeSegmentError("a segment holds invalid range coder data") from error


class CutSegmentDecoder:
    """Decodes the beginning of a segment of which only the first words are there.

    It decodes twice in step: with the smallest words, 0, in place of those missing, and with the
    largest. The true words are between them, and a symbol rises with the words it is read from. So
    where both ways give the same symbol, it is the true one. From the first one on where they
    differ, or where one of them is no symbol, nothing is known.

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
        """Whether a symbol was not known, so that no later one is."""
        return self._is_at_end

    def decode(self, probabilities: Probabilities) -> Bits:
        """The next bits as far as they are certain: (n,) or fewer, 0 or 1.

        Args:
            probabilities: (n,) of bit 1, out of 2^16.

        Raises:
            ValueError: the probabilities are out of shape or range.
        """
        rows = _rows(probabilities)
        return _joined(self._certain(_BINARY, lambda part: rows[part], len(rows)))

    def decode_symbols(self, runs: Runs) -> Symbols:
        """The next symbols of codes in classes, as far as they are certain."""
        return _joined(
            symbols
            for count, probability in runs
            for symbols in self._certain(_symbol_model(probability), _length, count)
        )

    def _certain(
        self, model: Any, parameters: Callable[[slice], Any], count: int
    ) -> Iterator[NDArray[np.int32]]:
        """The next symbols as far as they are certain, some at a time.

        Args:
            model: of the symbols.
            parameters: what the coder takes for a part of the symbols.
            count: of symbols.
        """
        position, step = 0, 0 if self._is_at_end else count
        # Bisection: a step that holds a doubtful symbol is taken back and halved.
        while position < count and step > 0:
            part = slice(position, min(position + step, count))
            symbols = self._decode_certain(model, parameters(part))
            if symbols is None:
                self._is_at_end = True
                step //= 2
            else:
                yield symbols
                position = part.stop

    def _decode_certain(self, model: Any, parameters: Any) -> NDArray[np.int32] | None:
        """The next symbols, or None, and nothing is decoded, if not all of them are certain."""
        coders = [coder.clone() for coder in self._coders]
        try:
            found: list[NDArray[np.int32]] = [coder.decode(model, parameters) for coder in coders]
        except AssertionError:
            return None
        if not np.array_equal(found[0], found[1]):
            return None
        self._coders = coders
        return found[0]


def _length(part: slice) -> int:
    """What the coder takes for symbols of one model: how many there are."""
    return int(part.stop) - int(part.start)


def _joined(symbols: Iterable[NDArray[np.int32]]) -> NDArray[np.uint8]:
    """Symbols of several calls of the coder, as bytes."""
    return np.concatenate([_NO_SYMBOLS, *symbols]).astype(np.uint8)


def _range_decoder(data: bytes) -> Any:
    words = np.frombuffer(data, "<u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)
