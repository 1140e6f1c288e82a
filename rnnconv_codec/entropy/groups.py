"""The codes of one channel group to the range coder and back, by their logits.

A code is *sure* if its logit is near one of its limits. Most codes are, and a few of a hundred
thousand of them are *surprises*: not what the logit says. So a group is cut into blocks of
consecutive codes. First comes a flag for each block, whether it has surprises, then the codes. The
sure codes of blocks without surprises are left out: range decoding takes a third of the time, and
the flags cost fewer bits than the codes would. The others are coded in classes (see
`entropy.classes`), some blocks at a time. With tables of version 0.1.0 there are no flags, and all
codes are coded by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.classes import (
    CODES_OF_A_SYMBOL,
    SURE_CLASS,
    Runs,
    SymbolOrder,
    classes_of,
    packed,
    unpacked,
)
from rnnconv_codec.entropy.probability_table import PROBABILITY_TOTAL, ProbabilityTable
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentDecoder, SegmentEncoder

BLOCK_CODES = 1 << 9
"""Codes of a block. With half as many there are more flags, with twice as many more surprises."""

SURPRISE_PROBABILITY = PROBABILITY_TOTAL >> 6
"""Of a flag to be 1, out of 2^16: 1 to 2 % of the blocks have surprises."""

PART_BLOCKS = 1 << 9
"""Blocks whose codes are put in order together: what numpy makes of them fits the cache."""

Bits = NDArray[np.uint8]
Logits = NDArray[np.int16]


def encode_group(
    encoder: SegmentEncoder, table: ProbabilityTable, bits: Bits, logits: Logits
) -> None:
    """Append the codes of a group.

    Args:
        encoder: of the segment.
        table: of the model.
        bits: (n,) 0 or 1.
        logits: (n,) of bit 1.
    """
    if table.miss_probabilities is None:
        for part in _parts(len(bits)):
            encoder.encode(bits[part], table.probabilities(logits[part]))
        return
    misses = bits ^ _likely(logits)
    flags = np.concatenate([_surprising(misses[p], logits[p]) for p in _parts(len(logits))])
    encoder.encode_symbols(packed(flags), _of_flags(len(logits)))
    for coded, classes in _coded(logits, flags):
        order = SymbolOrder(classes, table.miss_probabilities)
        encoder.encode_symbols(order.symbols(misses[coded]), order.runs)


def decode_group(decoder: SegmentDecoder, table: ProbabilityTable, logits: Logits) -> Bits:
    """The bits (n,) of a group, given its logits (n,).

    Raises:
        CodeSegmentError: the segment is not one that the encoder writes.
    """
    if table.miss_probabilities is None:
        parts = _parts(len(logits))
        return np.concatenate([decoder.decode(table.probabilities(logits[part])) for part in parts])
    bits = _likely(logits)
    flags = unpacked(decoder.decode_symbols(_of_flags(len(logits))))
    for coded, classes in _coded(logits, flags):
        order = SymbolOrder(classes, table.miss_probabilities)
        bits[coded[order.misses(decoder.decode_symbols(order.runs))]] ^= 1
    return bits


def decode_cut_group(
    decoder: CutSegmentDecoder, table: ProbabilityTable, logits: Logits
) -> tuple[Bits, NDArray[np.float32]]:
    """What is known of a group of a cut segment, and what is expected of the rest.

    Returns:
        The bits (n,), the more probable ones where they are not known, and the codes (n,): -1.0 or
        +1.0, or between them, also where they are sure, what is expected.
    """
    probabilities = table.probabilities(logits)
    bits = (probabilities > PROBABILITY_TOTAL // 2).view(np.uint8)
    is_known = np.zeros(len(logits), np.bool_)
    if table.miss_probabilities is None:
        found = decoder.decode(probabilities)
        bits[: len(found)] = found
        is_known[: len(found)] = True
    else:
        flags = unpacked(decoder.decode_symbols(_of_flags(len(logits))))
        is_known[:] = not decoder.is_at_end
        for coded, classes in () if decoder.is_at_end else _coded(logits, flags):
            order = SymbolOrder(classes, table.miss_probabilities)
            symbols = decoder.decode_symbols(order.runs)
            bits[coded[order.misses(symbols)]] ^= 1
            is_known[coded[order.unknown(symbols)]] = False
    # Exact: a probability has 16 bits, float32 has 24.
    codes = probabilities.astype(np.float32) / np.float32(PROBABILITY_TOTAL // 2) - np.float32(1)
    codes[is_known] = bits[is_known] * np.float32(2) - np.float32(1)
    return bits, codes


def _likely(logits: Logits) -> Bits:
    """What the logits say."""
    likely: Bits = (logits > 0).view(np.uint8)
    return likely


def _parts(count: int) -> list[slice]:
    """The parts of a group that are looked at one after another, each of whole blocks."""
    step = PART_BLOCKS * BLOCK_CODES
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _surprising(misses: Bits, logits: Logits) -> Bits:
    """The flags of some blocks."""
    flags = np.zeros(-(-len(misses) // BLOCK_CODES), np.uint8)
    surprises = np.flatnonzero(misses.view(np.bool_) & (classes_of(logits) >= SURE_CLASS))
    flags[surprises // BLOCK_CODES] = 1
    return flags


def _of_flags(codes: int) -> Runs:
    """The symbols of the flags of a group of so many codes."""
    return [(-(-codes // (BLOCK_CODES * CODES_OF_A_SYMBOL)), SURPRISE_PROBABILITY)]


def _coded(logits: Logits, flags: Bits) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint8]]]:
    """The places of the codes of a group that are coded, and their classes; a part at a time.

    (numpy is several times as fast with places as with a mask.)
    """
    for part in _parts(len(logits)):
        classes = classes_of(logits[part])
        is_coded = classes < SURE_CLASS
        first = part.start // BLOCK_CODES
        for block in np.flatnonzero(flags[first : first + PART_BLOCKS]):
            is_coded[block * BLOCK_CODES : (block + 1) * BLOCK_CODES] = True
        places = np.flatnonzero(is_coded)
        of_coded = np.take(classes, places, mode="clip")
        places += part.start
        yield places, of_coded
