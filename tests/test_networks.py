"""The networks, the binarizer and the residual loop."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import Tensor

from rnnconv_codec.errors import WeightsFormatError
from rnnconv_codec.networks.binarizer import (
    Binarize,
    binarize,
    binarize_stochastically,
    sharp_binarizer,
)
from rnnconv_codec.networks.cell import ConvGRUCell
from rnnconv_codec.networks.compact import CompactNetwork
from rnnconv_codec.networks.config import (
    CompactConfig,
    NetworkConfig,
    TodericiConfig,
    config_from_dict,
    config_to_dict,
)
from rnnconv_codec.networks.recurrent import (
    RecurrentNetwork,
    State,
    build_network,
    residual_loop,
)
from rnnconv_codec.networks.strips import Halos
from rnnconv_codec.networks.toderici import TodericiNetwork

SMALL_TODERICI = TodericiConfig(
    iterations=3,
    stem_channels=4,
    encoder_channels=(8, 8, 8),
    decoder_channels=(8, 8, 16, 16),
    decoder_input_channels=8,
)
SMALL_COMPACT = CompactConfig(
    iterations=2,
    analysis_channels=12,
    coarse_inputs=4,
    coarse_codes=8,
    fine_codes=8,
    coarse_decoder_channels=20,
    fine_decoder_channels=16,
)


@pytest.mark.parametrize("config", [SMALL_COMPACT, SMALL_TODERICI])
def test_codes_have_the_grids_that_the_configuration_names(config: NetworkConfig) -> None:
    image = torch.rand(2, 3, 48, 32)

    steps = list(residual_loop(build_network(config), image, config.iterations))

    assert len(steps) == config.iterations
    for step in steps:
        assert step.reconstruction.shape == image.shape
        assert [tuple(c.shape) for c in step.codes] == [
            (2, grid.channels, 48 // grid.stride, 32 // grid.stride) for grid in config.grids
        ]
        assert all(set(c.unique().tolist()) <= {-1.0, 1.0} for c in step.codes)


def test_toderici_has_the_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        network = build_network(TodericiConfig())

    assert isinstance(network, TodericiNetwork)
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters() if "bias" not in name}
    assert shapes["stem.weight"] == (64, 3, 3, 3)
    assert shapes["encoder.0.conv_ih.weight"] == (3 * 256, 64, 3, 3)
    assert shapes["encoder.2.conv_hh.weight"] == (2 * 512, 512, 1, 1)
    assert shapes["binarizer.weight"] == (32, 512, 1, 1)
    assert shapes["decoder_input.weight"] == (512, 32, 1, 1)
    assert [shapes[f"decoder.{i}.conv_ih.weight"][:2] for i in range(4)] == [
        (3 * 512, 512),
        (3 * 512, 128),
        (3 * 256, 128),
        (3 * 128, 64),
    ]
    assert [shapes[f"decoder.{i}.conv_hh.weight"][2] for i in range(4)] == [1, 1, 3, 3]
    assert shapes["output.weight"] == (3, 32, 1, 1)
    # 32 codes per 16x16 pixels: 1/8 bit per pixel and iteration.
    grid = network.config.grids[0]
    assert grid.channels / grid.stride**2 == 1 / 8


class Recorder(RecurrentNetwork):
    """Notes the residuals that it is given, and always answers with the same picture."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.residuals: list[Tensor] = []

    @property
    def halos(self) -> Halos:
        return Halos(0, 0, 0)

    def encode_iteration(
        self,
        residual: Tensor,
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> tuple[list[Tensor], State]:
        self.residuals.append(residual)
        return [residual.mean((1, 2, 3), keepdim=True)], (residual,)

    def decode_iteration(
        self,
        codes: list[Tensor],
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> State:
        return (self.answer * (iteration + 1),)

    def synthesise(self, state: State, iteration: int) -> Tensor:
        return state[0]


def test_the_residual_is_the_image_minus_the_whole_last_reconstruction() -> None:
    image = torch.full((1, 3, 16, 16), 0.5)
    network = Recorder(torch.full_like(image, 0.2))

    list(residual_loop(network, image, 3))

    # One-shot: x - x̂ of the last iteration, neither its negative nor a running difference.
    means = [float(residual.mean()) for residual in network.residuals]
    assert means == pytest.approx([0.5, 0.3, 0.1])


def test_the_binarizer_is_the_sign_with_zero_positive() -> None:
    activations = torch.tensor([-0.7, -0.0, 0.0, 1e-9, 0.3])

    assert binarize(activations).tolist() == [-1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("binarizer", [binarize, binarize_stochastically])
def test_the_gradient_of_a_binarizer_is_that_of_the_tanh(binarizer: Binarize) -> None:
    activations = torch.tensor([-0.7, 0.2], requires_grad=True)
    expected = torch.tensor([3.0, -2.0]) / torch.cosh(activations.detach()) ** 2

    (binarizer(activations) * torch.tensor([3.0, -2.0])).sum().backward()

    assert activations.grad is not None
    assert torch.allclose(activations.grad, expected)


def test_a_sharp_binarizer_has_the_gradient_of_a_steeper_tanh_and_the_same_codes() -> None:
    before = torch.linspace(-1.5, 1.5, 31, requires_grad=True)

    codes = sharp_binarizer(4.0)(before)
    codes.sum().backward()

    assert torch.equal(codes, binarize(before))
    assert before.grad is not None
    expected = 4 / torch.cosh(4 * before.detach()) ** 2
    assert torch.allclose(before.grad, expected, atol=1e-4)


def test_stochastic_codes_have_the_tanh_of_the_activation_as_their_mean() -> None:
    torch.manual_seed(0)

    codes = binarize_stochastically(torch.full((200_000,), 0.3))

    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert float(codes.mean()) == pytest.approx(math.tanh(0.3), abs=0.01)


def test_every_weight_of_a_network_receives_a_gradient() -> None:
    torch.manual_seed(0)
    for config in (SMALL_COMPACT, SMALL_TODERICI):
        network = build_network(config)
        image = torch.rand(1, 3, 32, 32) - 0.5
        steps = list(residual_loop(network, image, config.iterations))
        torch.stack([(s.reconstruction - image).square().mean() for s in steps]).sum().backward()
        # The rate gains need logits, which the residual loop alone does not have.
        without = [
            name
            for name, p in network.named_parameters()
            if p.requires_grad and p.grad is None and not name.endswith("rate_gain")
        ]
        assert without == []


@pytest.mark.parametrize("config", [CompactConfig(), TodericiConfig(), SMALL_COMPACT])
def test_a_configuration_survives_json(config: NetworkConfig) -> None:
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"preset": "jpeg"},
        {"iterations": 0},
        {"iterations": 1000},
        {"analysis_channels": -1},
        {"analysis_channels": 10**9},
        {"analysis_channels": "128"},
        {"fine_codes": 95},
        {"context": {"hidden_channels": 96, "groups": 5}},
        {"context": 3},
        {"coarse_decoder_channels": 95},
        {"fine_decoder_channels": 127},
        {"coarse_inputs": 128},
        {"fine_decoder_kernel": 2},
        {"loop_filter_channels": -1},
        {"post_filter_channels": -1},
        {"post_filter_blocks": 1.5},
        {"rate_aware": 1},
        {"unheard_of": 1},
    ],
)
def test_an_impossible_configuration_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(WeightsFormatError):
        config_from_dict({**config_to_dict(CompactConfig()), **change})


def test_a_configuration_from_before_the_loop_filter_means_the_network_of_then() -> None:
    saved = config_to_dict(CompactConfig())
    for field in ("fine_decoder_kernel", "loop_filter_channels", "rate_aware"):
        del saved[field]

    network = build_network(config_from_dict(saved))

    assert isinstance(network, CompactNetwork)
    assert network.fine_decoder.conv_ih.kernel_size == (3, 3)
    assert network.loop_filter is None
    assert network.rate_gains(0) == [None, None]


def test_a_new_loop_filter_changes_no_picture_and_a_trained_one_does() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL_COMPACT)
    assert isinstance(network, CompactNetwork) and network.loop_filter is not None
    image = torch.rand(1, 3, 32, 32) - 0.5
    before = [step.reconstruction for step in residual_loop(network, image, 2)]

    filtered, network.loop_filter = network.loop_filter, None
    without = [step.reconstruction for step in residual_loop(network, image, 2)]
    network.loop_filter = filtered
    torch.nn.init.normal_(filtered.correction.weight, std=0.1)
    after = [step.reconstruction for step in residual_loop(network, image, 2)]

    assert all(torch.equal(a, b) for a, b in zip(before, without, strict=True))
    assert not torch.allclose(before[-1], after[-1])


def with_post_filter() -> CompactNetwork:
    """With a filter that corrects something."""
    torch.manual_seed(0)
    network = CompactNetwork(
        dataclasses.replace(SMALL_COMPACT, post_filter_channels=8, post_filter_blocks=1)
    )
    assert network.post_filter is not None
    torch.nn.init.normal_(network.post_filter.correction.weight, std=0.1)
    return network


def test_a_post_filter_changes_what_is_shown_and_nothing_that_is_coded() -> None:
    network = with_post_filter()
    image = torch.rand(1, 3, 32, 48) - 0.5

    filtered = list(residual_loop(network, image, 2))
    shown = [step.shown for step in filtered]
    network.post_filter = None
    without = list(residual_loop(network, image, 2))

    for a, b, picture in zip(filtered, without, shown, strict=True):
        assert all(torch.equal(c, d) for c, d in zip(a.codes, b.codes, strict=True))
        assert torch.equal(a.reconstruction, b.reconstruction)
        assert torch.equal(b.shown, b.reconstruction)
        assert picture.shape == image.shape
        assert not torch.allclose(picture, a.reconstruction)


def test_a_new_post_filter_changes_nothing() -> None:
    network = with_post_filter()
    assert network.post_filter is not None
    torch.nn.init.zeros_(network.post_filter.correction.weight)
    image = torch.rand(1, 3, 32, 32) - 0.5

    for step in residual_loop(network, image, 2):
        assert torch.equal(step.shown, step.reconstruction)


def test_a_post_filter_corrects_alike_however_bright_a_picture_is() -> None:
    network = with_post_filter()
    assert network.post_filter is not None
    coefficients = torch.rand(1, SMALL_COMPACT.fine_decoder_channels, 4, 4)
    picture = torch.rand(1, 3, 32, 32)

    dark, bright = (
        network.post_filter(coefficients, picture + level, torch.tensor(0.5), 0)
        for level in (-0.5, 0.5)
    )

    assert torch.allclose(dark, bright, atol=1e-5)


def test_compact_has_one_gru_per_grid_and_side() -> None:
    network = CompactNetwork(CompactConfig())

    cells = {name for name, module in network.named_modules() if isinstance(module, ConvGRUCell)}

    assert cells == {"coarse_encoder", "fine_encoder", "coarse_decoder", "fine_decoder"}
