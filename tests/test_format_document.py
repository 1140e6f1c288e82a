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

    def decode_pair(self, first: int, second: int) -> list[int]:
        """Section "Pairs": the next two bits, given their probabilities of being 1."""
        p, q = first // 16, second // 16
        behind = [(4096 - p) * (4096 - q), (4096 - p) * 4096, (4096 - p) * 4096 + p * (4096 - q)]
        shares = [(x * (2**PRECISION - 4) >> PRECISION) + i for i, x in enumerate(behind, 1)]
        symbol = self.symbol([0, *shares])
        return [symbol >> 1, symbol & 1]

    def run(self, probabilities: list[int], *, pairs: bool) -> list[int]:
        """The next bits, one by one or in pairs."""
        if not pairs:
            return [self.decode(p) for p in probabilities]
        bits = []
        for index in range(0, len(probabilities) - 1, 2):
            bits += self.decode_pair(*probabilities[index : index + 2])
        return bits + [self.decode(p) for p in probabilities[len(bits) :]]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(16, 65520)), max_size=600))
def test_the_documented_decoder_reads_what_the_encoder_writes(
    pairs: list[tuple[bool, int]],
) -> None:
    bits = np.array([bit for bit, _ in pairs], np.uint8)
    probabilities = np.array([p for _, p in pairs], np.int32)
    encoder = SegmentEncoder()
    encoder.encode(bits, probabilities)

    decoder = DocumentedDecoder(encoder.finish())

    assert [decoder.decode(p) for p in probabilities.tolist()] == bits.tolist()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4095)), max_size=600))
def test_the_documented_decoder_reads_pairs(codes: list[tuple[bool, int]]) -> None:
    bits = np.array([bit for bit, _ in codes], np.uint8)
    probabilities = np.array([16 * step for _, step in codes], np.int32)
    encoder = SegmentEncoder(pairs=True)
    encoder.encode(bits, probabilities)

    decoder = DocumentedDecoder(encoder.finish())

    assert decoder.run(probabilities.tolist(), pairs=True) == bits.tolist()


def documented_certain_bits(words: bytes, probabilities: list[int], *, pairs: bool) -> list[int]:
    """Section "Cut segments": the bits before the first doubtful one or pair."""
    ways = [DocumentedDecoder(words + tail * 8) for tail in (b"\x00", b"\xff")]
    certain: list[int] = []
    step = 2 if pairs else 1
    for index in range(0, len(probabilities), step):
        if not all(way.is_code() for way in ways):
            break
        one, other = (way.run(probabilities[index : index + step], pairs=pairs) for way in ways)
        if one != other:
            break
        certain += one
    return certain


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([16, 4992, 32768, 65520])), max_size=300),
    st.binary(max_size=8),
    st.booleans(),
)
def test_the_documented_decoder_finds_the_same_codes_certain(
    codes: list[tuple[bool, int]], nonsense: bytes, in_pairs: bool
) -> None:
    probabilities = np.array([p for _, p in codes], np.int32)
    encoder = SegmentEncoder(pairs=in_pairs)
    encoder.encode(np.array([bit for bit, _ in codes], np.uint8), probabilities)
    segment = encoder.finish()
    # Ends of all bits set are where one of the two ways can fall out of the range.
    for words in (
        *(segment[:length] for length in range(0, len(segment) + 1, 4)),
        nonsense[: len(nonsense) // 4 * 4],
        b"\xff" * 4,
        b"\xff" * 12,
    ):
        words = words.ljust(-(-len(words) // 4) * 4, b"\0")
        certain = CutSegmentDecoder(words, pairs=in_pairs).decode(probabilities)
        expected = documented_certain_bits(words, probabilities.tolist(), pairs=in_pairs)
        assert certain.tolist() == expected


@pytest.mark.parametrize("sure", [16, 65520])
def test_it_reads_long_runs_of_sure_codes(sure: int) -> None:
    rng = np.random.default_rng(sure)
    probabilities = np.full(5000, sure, np.int32)
    bits = (rng.random(5000) < sure / 65536).astype(np.uint8)
    encoder = SegmentEncoder()
    encoder.encode(bits, probabilities)

    decoder = DocumentedDecoder(encoder.finish())

    assert [decoder.decode(sure) for _ in range(5000)] == bits.tolist()


def documented_group(decoder: DocumentedDecoder, table: list[int], logits: list[int]) -> list[int]:
    """Sections "Sure codes" and "Pairs": the bits of a group."""
    skips = table[0] == 0 and table[-1] == 65536
    of_logits = [min(max(p, 16), 65520) for p in table]
    pairs = all(p % 16 == 0 for p in of_logits)
    blocks = -(-len(logits) // 4096)
    flags = decoder.run([1024] * blocks, pairs=pairs) if skips else [1] * blocks
    bits = [int(logit > 0) for logit in logits]
    coded = [k for k, logit in enumerate(logits) if abs(logit) < 272 or flags[k // 4096]]
    found = decoder.run([of_logits[logits[k] + 272] for k in coded], pairs=pairs)
    for place, bit in zip(coded, found, strict=True):
        bits[place] = bit
    return bits


def earlier_table() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """As weights had it before codes were coded in pairs."""
    table = np.rint(65536 / (1 + np.exp(-np.arange(-272, 273) / 32))).astype(np.int32)
    table = np.clip(table, 16, 65520)
    table[[0, -1]] = (0, 65536)
    return table


@pytest.mark.parametrize(
    "table", [make_table(), earlier_table(), np.clip(earlier_table(), 16, 65520)]
)
def test_it_reads_groups_with_sure_codes(table: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
    rng = np.random.default_rng(0)
    pairs = ProbabilityTable(table).codes_pairs
    encoder = SegmentEncoder(pairs=pairs)
    groups = []
    for count in (100, 4096, 10001, 500_000):
        logits = np.clip(rng.normal(0, 500, count), -272, 272).astype(np.int16)
        bits = (logits > 0).astype(np.uint8)
        bits[rng.integers(0, count, 2)] ^= 1
        encode_group(encoder, ProbabilityTable(table), bits, logits)
        groups.append((bits, logits))

    decoder = DocumentedDecoder(encoder.finish())

    for bits, logits in groups:
        assert documented_group(decoder, table.tolist(), logits.tolist()) == bits.tolist()
