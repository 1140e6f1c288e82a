"""The network as it is run: the same function, in part in 8 bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.codec import Codec, network_tensors
from rnnconv_codec.entropy.int8 import Int8Arithmetic, int8_arithmetic
from rnnconv_codec.errors import TrainingError, WeightsFormatError
from rnnconv_codec.networks import int8
from rnnconv_codec.networks.code_convolution import CodeConvolution, code_bytes, split
from rnnconv_codec.networks.compact import CompactNetwork
from rnnconv_codec.networks.config import (
    CompactConfig,
    TodericiConfig,
    config_from_dict,
    config_to_dict,
)
from rnnconv_codec.networks.int8 import ByteConvolution, Levels, has_input_scale
from rnnconv_codec.networks.prepared import PreparedCompactNetwork, prepared
from rnnconv_codec.networks.recurrent import (
    RecurrentNetwork,
    build_network,
    residual_loop,
    sign_of_activations,
)
from rnnconv_codec.training.calibration import calibrated, uncalibrated
from rnnconv_codec.training.images import to_tensor
from rnnconv_codec.training.model import TrainableCodec
from rnnconv_codec.weights import find_weights, load_model_file

Photograph = Callable[[str], Image.Image]

needs_int8 = pytest.mark.skipif(
    int8_arithmetic() is Int8Arithmetic.NONE, reason="this processor has no AVX2"
)

SMALL = CompactConfig(
    iterations=3,
    analysis_channels=12,
    coarse_inputs=4,
    coarse_codes=8,
    fine_codes=8,
    coarse_decoder_channels=20,
    fine_decoder_channels=16,
    post_filter_channels=8,
    post_filter_blocks=2,
)


def astronaut() -> Tensor:
    return to_tensor(skimage.data.astronaut()[None, 60:188, 160:288].copy())


def random_network(config: CompactConfig, seed: int = 0) -> CompactNetwork:
    """A network whose every part does something."""
    generator = torch.Generator().manual_seed(seed)
    network = build_network(config)
    assert isinstance(network, CompactNetwork)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("_state_scale"):
                parameter.uniform_(5, 20, generator=generator)
            elif name == "code_scale":
                parameter.copy_(torch.tensor([1.0, 0.5, 0.2])[: config.iterations])
            elif not bool(parameter.any()):
                parameter.normal_(0, 0.05, generator=generator)
    return network.eval()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("coffee", "chelsea"):
        Image.fromarray(getattr(skimage.data, name)()).save(tmp_path / f"{name}.png")
    return tmp_path


def psnr(a: Image.Image, b: Image.Image) -> float:
    error = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(10 * np.log10(255**2 / np.square(error).mean()))


@torch.inference_mode()
def shown_by(network: RecurrentNetwork, codes: list[list[Tensor]]) -> list[Tensor]:
    pictures = []
    state = None
    for index, grids in enumerate(codes):
        state = network.decode_iteration(grids, state, index)
        pictures.append(network.show(state, network.synthesise(state, index), index))
    return pictures


# --- folded weights --------------------------------------------------------------------------


@torch.inference_mode()
def test_a_prepared_network_computes_what_the_trained_one_does() -> None:
    network = random_network(SMALL)
    image = astronaut()
    expected = list(residual_loop(network, image, SMALL.iterations))
    codes = [iteration.codes for iteration in expected]

    ours = prepared(network)
    activations, _ = ours.encode_iteration(image, None, 0)
    theirs, _ = network.encode_iteration(image, None, 0)

    assert isinstance(ours, PreparedCompactNetwork)
    for a, b in zip(activations, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for shown, iteration in zip(shown_by(ours, codes), expected, strict=True):
        torch.testing.assert_close(shown, iteration.shown, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(SMALL, fine_decoder_kernel=3),
        TodericiConfig(1, 4, (8, 8, 8), 4, (8, 8, 16, 16), 8),
    ],
)
def test_other_networks_run_as_they_are_trained(config: CompactConfig | TodericiConfig) -> None:
    network = build_network(config)

    assert prepared(network) is network


def test_parts_are_prepared_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = prepared(random_network(SMALL))
    assert isinstance(ours, PreparedCompactNetwork)
    codes = [torch.ones(1, 8, 1, 1), torch.ones(1, 8, 2, 2)]

    shown_by(ours, [codes])

    def made(parts: nn.Module | None) -> list[bool]:
        assert isinstance(parts, nn.ModuleList)
        return ["_run" in part.__dict__ for part in parts]

    assert made(ours.fine_decoder) == [True, False, False]
    assert made(ours.post_filter) == [True, False, False]
    assert made(ours.analysis) == [False, False, False]


# --- levels and 8-bit convolutions -----------------------------------------------------------


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=30), st.floats(0.01, 3))
def test_levels_are_nearest_and_cut_off(values: list[float], largest: float) -> None:
    levels = Levels.signed(torch.tensor([largest]))
    given_values = torch.tensor(values).view(1, 1, 1, -1)

    found = (levels.of(given_values).float() - levels.zero) * levels.step

    inside = given_values.clamp(-128 * float(levels.step), 127 * float(levels.step))
    assert float((found - inside).abs().max()) <= 0.501 * float(levels.step)


def test_levels_of_positive_values_begin_at_0() -> None:
    levels = Levels.positive(torch.tensor([1.0, 2.55]))

    assert levels.of(torch.tensor([-1.0, 0, 1.0, 9]).view(1, 2, 1, 2)).flatten().tolist() == [
        0,
        0,
        100,
        255,
    ]


def test_small_channels_get_smaller_steps_than_large_ones_but_not_by_as_much() -> None:
    step = Levels.signed(torch.tensor([1.0, 0.01, 0.0])).step * 127

    assert step.tolist() == pytest.approx([1.0, 2**-3, 2**-3])


@pytest.mark.parametrize("in_8_bits", [pytest.param(True, marks=needs_int8), False])
@pytest.mark.parametrize("to_bytes", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (16, 8, 4)])
def test_an_8_bit_convolution_is_near_that_of_float32(
    *,
    kernel: int,
    stride: int,
    padding: int,
    to_bytes: bool,
    in_8_bits: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "can_convolve", lambda *_, **__: in_8_bits)
    generator = torch.Generator().manual_seed(kernel)
    values = torch.randn(1, 6, 32, 40, generator=generator)
    weight = torch.randn(5, 6, kernel, kernel, generator=generator)
    bias = torch.randn(5, generator=generator)
    expected = functional.conv2d(values, weight, bias, stride, padding)
    output = Levels.positive(expected.amax((0, 2, 3))) if to_bytes else None

    convolution = ByteConvolution(
        weight,
        bias,
        Levels.signed(values.abs().amax((0, 2, 3))),
        stride=stride,
        padding=padding,
        output=output,
    )
    found = convolution(values)

    if output is not None:
        assert found.dtype == torch.uint8
        found, expected = found * output.step.view(1, -1, 1, 1), expected.relu()
    assert float((found - expected).abs().max()) < 0.03 * float(expected.abs().max())


@needs_int8
def test_processors_without_8_bits_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(1, 40, 20, 24, generator=generator)
    weight = torch.randn(16, 40, 3, 3, generator=generator)
    levels = Levels.signed(values.abs().amax((0, 2, 3)))

    with_8_bits = ByteConvolution(weight, None, levels, padding=1)(values)
    monkeypatch.setattr(int8, "can_convolve", lambda *_, **__: False)
    without = ByteConvolution(weight, None, levels, padding=1)(values)

    torch.testing.assert_close(with_8_bits, without, rtol=1e-5, atol=1e-4)


# --- convolutions of codes -------------------------------------------------------------------


def test_codes_are_bytes_around_the_one_that_stands_for_0() -> None:
    whole = torch.tensor([-1, 1, 1, -1], dtype=torch.int8).view(1, 4, 1, 1)
    expected = torch.tensor([-1.0, 1.0, 0.0, 0.5]).view(1, 4, 1, 1)

    assert code_bytes(whole).flatten().tolist() == [1, 127, 127, 1]
    assert code_bytes(expected).flatten().tolist() == [1, 127, 64, 96]


def decoder_like_weight(kernel: int) -> Tensor:
    """Whose centre is ten times as large as what is around it."""
    weight = torch.randn(7, 12, kernel, kernel, generator=torch.Generator().manual_seed(kernel))
    weight[:, :, kernel // 2, kernel // 2] *= 10
    return weight


def test_the_two_parts_of_a_kernel_add_up() -> None:
    weight = decoder_like_weight(3)

    centre, rest = split(weight)

    torch.testing.assert_close(functional.pad(centre, (1, 1, 1, 1)) + rest, weight)
    steps = centre / (centre.abs().amax((1, 2, 3), keepdim=True) / 127)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    assert float(rest.abs().max()) < 0.5 * float(weight.abs().max())


@pytest.mark.parametrize("in_8_bits", [pytest.param(True, marks=needs_int8), False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_codes_at_rest_are_convolved_without_any_loss(
    *, kernel: int, in_8_bits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "can_convolve", lambda *_, **__: in_8_bits)
    weight, bias = decoder_like_weight(kernel), torch.randn(7)
    at_rest = torch.where(torch.arange(12) % 2 == 0, 1.0, -1.0)
    codes = at_rest.view(1, -1, 1, 1).expand(1, -1, 6, 8).clone()
    convolution = CodeConvolution(weight, bias, at_rest)

    def error_of(codes: Tensor) -> Tensor:
        expected = functional.conv2d(codes, weight, bias, padding=kernel // 2)
        found: Tensor = convolution(code_bytes(codes))
        return (found - expected).abs() / weight.abs().max()

    assert float(error_of(codes)[:, :, 1:-1, 1:-1].max()) < 1e-5
    codes[0, 3, 2, 5] *= -1
    error = error_of(codes)
    assert 1e-5 < float(error[:, :, 2, 5].max()) < 0.01
    # Away from a code that says something there is still no error.
    assert float(error[:, :, 1:-1, 1:3].max()) < 1e-5


# --- calibration -----------------------------------------------------------------------------


def test_calibration_finds_the_largest_inputs_and_changes_nothing_else(photographs: Path) -> None:
    codec = TrainableCodec(SMALL)
    codec.network.load_state_dict(random_network(SMALL).state_dict())

    with_scales = calibrated(codec, photographs)

    network = with_scales.network
    assert isinstance(network, CompactNetwork)
    assert network.config.int8 and network.config.int8_decoder
    ranged = dict(network.ranged_convolutions())
    assert all(has_input_scale(convolution) for convolution in ranged.values())
    # A photograph's pixels go from -1 to 1, times the gain of the iteration.
    gains = network.log_gain.exp()
    largest = ranged["analysis"].get_parameter("input_scale")[0] / gains[0]
    assert largest.tolist() == pytest.approx([1, 1, 1], abs=0.1)
    # There is no state before the first iteration.
    assert bool((ranged["fine_encoder.conv_hh"].get_parameter("input_scale")[0] == 1).all())
    before = network_tensors(codec.network)
    after = network_tensors(network)
    assert {name for name in after if name not in before} == {
        f"network.{name}.input_scale" for name in ranged
    }
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_the_papers_preset_has_nothing_to_calibrate(photographs: Path) -> None:
    codec = TrainableCodec(TodericiConfig(1, 4, (8, 8, 8), 4, (8, 8, 16, 16), 8))

    with pytest.raises(TrainingError, match="no 8-bit arithmetic"):
        calibrated(codec, photographs)


@torch.inference_mode()
def test_8_bits_show_nearly_the_same_picture(photographs: Path) -> None:
    codec = TrainableCodec(SMALL)
    codec.network.load_state_dict(random_network(SMALL).state_dict())
    codec.eval()
    image = astronaut()
    plain = list(residual_loop(codec.network, image, SMALL.iterations, sign_of_activations))
    codes = [iteration.codes for iteration in plain]
    network = prepared(calibrated(codec, photographs).network)

    for shown, iteration in zip(shown_by(network, codes), plain, strict=True):
        error = (shown - iteration.shown).square().mean()
        assert float(error) < 1e-3 * float(iteration.shown.square().mean())


def test_the_default_weights_lose_less_than_a_tenth_of_a_db_to_8_bits(
    photograph: Photograph,
) -> None:
    picture = photograph("astronaut").crop((60, 0, 60 + 256, 256))
    model = load_model_file(Path(find_weights("compact-mse")))
    exact = uncalibrated(model)
    assert isinstance(exact.config, CompactConfig) and not exact.config.int8

    for ours, theirs in zip(
        Codec(model).encode_iterations(picture),
        Codec(exact).encode_iterations(picture),
        strict=True,
    ):
        assert psnr(ours.picture, picture) > psnr(theirs.picture, picture) - 0.1
        assert len(ours.segment) < 1.01 * len(theirs.segment) + 16


def test_scales_must_be_there_and_positive(tiny_weights: Path) -> None:
    model = load_model_file(tiny_weights)
    with_switch = dataclasses.replace(
        model,
        config=config_from_dict({**config_to_dict(model.config), "int8": True}),
    )

    with pytest.raises(WeightsFormatError, match="input_scale"):
        Codec(with_switch)
    with pytest.raises(WeightsFormatError, match="int8"):
        config_from_dict({**config_to_dict(model.config), "int8": 1})
