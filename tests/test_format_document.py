"""The range coder as docs/FORMAT.md specifies it, written anew, reads real segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnconv_codec.entropy.groups import encode_group
from rnnconv_codec.entropy.probability_table import ProbabilityTable, make_table
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentEncoder

PRECISION = 24


class DocumentedDecoder:
    """Section "Range decoder" of docs/FORMAT.md, line by line."""

    def __init__(self, segment: bytes) -> None:
        self.segment = segment
        self.position = 0
        self.low, self.range = 0, 2**64 - 1
        self.point = self.word() << 32 | self.word()

    def word(self) -> int:
        """The next 32-bit little-endian word; zeros behind the end."""
        taken = self.segment[self.position : self.position + 4].ljust(4, b"\0")
        self.position += 4
        return int.from_bytes(taken, "little")

    def is_code(self) -> bool:
        """Whether an encoder can have written what comes next."""
        return bool((self.point - self.low) % 2**64 // (self.range >> PRECISION) < 2**PRECISION)

    def symbol(self, firsts: list[int]) -> int:
        """The next symbol, of those whose shares of 2^24 begin there."""
        scale = self.range >> PRECISION
        quantile = (self.point - self.low) % 2**64 // scale
        symbol = sum(quantile >= first for first in firsts) - 1
        first, behind = [*firsts, 2**PRECISION][symbol : symbol + 2]
        self.low = (self.low + scale * first) % 2**64
        self.range = scale * (behind - first)
        if self.range < 2**32:
            self.low = (self.low << 32) % 2**64
            self.range <<= 32
            self.point = (self.point << 32) % 2**64 | self.word()
        return symbol

    def decode(self, probability: int) -> int:
        """The next bit, given its probability of being 1 out of 2^16."""
        return self.symbol([0, ((65536 - probability) * (2**PRECISION - 2) >> 16) + 1])

    def decode_symbol(self, miss: int) -> list[int]:
        """Section "Classes": the misses of the next symbol, of codes of one class."""
        free = 2**PRECISION - 256
        shares = []
        for symbol in range(256):
            misses = symbol.bit_count()
            shares.append((free * miss**misses * (65536 - miss) ** (8 - misses) >> 128) + 1)
        shares[0] += 2**PRECISION - sum(shares)
        symbol = self.symbol([sum(shares[:symbol]) for symbol in range(256)])
        return [symbol >> (7 - code) & 1 for code in range(8)]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(16, 65520)), max_size=600))
def test_the_documented_decoder_reads_what_the_encoder_writes(
    codes: list[tuple[bool, int]],
) -> None:
    bits = np.array([bit for bit, _ in codes], np.uint8)
    probabilities = np.array([p for _, p in codes], np.int32)
    encoder = SegmentEncoder()
    encoder.encode(bits, probabilities)

    decoder = DocumentedDecoder(encoder.finish())

    assert [decoder.decode(p) for p in probabilities.tolist()] == bits.tolist()


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 255), max_size=9), st.integers(1, 65535)), max_size=6
    )
)
def test_the_documented_decoder_reads_symbols(codes: list[tuple[list[int], int]]) -> None:
    runs = [(len(symbols), p) for symbols, p in codes]
    symbols = np.array([symbol for of_run, _ in codes for symbol in of_run], np.uint8)
    encoder = SegmentEncoder()
    encoder.encode_symbols(symbols, runs)

    decoder = DocumentedDecoder(encoder.finish())

    found = [miss for count, p in runs for _ in range(count) for miss in decoder.decode_symbol(p)]
    assert found == np.unpackbits(symbols).tolist()


def documented_certain(words: bytes, steps: list[tuple[bool, int]]) -> list[list[int]]:
    """Section "Cut segments": what is decoded before the first doubtful step.

    Args:
        words: of the segment that are there.
        steps: whether it is a symbol or a bit, and its probability.
    """
    ways = [DocumentedDecoder(words + tail * 8) for tail in (b"\x00", b"\xff")]
    certain: list[list[int]] = []
    for is_symbol, probability in steps:
        if not all(way.is_code() for way in ways):
            break
        one, other = (
            way.decode_symbol(probability) if is_symbol else [way.decode(probability)]
            for way in ways
        )
        if one != other:
            break
        certain.append(one)
    return certain


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([16, 4992, 32768, 65520])), max_size=300),
    st.lists(st.integers(0, 255), max_size=20),
    st.sampled_from([16, 4992, 32000]),
    st.binary(max_size=8),
)
def test_the_documented_decoder_finds_the_same_codes_certain(
    codes: list[tuple[bool, int]], symbols: list[int], probability: int, nonsense: bytes
) -> None:
    probabilities = np.array([p for _, p in codes], np.int32)
    runs = [(len(symbols), probability)]
    encoder = SegmentEncoder()
    encoder.encode_symbols(np.array(symbols, np.uint8), runs)
    encoder.encode(np.array([bit for bit, _ in codes], np.uint8), probabilities)
    segment = encoder.finish()
    steps = [(True, probability)] * len(symbols) + [(False, int(p)) for p in probabilities]
    # Ends of all bits set are where one of the two ways can fall out of the range.
    for words in (
        *(segment[:length] for length in range(0, len(segment) + 1, 4)),
        nonsense[: len(nonsense) // 4 * 4],
        b"\xff" * 4,
        b"\xff" * 12,
    ):
        words = words.ljust(-(-len(words) // 4) * 4, b"\0")
        decoder = CutSegmentDecoder(words)
        found = np.unpackbits(decoder.decode_symbols(runs)).reshape(-1, 8).tolist()
        found += [[bit] for bit in decoder.decode(probabilities).tolist()]
        assert found == documented_certain(words, steps)


@pytest.mark.parametrize("sure", [16, 65520])
def test_it_reads_long_runs_of_sure_codes(sure: int) -> None:
    rng = np.random.default_rng(sure)
    probabilities = np.full(5000, sure, np.int32)
    bits = (rng.random(5000) < sure / 65536).astype(np.uint8)
    encoder = SegmentEncoder()
    encoder.encode(bits, probabilities)

    decoder = DocumentedDecoder(encoder.finish())

    assert [decoder.decode(sure) for _ in range(5000)] == bits.tolist()


def documented_codes(
    decoder: DocumentedDecoder, table: list[int], logits: list[int], places: list[int]
) -> list[int]:
    """Section "Classes": the places of the misses of some codes of a group."""
    order = sorted(places, key=lambda place: abs(logits[place]) // 8)  # stable
    missed: list[int] = []
    for first in range(0, len(order), 8):
        eight = order[first : first + 8]
        of_first = abs(logits[eight[0]]) // 8 * 8
        miss = 16 if of_first == 272 else table[272 - of_first]
        found = decoder.decode_symbol(miss)
        missed += [place for place, is_miss in zip(eight, found, strict=False) if is_miss]
    return missed


def documented_group(decoder: DocumentedDecoder, table: list[int], logits: list[int]) -> list[int]:
    """Sections "Sure codes" and "Classes": the bits of a group."""
    if table[0] != 0:
        return [decoder.decode(table[logit + 272]) for logit in logits]
    blocks = -(-len(logits) // 512)
    flags: list[int] = []
    while len(flags) < blocks:
        flags += decoder.decode_symbol(1024)
    bits = [int(logit > 0) for logit in logits]
    for part in range(0, len(logits), 512 * 512):
        last = min(part + 512 * 512, len(logits))
        places = [k for k in range(part, last) if abs(logits[k]) < 224 or flags[k // 512]]
        for place in documented_codes(decoder, table, logits, places):
            bits[place] ^= 1
    return bits


def older_table() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """As weights of version 0.1.0 have it."""
    table = np.rint(65536 / (1 + np.exp(-np.arange(-272, 273) / 32))).astype(np.int32)
    return np.clip(table, 16, 65520)


@pytest.mark.parametrize("table", [make_table(), older_table()], ids=["classes", "0.1.0"])
def test_it_reads_groups_with_sure_codes(table: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
    rng = np.random.default_rng(0)
    encoder = SegmentEncoder()
    groups = []
    for count in (100, 4096, 10001, 300_000):
        logits = np.clip(rng.normal(0, 2000, count), -272, 272).astype(np.int16)
        bits = (logits > 0).astype(np.uint8)
        bits[rng.integers(0, count, 20)] ^= 1
        encode_group(encoder, ProbabilityTable(table), bits, logits)
        groups.append((bits, logits))

    decoder = DocumentedDecoder(encoder.finish())

    for bits, logits in groups:
        assert documented_group(decoder, table.tolist(), logits.tolist()) == bits.tolist()
