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
from rnnconv_codec.entropy.classes import (
    CLASS_LOGITS,
    CLASSES,
    CODES_OF_A_SYMBOL,
    SURE_CLASS,
    Runs,
    SymbolOrder,
    classes_of,
)
from rnnconv_codec.entropy.context_model import ContextModel
from rnnconv_codec.entropy.fixed_point import MAX_LOGIT, UNIT
from rnnconv_codec.entropy.groups import (
    BLOCK_CODES,
    PART_BLOCKS,
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
        monkeypatch.setattr(integer_model_module, "exact_convolution", lambda *_: None)
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
    monkeypatch.setattr(groups_module, "PART_BLOCKS", 2)

    segment = SegmentCoder(integer_model(trained), STRIPS, WIDTH).encode(codes, [None, None])[1]

    decoded = SegmentCoder(integer_model(trained), STRIPS, WIDTH).decode(segment)
    assert all(torch.equal(a.float(), b) for a, b in zip(decoded, codes, strict=True))
    true = torch.cat([grid.flatten() for grid in codes])
    for length in range(0, len(segment), 4 * WORD_BYTES):
        cut = SegmentCoder(integer_model(trained), STRIPS, WIDTH).decode_cut(segment[:length])
        found = torch.cat([grid.flatten() for grid in cut])
        is_known = found.abs() == 1
        assert torch.equal(found[is_known], true[is_known])
    assert int(is_known.sum()) > 0.8 * len(true)


def test_every_cut_of_a_segment_gives_codes_that_are_true_or_expected(
    trained: ContextModel,
) -> None:
    model = integer_model(trained)
    codes = random_codes(6)
    encoder = SegmentCoder(model, STRIPS, WIDTH)
    first, second = (encoder.encode(grids, [None, None])[1] for grids in codes[:2])
    true = in_groups(codes[1])
    known = [[0] * len(true)]
    for length in range(0, len(second), WORD_BYTES):
        decoder = SegmentCoder(model, STRIPS, WIDTH)
        decoder.decode(first)
        decoded = in_groups(decoder.decode_cut(second[:length]))

        is_known = [group.abs() == 1 for group in decoded]
        for group, of_true, which in zip(decoded, true, is_known, strict=True):
            assert torch.equal(group[which], of_true[which])
        known.append([int(which.sum()) for which in is_known])
        # Groups are known in their order.
        are_open = [count < len(group) for count, group in zip(known[-1], true, strict=True)]
        if any(are_open):
            assert not any(known[-1][are_open.index(True) + 1 :])
    totals = [sum(counts) for counts in known]
    assert totals == sorted(totals)
    assert totals[-1] > 0.8 * sum(len(group) for group in true)


def in_groups(grids: list[Tensor]) -> list[Tensor]:
    """The codes of an iteration, flat, group by group."""
    return [part.flatten() for grid in grids for part in grid.chunk(CONFIG.groups, 1)]


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


def test_the_probability_table_is_pinned() -> None:
    table = make_table()

    assert (np.diff(table) >= 0).all()
    assert table[0] == 0 and table[-1] == PROBABILITY_TOTAL
    assert table[1] == MIN_PROBABILITY
    assert (table + table[::-1] == PROBABILITY_TOTAL)[:MAX_LOGIT].all()
    # That of a class is between those of its logits.
    exact = PROBABILITY_TOTAL / (1 + np.exp(-np.arange(-MAX_LOGIT, MAX_LOGIT + 1) / UNIT))
    ratio = (table / exact)[1 : MAX_LOGIT + 1]
    widest = math.exp(CLASS_LOGITS / 2 / UNIT)
    assert (ratio[table[1 : MAX_LOGIT + 1] > 100] < widest * 1.01).all()
    assert (ratio[table[1 : MAX_LOGIT + 1] > 100] > 1 / widest / 1.01).all()
    assert hashlib.sha256(table.astype("<i4").tobytes()).hexdigest()[:16] == "19d7556c6cbfc19d"


def older_table() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """As the weights of version 0.1.0 have it."""
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1) / UNIT
    probability = np.rint(PROBABILITY_TOTAL / (1 + np.exp(-logits)))
    limits = (MIN_PROBABILITY, PROBABILITY_TOTAL - MIN_PROBABILITY)
    return np.clip(probability, *limits).astype(np.int32)


def table_without_classes() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """As weights between 0.1.0 and the next version have it, whose files are coded otherwise."""
    table = older_table()
    table[[0, -1]] = (0, PROBABILITY_TOTAL)
    return table


def test_a_table_tells_how_codes_are_coded(tiny_model: ModelFile) -> None:
    older, newer = ProbabilityTable(older_table()), ProbabilityTable(make_table())
    logits = np.arange(-MAX_LOGIT, MAX_LOGIT + 1, dtype=np.int16)

    assert np.array_equal(older_table(), tiny_model.tensors[TABLE_NAME].numpy())
    assert np.array_equal(older.probabilities(logits), older_table())
    assert np.array_equal(newer.probabilities(logits)[1:-1], make_table()[1:-1])
    assert newer.probabilities(logits)[[0, -1]].tolist() == older_table()[[0, -1]].tolist()
    assert older.miss_probabilities is None
    assert newer.miss_probabilities is not None and len(newer.miss_probabilities) == CLASSES
    of_zero = newer.probabilities(np.array([0, 1], np.int16))
    assert of_zero.tolist() == [
        newer.miss_probabilities[0],
        PROBABILITY_TOTAL - newer.miss_probabilities[0],
    ]


def changed(place: int, value: int) -> Callable[[], Any]:
    """A function that makes a table with another value."""

    def make() -> Any:
        table = make_table()
        table[place] = value
        return table

    return make


def table_of_high_misses() -> Any:
    """In classes, but the first one's codes are what their logits do not say."""
    table = make_table()
    table[MAX_LOGIT - CLASS_LOGITS + 1 : MAX_LOGIT + 1] = 1 << 15
    table[MAX_LOGIT + 1 : MAX_LOGIT + CLASS_LOGITS] = 1 << 15
    return table


@pytest.mark.parametrize(
    "make",
    [
        table_without_classes,
        table_of_high_misses,
        changed(MAX_LOGIT, 12345),
        changed(MAX_LOGIT + 20, 60000),
        changed(1, 17),
    ],
)
def test_a_table_that_skips_sure_codes_has_classes(make: Callable[[], Any]) -> None:
    with pytest.raises(IntegerRangeError, match="no classes"):
        ProbabilityTable(make())


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
    is_sure = classes_of(logits) >= SURE_CLASS
    bits = np.where(is_sure, logits > 0, rng.random(count) < probabilities)
    bits ^= is_sure & (rng.random(count) < surprises)
    return bits.astype(np.uint8), logits


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 20 * BLOCK_CODES), min_size=1, max_size=3),
    st.sampled_from([0.0, 1e-4, 1.0]),
    st.sampled_from([make_table, older_table]),
)
def test_groups_come_back_with_their_surprises(
    seed: int, counts: list[int], surprises: float, make: Callable[[], Any]
) -> None:
    table = ProbabilityTable(make())
    groups = [random_group(seed + i, count, surprises) for i, count in enumerate(counts)]
    encoder = SegmentEncoder()
    for bits, logits in groups:
        encode_group(encoder, table, bits, logits)

    decoder = SegmentDecoder(encoder.finish())

    for bits, logits in groups:
        assert np.array_equal(decode_group(decoder, table, logits), bits)


def test_a_large_group_comes_back() -> None:
    table = ProbabilityTable(make_table())
    bits, logits = random_group(1, 3 * PART_BLOCKS * BLOCK_CODES + 1, 1e-5)
    encoder = SegmentEncoder()
    encode_group(encoder, table, bits, logits)

    assert np.array_equal(decode_group(SegmentDecoder(encoder.finish()), table, logits), bits)


def test_older_weights_give_the_segments_that_they_gave() -> None:
    table = ProbabilityTable(older_table())
    bits, logits = random_group(2, 3 * BLOCK_CODES, 1e-3)
    encoder, all_codes = SegmentEncoder(), SegmentEncoder()

    encode_group(encoder, table, bits, logits)
    all_codes.encode(bits, older_table()[logits.astype(int) + MAX_LOGIT])

    assert encoder.finish() == all_codes.finish()


def test_sure_codes_are_coded_only_in_blocks_with_surprises() -> None:
    table = ProbabilityTable(make_table())
    logits = np.full(8 * BLOCK_CODES, SURE_CLASS * CLASS_LOGITS, np.int16)
    bits = np.ones(len(logits), np.uint8)

    def coded_symbols() -> int:
        count = 0

        class Counting(SegmentEncoder):
            def encode_symbols(self, symbols: Any, runs: Any) -> None:
                nonlocal count
                count += len(symbols)
                super().encode_symbols(symbols, runs)

        encode_group(Counting(), table, bits, logits)
        return count

    assert coded_symbols() == 1
    bits[5 * BLOCK_CODES + 7] = 0
    assert coded_symbols() == 1 + BLOCK_CODES // CODES_OF_A_SYMBOL
    logits -= 1
    assert coded_symbols() == 1 + BLOCK_CODES


def test_sure_codes_are_known_once_the_flags_of_their_group_are() -> None:
    table = ProbabilityTable(make_table())
    groups = [random_group(seed, 20 * BLOCK_CODES + 100, 1e-4) for seed in (3, 4)]
    encoder = SegmentEncoder()
    for bits, logits in groups:
        encode_group(encoder, table, bits, logits)
    segment = encoder.finish()
    counts = []
    for length in range(0, len(segment), 2 * WORD_BYTES):
        decoder = CutSegmentDecoder(segment[:length])
        counts.append(0)
        is_open = False
        for true, logits in groups:
            bits, codes = decode_cut_group(decoder, table, logits)
            is_known = np.abs(codes) == 1

            assert not (is_open and is_known.any())
            assert np.array_equal(bits, codes > 0)
            assert np.array_equal(bits[is_known], true[is_known])
            expected = table.probabilities(logits) / np.float64(PROBABILITY_TOTAL // 2) - 1
            assert np.array_equal(codes[~is_known], expected[~is_known])
            if is_known.any() and length:
                sure = classes_of(logits) >= SURE_CLASS
                of_blocks = np.bincount(np.flatnonzero(sure & ~is_known) // BLOCK_CODES)
                surprises = np.flatnonzero(sure & (true != (logits > 0))) // BLOCK_CODES
                assert set(np.flatnonzero(of_blocks)) <= set(surprises)
            is_open = not is_known.all()
            counts[-1] += int(is_known.sum())
    assert counts == sorted(counts)
    assert counts[-1] > 0.9 * sum(len(bits) for bits, _ in groups)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, PROBABILITY_TOTAL - 1)), max_size=400),
    st.integers(1, 5),
)
def test_the_range_coder_gives_any_bits_back(codes: list[tuple[bool, int]], parts: int) -> None:
    bits = np.array([bit for bit, _ in codes], np.uint8)
    probabilities = np.array([p for _, p in codes], np.int32)
    encoder = SegmentEncoder()
    for part in np.array_split(np.arange(len(codes)), parts):
        encoder.encode(bits[part], probabilities[part])

    segment = encoder.finish()

    decoder = SegmentDecoder(segment)
    for part in np.array_split(np.arange(len(codes)), parts):
        assert np.array_equal(decoder.decode(probabilities[part]), bits[part])
    ideal = -np.log2(np.where(bits == 1, probabilities, PROBABILITY_TOTAL - probabilities) / 65536)
    assert len(segment) * 8 <= ideal.sum() + 64


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 255), max_size=40), st.integers(1, PROBABILITY_TOTAL - 1)
        ),
        max_size=10,
    )
)
def test_the_range_coder_gives_any_symbols_back(codes: list[tuple[list[int], int]]) -> None:
    runs: Runs = [(len(symbols), p) for symbols, p in codes]
    symbols = np.array([symbol for of_run, _ in codes for symbol in of_run], np.uint8)
    encoder = SegmentEncoder()
    encoder.encode_symbols(symbols, runs)

    segment = encoder.finish()

    assert np.array_equal(SegmentDecoder(segment).decode_symbols(runs), symbols)
    # No symbol has a share below 2^-24, and to give each of them one costs next to nothing.
    ideal = 0.0
    for of_run, p in codes:
        for symbol in of_run:
            misses, hit = symbol.bit_count(), PROBABILITY_TOTAL - p
            share = (p / PROBABILITY_TOTAL) ** misses * (hit / PROBABILITY_TOTAL) ** (8 - misses)
            ideal += min(24.0, -math.log2(share))
    assert len(segment) * 8 <= ideal * 1.001 + 64


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, CLASSES - 1)), max_size=300))
def test_codes_in_the_order_of_their_classes_come_back(codes: list[tuple[bool, int]]) -> None:
    misses = np.array([miss for miss, _ in codes], np.uint8)
    order = SymbolOrder(np.array([c for _, c in codes], np.uint8), range(1000, 1000 + CLASSES))
    symbols = order.symbols(misses)

    assert len(symbols) == sum(count for count, _ in order.runs) == -(-len(codes) // 8)
    assert [p for _, p in order.runs] == sorted({p for _, p in order.runs})
    assert sorted(order.misses(symbols)) == np.flatnonzero(misses).tolist()
    for known in range(len(symbols)):
        unknown = order.unknown(symbols[:known])
        assert len(unknown) == len(codes) - 8 * known
        of_known = np.delete(np.arange(len(codes)), unknown)
        assert max((codes[k][1] for k in of_known), default=0) <= min(codes[k][1] for k in unknown)
        assert sorted(order.misses(symbols[:known])) == of_known[misses[of_known] == 1].tolist()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([1, 16, 9000, 32768, 65520, 65535])), max_size=300
    ),
    st.lists(
        st.tuples(st.lists(st.integers(0, 255), max_size=20), st.sampled_from([1, 16, 900, 32000])),
        max_size=4,
    ),
    st.integers(1, 5),
)
def test_the_certain_codes_of_a_cut_segment_are_the_true_ones(
    codes: list[tuple[bool, int]], symbols: list[tuple[list[int], int]], parts: int
) -> None:
    bits = np.array([bit for bit, _ in codes], np.uint8)
    probabilities = np.array([p for _, p in codes], np.int32)
    calls = np.array_split(np.arange(len(codes)), parts)
    runs: Runs = [(len(of_run), p) for of_run, p in symbols]
    true_symbols = np.array([symbol for of_run, _ in symbols for symbol in of_run], np.uint8)
    encoder = SegmentEncoder()
    for call in calls:
        encoder.encode(bits[call], probabilities[call])
    encoder.encode_symbols(true_symbols, runs)
    segment = encoder.finish()
    for length in range(0, len(segment) + 1, WORD_BYTES):
        decoder = CutSegmentDecoder(segment[:length])
        certain = np.concatenate([decoder.decode(probabilities[call]) for call in calls])
        found = decoder.decode_symbols(runs)

        assert np.array_equal(certain, bits[: len(certain)])
        assert np.array_equal(found, true_symbols[: len(found)])
        assert len(found) == 0 or len(certain) == len(bits)
        is_whole = (len(certain), len(found)) == (len(bits), len(true_symbols))
        assert decoder.is_at_end is not is_whole
        if decoder.is_at_end:
            assert decoder.decode(np.full(1, 9, np.int32)).size == 0
            assert decoder.decode_symbols([(1, 9)]).size == 0


def test_a_cut_between_bits_costs_a_few_bits_only() -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.integers(1, PROBABILITY_TOTAL, 4000).astype(np.int32)
    bits = (rng.random(4000) < probabilities / PROBABILITY_TOTAL).astype(np.uint8)
    encoder = SegmentEncoder()
    encoder.encode(bits, probabilities)
    segment = encoder.finish()
    ideal = np.cumsum(-np.log2(np.where(bits == 1, probabilities, 65536 - probabilities) / 65536))
    lost = []
    for length in range(WORD_BYTES, len(segment), WORD_BYTES):
        certain = CutSegmentDecoder(segment[:length]).decode(probabilities)
        lost.append(length * 8 - ideal[len(certain) - 1])
    assert np.mean(lost) < 3


def test_a_cut_between_symbols_costs_less_than_a_symbol() -> None:
    rng = np.random.default_rng(2)
    runs: Runs = [(500, p) for p in (32000, 20000, 9000, 2000)]
    symbols = np.concatenate(
        [np.packbits(rng.random(8 * count) < p / PROBABILITY_TOTAL) for count, p in runs]
    )
    encoder = SegmentEncoder()
    encoder.encode_symbols(symbols, runs)
    segment = encoder.finish()
    shares = np.concatenate([np.full(count, p) for count, p in runs]) / PROBABILITY_TOTAL
    misses = np.array([symbol.bit_count() for symbol in symbols.tolist()])
    ideal = np.cumsum(-misses * np.log2(shares) - (8 - misses) * np.log2(1 - shares))
    lost = []
    for length in range(WORD_BYTES, len(segment), WORD_BYTES):
        certain = CutSegmentDecoder(segment[:length]).decode_symbols(runs)
        lost.append(length * 8 - ideal[len(certain) - 1])
    assert np.mean(lost) < 8


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


def test_a_segment_of_classes_is_pinned() -> None:
    encoder = SegmentEncoder()
    encoder.encode_symbols(
        np.array([0, 129, 3, 0, 64, 255, 0, 0, 8, 0], np.uint8), [(3, 30000), (4, 8000), (3, 16)]
    )

    assert encoder.finish().hex() == "c3f30c010923f899d020cc3d"


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
