"""The trainable codec: network and context model, and its rate–distortion objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.entropy.context_model import ContextModel
from rnnconv_codec.networks.binarizer import Binarize, binarize
from rnnconv_codec.networks.config import NetworkConfig, TodericiConfig
from rnnconv_codec.networks.recurrent import State, build_network, residual_loop

FIRST_THRESHOLD = 2.5
LAST_THRESHOLD = 0.06
"""Thresholds θ_t of the compact network's iterations, in coefficient units (DESIGN, stage 1)."""

RATE_WEIGHT = 0.154
"""λ_t = RATE_WEIGHT · θ_t² (DESIGN, section 2, objective)."""


MS_SSIM_SCALE = 0.07
"""1 - MS-SSIM times this is about the MSE on the [-1, 1] scale, at every iteration but the first.

Measured with the first weights on Kodak (docs/RESULTS.md of version 0.1.0): 0.068 to 0.08 from
the second iteration on, 0.16 at the first.
"""


def thresholds(iterations: int) -> list[float]:
    """θ_t, falling geometrically over the iterations."""
    if iterations == 1:
        return [FIRST_THRESHOLD]
    ratio = LAST_THRESHOLD / FIRST_THRESHOLD
    return [FIRST_THRESHOLD * ratio ** (i / (iterations - 1)) for i in range(iterations)]


class TrainableCodec(nn.Module):
    """Network and context model of one configuration."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.network = build_network(config)
        self.context = ContextModel(config.grids, config.iterations, config.context)


@dataclass(frozen=True)
class Coded:
    """A batch coded at every iteration.

    Attributes:
        reconstructions: per iteration (N, 3, H, W).
        rates: (T, N) bits per pixel up to and including each iteration.
        states: of the decoder, after each iteration.
    """

    reconstructions: list[Tensor]
    rates: Tensor
    states: list[State]


def code_batch(
    codec: TrainableCodec,
    image: Tensor,
    *,
    binarizer: Binarize = binarize,
    network_gradient: bool = True,
    iterations: int | None = None,
) -> Coded:
    """Run the residual loop and measure what its codes cost.

    Args:
        codec: network and context model.
        image: (N, 3, H, W) in [-1, 1], sides multiples of 16.
        binarizer: how activations become codes.
        network_gradient: whether the network is trained, or only the context model.
        iterations: how many; all by default.
    """
    count = codec.config.iterations if iterations is None else iterations
    states: list[Tensor | None] = [None] * len(codec.config.grids)
    pixels = image.shape[2] * image.shape[3]
    rates: list[Tensor] = []
    gradient = torch.is_grad_enabled()

    def quantise(iteration: int, activations: list[Tensor]) -> list[Tensor]:
        nonlocal states
        gains = codec.network.rate_gains(iteration)

        def decide(grid: int, channels: slice, logits: Tensor) -> Tensor:
            activation, gain = activations[grid][:, channels], gains[grid]
            if gain is not None:
                # The logits are a fact to the encoder: their gradient is the likelihood's alone.
                activation = activation + gain[:, channels] * logits.detach()
            code = binarizer(activation)
            return code if network_gradient else code.detach()

        sizes = [(a.shape[0], a.shape[2], a.shape[3]) for a in activations]
        codes: list[Tensor]
        with torch.set_grad_enabled(gradient):
            codes, bits, states = codec.context(states, iteration, sizes, decide)
            rates.append(bits / pixels)
        return codes

    with torch.set_grad_enabled(gradient and network_gradient):
        done = list(residual_loop(codec.network, image, count, quantise))
        reconstructions = [iteration.reconstruction for iteration in done]
    decoder_states = [iteration.state for iteration in done]
    return Coded(reconstructions, torch.stack(rates).cumsum(0), decoder_states)


def rate_weights(config: NetworkConfig) -> list[float]:
    """λ_t of each iteration: the slope of the rate–distortion curve it is trained for."""
    return [RATE_WEIGHT * theta**2 for theta in thresholds(config.iterations)]


def distortions(
    config: NetworkConfig, image: Tensor, coded: Coded, ms_ssim_weight: float = 0.0
) -> list[Tensor]:
    """Distortion per iteration: (1 - w) · MSE + w · `MS_SSIM_SCALE` · (1 - MS-SSIM).

    For the paper's preset it is its L1 loss instead.

    Args:
        config: of the network.
        image: (N, 3, H, W) in [-1, 1].
        coded: what became of it.
        ms_ssim_weight: w; with more than 0, H and W must be above 160 (five scales).
    """
    if isinstance(config, TodericiConfig):
        return [functional.l1_loss(r, image) for r in coded.reconstructions]
    losses = [functional.mse_loss(r, image) for r in coded.reconstructions]
    if not ms_ssim_weight:
        return losses
    from pytorch_msssim import ms_ssim

    reference = (image + 1) / 2
    return [
        (1 - ms_ssim_weight) * loss
        + ms_ssim_weight * MS_SSIM_SCALE * (1 - ms_ssim((r + 1) / 2, reference, data_range=1.0))
        for loss, r in zip(losses, coded.reconstructions, strict=True)
    ]


def costs(
    config: NetworkConfig, image: Tensor, coded: Coded, ms_ssim_weight: float = 0.0
) -> list[Tensor]:
    """J_t = D_t + λ_t R_{≤t} of each iteration; for the weight see `distortions`."""
    rates = coded.rates.mean(1)
    return [
        distortion + weight * rate
        for distortion, weight, rate in zip(
            distortions(config, image, coded, ms_ssim_weight),
            rate_weights(config),
            rates,
            strict=False,
        )
    ]
