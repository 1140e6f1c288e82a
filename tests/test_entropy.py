"""Context model, range coder and segments."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rnnconv_codec.entropy import groups as groups_module
from rnnconv_codec.entropy import integer_model as integer_model_module
from rnnconv_codec.entropy.context_model import ContextModel
from rnnconv_codec.entropy.fixed_point import MAX_LOGIT, UNIT
from rnnconv_codec.entropy.groups import (
    BLOCK_CODES,
    BLOCKS_AT_A_TIME,
    decode_cut_group,
    decode_group,
    encode_group,
)
from rnnconv_codec.entropy.integer_model import (
    GroupPass,
    IntegerContextModel,
    export_context,
)
from rnnconv_codec.entropy.probability_table import (
    MIN_PROBABILITY,
    PAIR_STEP,
    PROBABILITY_TOTAL,
    TABLE_LENGTH,
    ProbabilityTable,
    make_table,
)
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentDecoder, SegmentEncoder
from rnnconv_codec.entropy.segments import SegmentCoder
from rnnconv_codec.entropy.stored_context import TABLE_NAME
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.errors import CodeSegmentError, IntegerRangeError, WeightsFormatError
from rnnconv_codec.networks.config import CodeGrid, ContextModelConfig
from rnnconv_codec.networks.strips import Strip, StripPlan
from rnnconv_codec.weights import ModelFile

GRIDS = (CodeGrid(8, 16), CodeGrid(8, 8))
HEIGHT, WIDTH = 64, 48
SIZES = [(HEIGHT // grid.stride, WIDTH // grid.stride) for grid in GRIDS]
STRIPS = StripPlan(least_rows=HEIGHT).strips(HEIGHT, WIDTH)
CONFIG = ContextModelConfig(hidden_channels=16, groups=4)
ITERATIONS = 3


@pytest.fixture(scope="module")
def trained() -> ContextModel:
    """A context model whose weights are large enough to reach clips and table ends."""
    torch.manual_seed(3)
    model = ContextModel(GRIDS, ITERATIONS, CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Rescaled channels have many different shifts.
            parameter.mul_(
                torch.exp(torch.randn(parameter.shape[0])).view(-1, *[1] * (parameter.dim() - 1))
            )
            if "from_finer" in name or "deeper" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if "bias" in name:
                parameter.add_(torch.randn_like(parameter))
    return model


def random_codes(seed: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            (torch.rand(1, grid.channels, *size, generator=generator) < 0.3).float() * 2 - 1
            for grid, size in zip(GRIDS, SIZES, strict=True)
        ]
        for _ in range(ITERATIONS)
    ]


def integer_model(model: ContextModel, dtype: torch.dtype = torch.float32) -> IntegerContextModel:
    return IntegerContextModel(export_context(model), GRIDS, ITERATIONS, CONFIG, dtype)


def same(context: Tensor, strip: Strip) -> Tensor:
    return context


def all_logits(model: IntegerContextModel, codes: list[list[Tensor]]) -> list[Tensor]:
    """Logits of every iteration and grid, the codes known."""
    states: list[Tensor | None] = [None, None]
    logits: list[Tensor] = []
    for iteration, grids in enumerate(codes):
        coarser = None
        for index, grid in enumerate(model.grids):
            bits = (grids[index] > 0).to(grid.dtype)
            finer = None
            if grid.sees_finer and (finer_state := states[index + 1]) is not None:
                finer = model.grids[index + 1].features(finer_state, iteration)
            context = grid.context(states[index], coarser, finer, iteration, SIZES[index])
            width = SIZES[index][1]
            passes = GroupPass(grid, iteration, STRIPS, partial(same, context), width)
            for chunk in bits.chunk(grid.groups, 1):
                logits.append(passes.logits())
                passes.push(chunk)
            before = states[index]
            added = grid.accumulation(bits, iteration)
            state = added if before is None else before + added
            states[index] = state
            coarser = grid.features(state, iteration) if index == 0 else None
    return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("is_8_bit", [True, False], ids=["8 bits", "no 8 bits"])
def test_any_arithmetic_equals_the_int64_oracle(
    trained: ContextModel,
    dtype: torch.dtype,
    is_8_bit: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_8_bit:
        monkeypatch.setattr(integer_model_module, "int8_is_exact", lambda: False)
    codes = random_codes(0)

    expected = all_logits(integer_model(trained, torch.int64), codes)
    got = all_logits(integer_model(trained, dtype), codes)

    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert len(torch.cat([e.flatten() for e in expected]).unique()) > 100


def test_the_trained_model_is_the_integer_model(trained: ContextModel) -> None:
    codes = random_codes(1)
    logits = all_logits(integer_model(trained), codes)
    per_iteration = len(GRIDS) * CONFIG.groups
    states: list[Tensor | None] = [None, None]

    for iteration, grids in enumerate(codes):
        with torch.no_grad():
            coded, bits, states = trained(
                states,
                iteration,
                [(1, *size) for size in SIZES],
                lambda grid, channels, _, known=grids: known[grid][:, channels],
            )
        assert all(torch.equal(a, b) for a, b in zip(coded, grids, strict=True))
        first = iteration * per_iteration
        coarse = torch.cat(logits[first : first + CONFIG.groups], 1)
        fine = torch.cat(logits[first + CONFIG.groups : first + per_iteration], 1)
        expected = sum(
            float(torch.nn.functional.softplus(-code * logit / UNIT).sum()) / math.log(2)
            for code, logit in zip(grids, (coarse, fine), strict=True)
        )
        assert float(bits) == pytest.approx(expected, rel=1e-5)


def test_logits_of_a_group_do_not_depend_on_it_or_on_later_ones(trained: ContextModel) -> None:
    codes = random_codes(2)
    model = integer_model(trained)
    changed = [[grid.clone() for grid in grids] for grids in codes]
    changed[0][1][:, 4:] *= -1  # groups 2 and 3 of the fine grid, first iteration

    before, after = all_logits(model, codes), all_logits(model, changed)

    fine = CONFIG.groups
    assert all(torch.equal(before[k], after[k]) for k in range(fine + 3))
    assert not torch.equal(before[fine + 3], after[fine + 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_segments_give_the_codes_back(trained: ContextModel, dtype: torch.dtype) -> None:
    codes = random_codes(4)
    encoder = SegmentCoder(integer_model(trained), STRIPS, WIDTH)
    coded = [encoder.encode(grids, [None, None]) for grids in codes]

    decoder = SegmentCoder(integer_model(trained, dtype), STRIPS, WIDTH)

    for (decided, segment), grids in zip(coded, codes, strict=True):
        for found in (decided, decoder.decode(segment)):
            assert all(torch.equal(a.float(), b) for a, b in zip(found, grids, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_segments_and_codes_do_not_depend_on_strips(
    trained: ContextModel, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(7)
    gains: list[Tensor | None] = [torch.full((1, grid.channels, 1, 1), 0.3) for grid in GRIDS]
    narrow = StripPlan(pixels=1, least_rows=1).strips(HEIGHT, WIDTH)
    assert len(narrow) == 4
    whole = SegmentCoder(integer_model(trained), STRIPS, WIDTH)
    striped = SegmentCoder(integer_model(trained, dtype), narrow, WIDTH)
    decoder = SegmentCoder(integer_model(trained, dtype), narrow, WIDTH)
    cut = SegmentCoder(integer_model(trained), STRIPS, WIDTH)
    for _ in range(ITERATIONS):
        activations = [
            torch.randn(1, grid.channels, *size, generator=generator)
            for grid, size in zip(GRIDS, SIZES, strict=True)
        ]
        codes, segment = whole.encode(activations, gains)
        ours, ours_segment = striped.encode(activations, gains)
        part = segment[: len(segment) // 2 // WORD_BYTES * WORD_BYTES]
        pairs = (
            (codes, ours),
            (cut.fork().decode_cut(part), decoder.fork().decode_cut(part)),
            (codes, decoder.decode(segment)),
            (codes, cut.decode(segment)),
        )
        assert ours_segment == segment
        for one, other in pairs:
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_many_codes_are_coded_in_parts(
    trained: ContextModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes(8)[0]
    monkeypatch.setattr(groups_module, "BLOCK_CODES", 7)
    at_once = SegmentCoder(integer_model(trained), STRIPS, WIDTH).encode(codes, [None, None])
    cut = at_once[1][: len(at_once[1]) // 2 // WORD_BYTES * WORD_BYTES]
    of_cut = SegmentCoder(integer_model(trained), STRIPS, WIDTH).decode_cut(cut)

    monkeypatch.setattr(groups_module, "BLOCKS_AT_A_TIME", 1)

    in_parts = SegmentCoder(integer_model(trained), STRIPS, WIDTH).encode(codes, [None, None])
    assert in_parts[1] == at_once[1]
    for found, expected in (
        (SegmentCoder(integer_model(trained), STRIPS, WIDTH).decode(in_parts[1]), codes),
        (SegmentCoder(integer_model(trained), STRIPS, WIDTH).decode_cut(cut), of_cut),
    ):
        assert all(torch.equal(a.float(), b) for a, b in zip(found, expected, strict=True))


def test_every_cut_of_a_segment_gives_codes_that_are_true_or_expected(
    trained: ContextModel,
) -> None:
    model = integer_model(trained)
    codes = random_codes(6)
    encoder = SegmentCoder(model, STRIPS, WIDTH)
    first, second = (encoder.encode(grids, [None, None])[1] for grids in codes[:2])
    true = torch.cat([grid.flatten() for grid in codes[1]])
    known = [0]
    for length in range(0, len(second), WORD_BYTES):
        decoder = SegmentCoder(model, STRIPS, WIDTH)
        decoder.decode(first)
        decoded = torch.cat([grid.flatten() for grid in decoder.decode_cut(second[:length])])

        is_open = decoded.abs() < 1
        known.append(int(is_open.int().argmax()))
        assert bool(is_open[known[-1] :].all())
        assert torch.equal(decoded[: known[-1]], true[: known[-1]])
    assert known == sorted(known)
    assert known[-1] > 0.8 * true.numel()


def test_codes_that_a_cut_leaves_open_are_expected_group_by_group(trained: ContextModel) -> None:
    model = integer_model(trained)
    coder = SegmentCoder(model, STRIPS, WIDTH)

    decoded = coder.decode_cut(b"")

    probable = [torch.where(grid > 0, 1.0, -1.0) for grid in decoded]
    logits = all_logits(model, [probable])
    for grid, of_grid in zip(decoded, (logits[:4], logits[4:]), strict=True):
        flat = torch.cat([part.flatten() for part in of_grid]).numpy()
        probabilities = model.table.probabilities(flat)
        assert np.array_equal(grid.numpy().ravel(), probabilities / np.float64(32768) - 1)


def test_the_rate_gain_makes_unlikely_codes_rarer(trained: ContextModel) -> None:
    generator = torch.Generator().manual_seed(5)
    activations = [
        torch.randn(1, grid.channels, *size, generator=generator)
        for grid, size in zip(GRIDS, SIZES, strict=True)
    ]
    gains: list[Tensor | None] = [torch.full((1, grid.channels, 1, 1), 0.3) for grid in GRIDS]

    plain, longer = SegmentCoder(integer_model(trained), STRIPS, WIDTH).encode(
        activations, [None, None]
    )
    aware, shorter = SegmentCoder(integer_model(trained), STRIPS, WIDTH).encode(activations, gains)

    assert len(shorter) < len(longer)
    changed = torch.cat([(a != b).flatten() for a, b in zip(plain, aware, strict=True)])
    assert 0 < int(changed.sum()) < changed.numel() / 2
    decoded = SegmentCoder(integer_model(trained), STRIPS, WIDTH).decode(shorter)
    assert all(torch.equal(a, b) for a, b in zip(decoded, aware, strict=True))


def test_a_model_that_could_leave_the_exact_range_is_refused(trained: ContextModel) -> None:
    tensors = export_context(trained)
    tensors["context.0.hidden.bias"] = torch.full_like(tensors["context.0.hidden.bias"], 1 << 24)

    with pytest.raises(IntegerRangeError, match=r"2\^24"):
        IntegerContextModel(tensors, GRIDS, ITERATIONS, CONFIG)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("context.0.hidden.weight", None, WeightsFormatError),
        ("context.0.hidden.weight", torch.zeros(3, dtype=torch.int8), WeightsFormatError),
        ("context.0.hidden.shift", torch.full((16,), 60, dtype=torch.int8), IntegerRangeError),
        ("context.0.hidden.shift", torch.full((16,), -60, dtype=torch.int8), IntegerRangeError),
        ("context.1.from_coarser.bias", torch.zeros(64), WeightsFormatError),
        (
            "context.0.iteration_bias",
            torch.full((3, 16), 2**30, dtype=torch.int32),
            IntegerRangeError,
        ),
        (TABLE_NAME, None, WeightsFormatError),
        (TABLE_NAME, torch.zeros(TABLE_LENGTH, dtype=torch.int32), IntegerRangeError),
        (
            TABLE_NAME,
            torch.full((TABLE_LENGTH,), PROBABILITY_TOTAL, dtype=torch.int32),
            IntegerRangeError,
        ),
    ],
)
def test_unfitting_context_tensors_are_refused(
    trained: ContextModel, name: str, value: Tensor | None, error: type[Exception]
) -> None:
    tensors = export_context(trained)
    del tensors[name]
    if value is not None:
        tensors[name] = value

    with pytest.raises(error):
        IntegerContextModel(tensors, GRIDS, ITERATIONS, CONFIG)


def test_the_probability_table_is_pinned(tiny_model: ModelFile) -> None:
    table = make_table()

    assert table[MAX_LOGIT] == PROBABILITY_TOTAL // 2
    assert (np.diff(table) >= 0).all()
    assert table[0] == 0 and table[-1] == PROBABILITY_TOTAL
    assert table[1] == MIN_PROBABILITY
    assert (table + table[::-1] == PROBABILITY_TOTAL).all()
    # Multiples of 2^-12, those next to what weights had before codes were coded in pairs.
    assert not (table % PAIR_STEP).any()
    before = tiny_model.tensors[TABLE_NAME].numpy()
    assert (np.abs(table - before)[1:-1] <= PAIR_STEP // 2).all()
    assert hashlib.sha256(table.astype("<i4").tobytes()).hexdigest()[:16] == "23599c977bebfced"


def older_table() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """As weights files had it before sure codes were skipped."""
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1) / UNIT
    probability = np.rint(PROBABILITY_TOTAL / (1 + np.exp(-logits)))
    limits = (MIN_PROBABILITY, PROBABILITY_TOTAL - MIN_PROBABILITY)
    return np.clip(probability, *limits).astype(np.int32)


def table_of_single_codes() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """As weights files had it before codes were coded in pairs."""
    table = older_table()
    table[[0, -1]] = (0, PROBABILITY_TOTAL)
    return table


def test_a_table_tells_how_codes_are_coded(tiny_model: ModelFile) -> None:
    older, single, newer = (
        ProbabilityTable(make()) for make in (older_table, table_of_single_codes, make_table)
    )
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1, dtype=np.int16)

    assert np.array_equal(older_table(), tiny_model.tensors[TABLE_NAME].numpy())
    assert np.array_equal(older.probabilities(logits), older_table())
    assert np.array_equal(single.probabilities(logits), older_table())
    assert np.array_equal(newer.probabilities(logits)[1:-1], make_table()[1:-1])
    assert newer.probabilities(logits)[[0, -1]].tolist() == older_table()[[0, -1]].tolist()
    assert [t.skips_sure_codes for t in (older, single, newer)] == [False, True, True]
    assert [t.codes_pairs for t in (older, single, newer)] == [False, False, True]


@pytest.mark.parametrize(
    ("make", "place", "value"),
    [
        (older_table, 0, 0),
        (older_table, -1, PROBABILITY_TOTAL),
        (older_table, 1, 0),
        (make_table, 0, MIN_PROBABILITY),
        (make_table, -1, PROBABILITY_TOTAL - MIN_PROBABILITY),
        (make_table, 0, -1),
        (make_table, 1, 0),
        (make_table, -2, PROBABILITY_TOTAL),
    ],
)
def test_probabilities_of_0_and_1_are_for_both_ends_of_a_table(
    make: Callable[[], Any], place: int, value: int
) -> None:
    table = make()
    table[place] = value

    with pytest.raises(IntegerRangeError, match="impossible"):
        ProbabilityTable(table)


def random_group(
    seed: int, count: int, surprises: float
) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint8]], np.ndarray[tuple[int], np.dtype[np.int16]]]:
    """Bits and logits of a group with many sure codes."""
    rng = np.random.default_rng(seed)
    logits = np.clip(rng.normal(0, 300, count), -MAX_LOGIT, MAX_LOGIT).astype(np.int16)
    probabilities = ProbabilityTable(make_table()).probabilities(logits) / PROBABILITY_TOTAL
    is_sure = np.abs(logits) == MAX_LOGIT
    bits = np.where(is_sure, logits > 0, rng.random(count) < probabilities)
    bits ^= is_sure & (rng.random(count) < surprises)
    return bits.astype(np.uint8), logits


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 3 * BLOCK_CODES), min_size=1, max_size=3),
    st.sampled_from([0.0, 1e-4, 1.0]),
    st.sampled_from([make_table, table_of_single_codes, older_table]),
)
def test_groups_come_back_with_their_surprises(
    seed: int, counts: list[int], surprises: float, make: Callable[[], Any]
) -> None:
    table = ProbabilityTable(make())
    groups = [random_group(seed + i, count, surprises) for i, count in enumerate(counts)]
    encoder = SegmentEncoder(pairs=table.codes_pairs)
    for bits, logits in groups:
        encode_group(encoder, table, bits, logits)

    decoder = SegmentDecoder(encoder.finish(), pairs=table.codes_pairs)

    for bits, logits in groups:
        assert np.array_equal(decode_group(decoder, table, logits), bits)


def test_a_large_group_comes_back() -> None:
    table = ProbabilityTable(make_table())
    bits, logits = random_group(1, 3 * BLOCKS_AT_A_TIME * BLOCK_CODES + 1, 1e-5)
    encoder = SegmentEncoder(pairs=True)
    encode_group(encoder, table, bits, logits)

    assert np.array_equal(
        decode_group(SegmentDecoder(encoder.finish(), pairs=True), table, logits), bits
    )


def test_older_weights_give_the_segments_that_they_gave() -> None:
    table = ProbabilityTable(older_table())
    bits, logits = random_group(2, 3 * BLOCK_CODES, 1e-3)
    encoder, all_codes = SegmentEncoder(), SegmentEncoder()

    encode_group(encoder, table, bits, logits)
    all_codes.encode(bits, older_table()[logits.astype(int) + MAX_LOGIT])

    assert encoder.finish() == all_codes.finish()


def test_sure_codes_are_coded_only_in_blocks_with_surprises() -> None:
    table = ProbabilityTable(make_table())
    logits = np.full(8 * BLOCK_CODES, MAX_LOGIT, np.int16)
    bits = np.ones(len(logits), np.uint8)

    def coded_codes() -> int:
        count = 0

        class Counting(SegmentEncoder):
            def encode(self, bits: Any, probabilities: Any) -> None:
                nonlocal count
                count += len(bits)
                super().encode(bits, probabilities)

        encode_group(Counting(), table, bits, logits)
        return count

    assert coded_codes() == 8
    bits[5 * BLOCK_CODES + 7] = 0
    assert coded_codes() == 8 + BLOCK_CODES


def test_sure_codes_behind_a_cut_are_not_known() -> None:
    table = ProbabilityTable(make_table())
    groups = [random_group(seed, 2 * BLOCK_CODES + 100, 1e-4) for seed in (3, 4)]
    encoder = SegmentEncoder(pairs=True)
    for bits, logits in groups:
        encode_group(encoder, table, bits, logits)
    segment = encoder.finish()
    true = np.concatenate([bits for bits, _ in groups]) * 2.0 - 1
    last = 0
    for length in range(0, len(segment), 16 * WORD_BYTES):
        decoder = CutSegmentDecoder(segment[:length], pairs=True)
        found = [decode_cut_group(decoder, table, logits) for _, logits in groups]
        codes = np.concatenate([of_group for _, of_group in found])
        bits = np.concatenate([of_group for of_group, _ in found])
        known = int(np.argmax(np.abs(codes) < 1))

        assert np.array_equal(codes[:known], true[:known])
        assert (np.abs(codes[known:]) < 1).all()
        assert np.array_equal(bits, codes > 0)
        assert known >= last
        last = known
    assert last > 0.9 * len(true)


MULTIPLES = st.integers(1, PROBABILITY_TOTAL // PAIR_STEP - 1).map(lambda step: PAIR_STEP * step)
"""Probabilities of codes that are coded in pairs."""


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        st.tuples(
            st.just(False),
            st.lists(st.tuples(st.booleans(), st.integers(1, PROBABILITY_TOTAL - 1)), max_size=400),
        ),
        st.tuples(st.just(True), st.lists(st.tuples(st.booleans(), MULTIPLES), max_size=400)),
    ),
    st.integers(1, 5),
)
def test_the_range_coder_gives_any_bits_back(
    codes: tuple[bool, list[tuple[bool, int]]], parts: int
) -> None:
    in_pairs, found = codes
    bits = np.array([bit for bit, _ in found], np.uint8)
    probabilities = np.array([p for _, p in found], np.int32)
    encoder = SegmentEncoder(pairs=in_pairs)
    for part in np.array_split(np.arange(len(found)), parts):
        encoder.encode(bits[part], probabilities[part])

    segment = encoder.finish()

    decoder = SegmentDecoder(segment, pairs=in_pairs)
    for part in np.array_split(np.arange(len(found)), parts):
        assert np.array_equal(decoder.decode(probabilities[part]), bits[part])
    ideal = -np.log2(np.where(bits == 1, probabilities, PROBABILITY_TOTAL - probabilities) / 65536)
    assert len(segment) * 8 <= ideal.sum() + 64


def coded(probabilities: list[int]) -> st.SearchStrategy[list[tuple[bool, int]]]:
    """Codes and their probabilities, of these."""
    return st.lists(st.tuples(st.booleans(), st.sampled_from(probabilities)), max_size=300)


@settings(deadline=None, max_examples=100)
@given(
    st.one_of(
        st.tuples(st.just(False), coded([1, 16, 9000, 32768, 65520, 65535])),
        st.tuples(st.just(True), coded([16, 9008, 32768, 65520])),
    ),
    st.integers(1, 5),
)
def test_the_certain_codes_of_a_cut_segment_are_the_true_ones(
    codes: tuple[bool, list[tuple[bool, int]]], parts: int
) -> None:
    in_pairs, known = codes
    bits = np.array([bit for bit, _ in known], np.uint8)
    probabilities = np.array([p for _, p in known], np.int32)
    calls = np.array_split(np.arange(len(known)), parts)
    encoder = SegmentEncoder(pairs=in_pairs)
    for call in calls:
        encoder.encode(bits[call], probabilities[call])
    segment = encoder.finish()
    for length in range(0, len(segment) + 1, WORD_BYTES):
        decoder = CutSegmentDecoder(segment[:length], pairs=in_pairs)
        certain = np.concatenate([decoder.decode(probabilities[call]) for call in calls])
        assert np.array_equal(certain, bits[: len(certain)])
        assert decoder.decode(probabilities[:1]).size == 0 or len(certain) == len(bits)


@pytest.mark.parametrize("in_pairs", [False, True])
def test_a_cut_costs_a_few_bits_only(*, in_pairs: bool) -> None:
    rng = np.random.default_rng(2)
    steps = rng.integers(1, PROBABILITY_TOTAL // PAIR_STEP, 4000)
    probabilities = (PAIR_STEP * steps).astype(np.int32)
    bits = (rng.random(4000) < probabilities / PROBABILITY_TOTAL).astype(np.uint8)
    encoder = SegmentEncoder(pairs=in_pairs)
    encoder.encode(bits, probabilities)
    segment = encoder.finish()
    ideal = np.cumsum(-np.log2(np.where(bits == 1, probabilities, 65536 - probabilities) / 65536))
    lost = []
    for length in range(WORD_BYTES, len(segment), WORD_BYTES):
        certain = CutSegmentDecoder(segment[:length], pairs=in_pairs).decode(probabilities)
        lost.append(length * 8 - ideal[len(certain) - 1])
    assert np.mean(lost) < 3


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_a_cut_inside_a_word_is_refused(length: int) -> None:
    with pytest.raises(CodeSegmentError, match="whole words"):
        CutSegmentDecoder(bytes(length))


def test_a_segment_is_pinned() -> None:
    encoder = SegmentEncoder()
    encoder.encode(
        np.array([0, 1, 1, 0, 1, 0, 0, 0] * 8, np.uint8),
        np.arange(1000, 65000, 1000, dtype=np.int32),
    )

    assert encoder.finish().hex() == "62f90ffc33531e177ea1b78b"


def test_a_segment_of_pairs_is_pinned() -> None:
    encoder = SegmentEncoder(pairs=True)
    encoder.encode(
        np.array([0, 1, 1, 0, 1, 0, 0, 0] * 8 + [1], np.uint8),
        np.arange(992, 65000, 992, dtype=np.int32)[:65],
    )

    assert encoder.finish().hex() == "f32c18fc72c9d8f52b268476"


def test_nonsense_in_a_segment_is_an_error_or_other_codes_but_never_a_crash() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.integers(1, PROBABILITY_TOTAL, 500).astype(np.int32)
    for length in range(40):
        try:
            decoded = SegmentDecoder(rng.bytes(length)).decode(probabilities)
        except CodeSegmentError:
            continue
        assert decoded.shape == (500,) and decoded.max() <= 1


@pytest.mark.parametrize(
    "probabilities",
    [
        np.array([0], np.int32),
        np.array([PROBABILITY_TOTAL], np.int32),
        np.array([0.5]),
        np.array([[5]], np.int32),
    ],
)
def test_probabilities_that_constriction_would_take_wrongly_are_refused(
    probabilities: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
) -> None:
    with pytest.raises(ValueError, match="probabilities"):
        SegmentEncoder().encode(np.zeros(probabilities.shape, np.uint8), probabilities)
