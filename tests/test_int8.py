"""8-bit convolutions: the same integers, or none at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from rnnconv_codec.entropy import int8
from rnnconv_codec.entropy.int8 import (
    ISA_LIMITS,
    MAX_INPUT,
    MAX_PAIR_OF_PRODUCTS,
    Int8Arithmetic,
    Int8Convolution,
    SplitConvolution,
    can_convolve,
    exact_convolution,
    int8_arithmetic,
    int8_operations,
    largest_pairs,
    saturating,
    to_bytes,
)

needs_vnni = pytest.mark.skipif(
    int8_arithmetic() is not Int8Arithmetic.EXACT, reason="this processor has no VNNI"
)
needs_int8 = pytest.mark.skipif(
    int8_arithmetic() is Int8Arithmetic.NONE, reason="this processor has no AVX2"
)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    int8_arithmetic.cache_clear()
    int8._pairs_are_neighbours.cache_clear()
    yield
    int8_arithmetic.cache_clear()
    int8._pairs_are_neighbours.cache_clear()


@pytest.fixture
def in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a processor without VNNI would do, computed by whatever there is here."""
    monkeypatch.setattr(int8, "int8_arithmetic", lambda: Int8Arithmetic.IN_PAIRS)


def random_integers(low: int, high: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(low, high + 1, shape, generator=generator)


KERNELS = (1, 3)
CHANNELS = ((96, 96), (24, 48), (7, 24), (96, 384))
SIZES = ((1, 1), (3, 5), (32, 48), (64, 96))


def assert_sums_are_exact(
    kind: type[Int8Convolution | SplitConvolution],
    inputs: int,
    outputs: int,
    kernel: int,
    size: tuple[int, int],
) -> None:
    weight = random_integers(-128, 127, outputs, inputs, kernel, kernel)
    # Below 2^24 in sum, with as many of the largest activations as may be.
    weight[(weight.abs().sum((1, 2, 3)) * 255 >= 1 << 24)] //= 2
    activations = 255 * random_integers(0, 1, 1, inputs, *size)
    shift = random_integers(-5, 12, outputs)
    scale = torch.exp2(-shift.double())
    bias = random_integers(-1000, 1000, outputs) * scale
    expected = functional.conv2d(
        activations.double(), weight.double() * scale.view(-1, 1, 1, 1), bias, padding=kernel // 2
    )

    convolution = kind(weight.to(torch.int8), bias.float(), scale.float())

    assert torch.equal(convolution(activations.float()).double(), expected)


@needs_vnni
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("inputs", "outputs"), [*CHANNELS, (1, 5)])
@pytest.mark.parametrize("size", SIZES)
def test_8_bit_sums_are_those_of_float64(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int]
) -> None:
    assert_sums_are_exact(Int8Convolution, inputs, outputs, kernel, size)


@needs_int8
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("inputs", "outputs"), CHANNELS)
@pytest.mark.parametrize("size", SIZES)
def test_sums_of_cut_weights_are_those_of_float64(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int]
) -> None:
    assert_sums_are_exact(SplitConvolution, inputs, outputs, kernel, size)


# --- sums of pairs in 16 bits ----------------------------------------------------------------


def test_pairs_of_weights_are_those_of_inputs_that_follow_each_other() -> None:
    weight = torch.tensor([[1, 2, -3, 40, 5], [-7, -8, 9, 0, -1], [0, 100, 90, 0, 0]])

    assert largest_pairs(weight[:, :, None, None]).tolist() == [40, 15, 100]


def test_a_pair_counts_at_the_same_place_of_the_kernel_only() -> None:
    weight = torch.zeros(1, 2, 3, 3, dtype=torch.int8)
    weight[0, 0, 0, 0], weight[0, 1, 0, 1] = 100, 100

    assert largest_pairs(weight).tolist() == [100]


@pytest.mark.parametrize(
    ("pair", "largest", "expected"),
    [
        ((64, 64), 255, False),
        ((64, 65), 255, True),
        ((-128, -1), 255, True),
        ((127, -128), 255, False),
        ((127, 127), 127, False),
        ((127, 127), 1, False),
    ],
)
def test_saturation_is_foreseen(pair: tuple[int, int], largest: int, *, expected: bool) -> None:
    weight = torch.tensor(pair, dtype=torch.int8).view(1, 2, 1, 1)

    assert saturating(weight, largest).tolist() == [expected]
    assert (abs(sum(w for w in pair if w * pair[0] > 0)) * largest > 2**15 - 1) == expected


@needs_int8
@pytest.mark.usefixtures("in_pairs")
def test_without_vnni_weights_are_taken_as_they_are_or_cut_in_two() -> None:
    small = torch.full((4, 8, 3, 3), 64, dtype=torch.int8)
    large = torch.full((4, 8, 3, 3), 127, dtype=torch.int8)
    one = torch.ones(4)

    assert can_convolve(small) and not can_convolve(large)
    assert can_convolve(large, largest=127)
    assert isinstance(exact_convolution(small, one, one, 255), Int8Convolution)
    assert isinstance(exact_convolution(large, one, one, 1), Int8Convolution)
    assert isinstance(exact_convolution(large, one, one, 255), SplitConvolution)


@pytest.mark.usefixtures("in_pairs")
@pytest.mark.parametrize("step", [2, 4, 8])
def test_other_pairs_than_neighbours_are_noticed(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherPairs(Int8Convolution):
        """Saturates sums of products of inputs i and i + `step`, at one place of the kernel."""

        def __init__(self, weight: Tensor, *arguments: Any, **options: Any) -> None:
            middle = weight.shape[2] // 2
            blocks = weight[:, :, middle, middle].int().unflatten(1, (-1, 2 * step))
            pairs = 255 * (blocks[:, :, :step] + blocks[:, :, step:])
            excess = pairs - pairs.clamp(-(2**15), 2**15 - 1)
            self._excess = excess.sum((1, 2)).view(1, -1, 1, 1)
            self._convolve = Int8Convolution(weight, *arguments, **options)

        def __call__(self, input: Tensor) -> Tensor:
            result: Tensor = self._convolve(input) - self._excess
            return result

    weight = torch.zeros(16, 48, 3, 3, dtype=torch.int8)
    monkeypatch.setattr(int8, "Int8Convolution", OtherPairs)

    assert not can_convolve(weight)


@needs_int8
def test_no_half_of_a_cut_weight_saturates(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []

    class Noted(Int8Convolution):
        def __init__(self, weight: Tensor, *arguments: Any, **options: Any) -> None:
            made.append(weight)
            super().__init__(weight, *arguments, **options)

    weight = random_integers(-128, 127, 12, 10, 3, 3).to(torch.int8)
    weight[3:5] //= 2
    assert saturating(weight, MAX_INPUT).tolist() == 3 * [True] + 2 * [False] + 7 * [True]
    monkeypatch.setattr(int8, "Int8Convolution", Noted)
    SplitConvolution(weight, torch.zeros(12), torch.ones(12), MAX_INPUT)

    first, rest = made
    assert len(rest) == 16 and not bool(rest[10:].any())
    for half in made:
        assert int(largest_pairs(half.int()).max()) * MAX_INPUT <= MAX_PAIR_OF_PRODUCTS
    cut = [0, 1, 2, *range(5, 12)]
    assert torch.equal(first[3:5], weight[3:5])
    assert torch.equal(first[cut] + rest[:10], weight[cut])


@needs_int8
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_the_instructions_of_processors_without_vnni_compute_the_same(isa: str) -> None:
    # VNNI is what these lack.
    tests = ["test_sums_of_cut_weights", "test_without_vnni"]
    code = "from rnnconv_codec.entropy import int8; print(int8.int8_arithmetic().name)"
    environment = {**os.environ, ISA_LIMITS[0]: isa, "OMP_NUM_THREADS": "1"}

    arithmetic = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", " or ".join(tests)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )

    assert arithmetic.stdout.strip() == Int8Arithmetic.IN_PAIRS.name
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


# --- where 8 bits are left alone -------------------------------------------------------------


@pytest.mark.parametrize("name", ISA_LIMITS)
def test_sums_are_not_taken_as_exact_where_onednn_is_kept_from_instructions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "AVX2")

    assert int8_arithmetic() is not Int8Arithmetic.EXACT


def test_8_bits_are_left_alone_where_sums_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Saturating(Int8Convolution):
        def __call__(self, input: Tensor) -> Tensor:
            return super().__call__(input).clamp(-(2**15), 2**15 - 1)

    monkeypatch.setattr(int8, "Int8Convolution", Saturating)

    assert int8_arithmetic() is Int8Arithmetic.NONE


def test_8_bits_are_left_alone_where_torch_does_not_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(int8, "Int8Convolution", missing)

    assert int8_arithmetic() is Int8Arithmetic.NONE


@needs_vnni
def test_8_bit_convolutions_are_counted_as_others() -> None:
    weight = random_integers(-128, 127, 6, 4, 3, 3)
    pixels = torch.ones(1, 4, 5, 7)
    convolution = Int8Convolution(weight.to(torch.int8), torch.zeros(6), torch.ones(6))

    with FlopCounterMode(display=False, custom_mapping=int8_operations()) as counted:
        convolution(pixels)
    with FlopCounterMode(display=False) as expected:
        functional.conv2d(pixels, weight.float(), padding=1)

    assert counted.get_total_flops() == expected.get_total_flops() > 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64])
def test_bytes_are_the_integers_that_they_were(dtype: torch.dtype) -> None:
    values = torch.arange(256).view(1, 4, 8, 8).to(dtype, memory_format=torch.channels_last)

    found = to_bytes(values)

    assert found.dtype == torch.uint8 and torch.equal(found.to(dtype), values)
    assert found.is_contiguous(memory_format=torch.channels_last)
