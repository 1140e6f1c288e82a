"""The codes of one channel group to the range coder and back, by their logits.

A code is *sure* if its logit is at one of its limits. Most codes are, and a hundred thousandth of
them are *surprises*: not what the logit says. So a group is cut into blocks of consecutive codes.
First comes a flag for each block, whether it has surprises, then the codes. The sure codes of
blocks without surprises are left out: range decoding takes 0.4 of the time, and the flags cost
fewer bits than the codes would. With tables of older weights there are no flags, and all
codes are coded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.fixed_point import MAX_LOGIT
from rnnconv_codec.entropy.probability_table import PROBABILITY_TOTAL, ProbabilityTable
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentDecoder, SegmentEncoder

BLOCK_CODES = 1 << 12
"""Codes of a block. With half as many there are more flags, with twice as many more surprises."""

SURPRISE_PROBABILITY = PROBABILITY_TOTAL >> 6
"""Of a flag to be 1, out of 2^16: 1 to 4 % of the blocks have surprises."""

BLOCKS_AT_A_TIME = 1 << 6
"""So many go to the range coder in a call, because it takes 16 bytes for each code."""

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
    parts = _parts(len(bits))
    flags = np.concatenate([_surprising(bits[part], logits[part]) for part in parts])
    if table.skips_sure_codes:
        encoder.encode(flags, _of_flags(len(flags)))
    for coded in _coded(table, logits, flags):
        encoder.encode(bits[coded], table.probabilities(logits[coded]))


def decode_group(decoder: SegmentDecoder, table: ProbabilityTable, logits: Logits) -> Bits:
    """The bits (n,) of a group, given its logits (n,).

    Raises:
        CodeSegmentError: the segment is not one that the encoder writes.
    """
    bits = (logits > 0).view(np.uint8)
    flags = _decode_flags(decoder.decode, table, len(logits))
    for coded in _coded(table, logits, flags):
        bits[coded] = decoder.decode(table.probabilities(logits[coded]))
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
    known = 0
    flags = _decode_flags(decoder.decode, table, len(logits))
    if not decoder.is_at_end:
        known = len(logits)
        for coded in _coded(table, logits, flags):
            found = decoder.decode(probabilities[coded])
            bits[coded[: len(found)]] = found
            if len(found) < len(coded):
                known = int(coded[len(found)])
                break
    # Exact: a probability has 16 bits, float32 has 24.
    codes = probabilities.astype(np.float32) / np.float32(PROBABILITY_TOTAL // 2) - np.float32(1)
    codes[:known] = bits[:known] * np.float32(2) - np.float32(1)
    return bits, codes


def _parts(count: int) -> list[slice]:
    """The parts of a group that are looked at one after another, each of whole blocks."""
    step = BLOCKS_AT_A_TIME * BLOCK_CODES
    return [slice(first, min(first + step, count)) for first in range(0, count, step)]


def _is_coded(logits: Logits) -> NDArray[np.bool_]:
    """Which codes are not sure. Logits are clamped."""
    coded: NDArray[np.bool_] = np.abs(logits) < MAX_LOGIT
    return coded


def _surprising(bits: Bits, logits: Logits) -> Bits:
    """The flags of some blocks."""
    surprises = np.flatnonzero(((logits > 0) != bits) & ~_is_coded(logits))
    flags = np.zeros(-(-len(bits) // BLOCK_CODES), np.uint8)
    flags[surprises // BLOCK_CODES] = 1
    return flags


def _of_flags(count: int) -> NDArray[np.int32]:
    return np.full(count, SURPRISE_PROBABILITY, np.int32)


def _decode_flags(
    decode: Callable[[NDArray[np.int32]], Bits], table: ProbabilityTable, count: int
) -> Bits:
    """The flags of a group of so many codes, or fewer if that is all that is known of them."""
    blocks = -(-count // BLOCK_CODES)
    return decode(_of_flags(blocks)) if table.skips_sure_codes else np.ones(blocks, np.uint8)


def _coded(table: ProbabilityTable, logits: Logits, flags: Bits) -> Iterator[NDArray[np.intp]]:
    """The places of the codes of a group that are coded, in order, for one call after another.

    All calls but the last are for an even number of codes: pairs go on from part to part. (numpy
    is several times as fast with places as with a mask.)
    """
    places = np.empty(0, np.intp)
    for part in _parts(len(logits)):
        if table.skips_sure_codes:
            is_coded = _is_coded(logits[part])
            first = part.start // BLOCK_CODES
            for block in np.flatnonzero(flags[first : first + BLOCKS_AT_A_TIME]):
                is_coded[block * BLOCK_CODES : (block + 1) * BLOCK_CODES] = True
            found = np.flatnonzero(is_coded)
            found += part.start
        else:
            found = np.arange(part.start, part.stop)
        places = np.concatenate([places, found]) if len(places) else found
        even = len(places) if part.stop == len(logits) else len(places) // 2 * 2
        yield places[:even]
        places = places[even:]
