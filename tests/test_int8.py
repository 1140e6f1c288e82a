"""8-bit convolutions: the same integers, or none at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from rnnconv_codec.entropy import int8
from rnnconv_codec.entropy.int8 import (
    ISA_LIMITS,
    Int8Convolution,
    int8_is_exact,
    int8_operations,
    to_bytes,
)

needs_vnni = pytest.mark.skipif(not int8_is_exact(), reason="this processor has no VNNI")


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    int8_is_exact.cache_clear()


def random_integers(low: int, high: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randint(low, high + 1, shape, generator=generator)


@needs_vnni
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(96, 96), (24, 48), (1, 5), (96, 384)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (32, 48), (64, 96)])
def test_8_bit_sums_are_those_of_float64(
    inputs: int, outputs: int, kernel: int, size: tuple[int, int]
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

    convolution = Int8Convolution(weight.to(torch.int8), bias.float(), scale.float())

    assert torch.equal(convolution(activations.float()).double(), expected)


@pytest.mark.parametrize("name", ISA_LIMITS)
def test_8_bits_are_left_alone_where_onednn_is_kept_from_instructions(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "AVX2")

    assert not int8_is_exact()


def test_8_bits_are_left_alone_where_sums_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Saturating(Int8Convolution):
        def __call__(self, input: Tensor) -> Tensor:
            return super().__call__(input).clamp(-(2**15), 2**15 - 1)

    monkeypatch.setattr(int8, "Int8Convolution", Saturating)

    assert not int8_is_exact()


def test_8_bits_are_left_alone_where_torch_does_not_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(int8, "Int8Convolution", missing)

    assert not int8_is_exact()


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
