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

    def decode(self, probability: int) -> int:
        """The next bit, given its probability of being 1 out of 2^16."""
        zero = ((65536 - probability) * (2**PRECISION - 2) >> 16) + 1
        scale = self.range >> PRECISION
        quantile = (self.point - self.low) % 2**64 // scale
        bit = int(quantile >= zero)
        first, size = (zero, 2**PRECISION - zero) if bit else (0, zero)
        self.low = (self.low + scale * first) % 2**64
        self.range = scale * size
        if self.range < 2**32:
            self.low = (self.low << 32) % 2**64
            self.range <<= 32
            self.point = (self.point << 32) % 2**64 | self.word()
        return bit


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


def documented_certain_bits(words: bytes, probabilities: list[int]) -> list[int]:
    """Section "Cut segments": the bits before the first doubtful one."""
    ways = [DocumentedDecoder(words + tail * 8) for tail in (b"\x00", b"\xff")]
    certain: list[int] = []
    for probability in probabilities:
        if not all(way.is_code() for way in ways):
            break
        one, other = (way.decode(probability) for way in ways)
        if one != other:
            break
        certain.append(one)
    return certain


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([16, 5000, 32768, 65520])), max_size=300),
    st.binary(max_size=8),
)
def test_the_documented_decoder_finds_the_same_codes_certain(
    pairs: list[tuple[bool, int]], nonsense: bytes
) -> None:
    probabilities = np.array([p for _, p in pairs], np.int32)
    encoder = SegmentEncoder()
    encoder.encode(np.array([bit for bit, _ in pairs], np.uint8), probabilities)
    segment = encoder.finish()
    # Ends of all bits set are where one of the two ways can fall out of the range.
    for words in (
        *(segment[:length] for length in range(0, len(segment) + 1, 4)),
        nonsense[: len(nonsense) // 4 * 4],
        b"\xff" * 4,
        b"\xff" * 12,
    ):
        words = words.ljust(-(-len(words) // 4) * 4, b"\0")
        certain = CutSegmentDecoder(words).decode(probabilities)
        assert certain.tolist() == documented_certain_bits(words, probabilities.tolist())


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
    """Section "Sure codes": the bits of a group."""
    skips = table[0] == 0 and table[-1] == 65536
    flags = [decoder.decode(1024) if skips else 1 for _ in range(0, len(logits), 4096)]
    bits = []
    for index, logit in enumerate(logits):
        if abs(logit) == 272 and not flags[index // 4096]:
            bits.append(int(logit == 272))
        else:
            bits.append(decoder.decode(min(max(table[logit + 272], 16), 65520)))
    return bits


@pytest.mark.parametrize("table", [make_table(), np.clip(make_table(), 16, 65520)])
def test_it_reads_groups_with_sure_codes(table: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
    rng = np.random.default_rng(0)
    encoder = SegmentEncoder()
    groups = []
    for count in (100, 4096, 10000):
        logits = np.clip(rng.normal(0, 500, count), -272, 272).astype(np.int16)
        bits = (logits > 0).astype(np.uint8)
        bits[rng.integers(0, count, 2)] ^= 1
        encode_group(encoder, ProbabilityTable(table), bits, logits)
        groups.append((bits, logits))

    decoder = DocumentedDecoder(encoder.finish())

    for bits, logits in groups:
        assert documented_group(decoder, table.tolist(), logits.tolist()) == bits.tolist()
