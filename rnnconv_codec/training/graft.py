"""Stage 1: the linear transforms put into the ConvGRU network, so that it codes at step 0.

Codes come in pairs (coefficient > f·θ_t, coefficient < -f·θ_t), with several levels f for the
same coefficient where that pays (thermometer codes). Encoder cells pass their input through,
decoder cells accumulate. See DESIGN, section 2, stage 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnconv_codec.entropy.context_model import GridContextModel
from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.cell import ConvGRUCell
from rnnconv_codec.networks.compact import CompactNetwork
from rnnconv_codec.networks.config import CompactConfig
from rnnconv_codec.networks.transform import LinearTransform
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.model import TrainableCodec, thresholds

LEVELS = (1.0, 2.2, 4.8, 10.0)
"""Thresholds of one coefficient in an iteration, in units of θ_t."""

CALIBRATION_BATCHES = 50
"""Batches of crops on which the coder is simulated."""

RESIDUAL_GAIN = 0.3
"""g_t = RESIDUAL_GAIN / θ_t: a coefficient at its threshold enters the encoder's tanh at 0.3."""

BINARIZER_GAIN = 4.0
"""Slope of the binarizer's tanh at a threshold; decides where its gradient flows."""

HEADROOM = 10.0
"""ρ = HEADROOM · max|coefficient|: keeps decoder states where tanh is linear."""

MIN_LARGEST = 0.5
"""Coefficients that were small on all samples may be larger on other images."""

RELATIVE_NOISE = 5e-4
"""Share of the random initialisation that is kept, so that no weight is stuck at zero."""

ENCODER_UPDATE_BIAS = 4.0
DECODER_RESET_BIAS = 7.0
COPY_UPDATE_BIAS = 8.0
"""Gate biases: encoder z ≈ 1, decoder r ≈ 1, z ≈ 1 where a state copies its input."""

UNSEEN_AMPLITUDE = 1.35
"""Amplitude in units of θ_t for a level that was hardly ever hit."""

MIN_HITS = 20
MIN_PROBABILITY = 2e-4


@dataclass(frozen=True)
class LevelCode:
    """A pair of codes: one coefficient against ± one threshold.

    Attributes:
        coefficient: channel of the analysis.
        level: threshold in units of θ_t.
        amplitude: what a set code adds to the coefficient.
        log_odds: of the positive and the negative code being set.
    """

    coefficient: int
    level: float
    amplitude: float
    log_odds: tuple[float, float]


def choose_codes(
    coefficients: NDArray[np.float32], thetas: list[float], pairs: int
) -> list[list[LevelCode]]:
    """Simulate the coder and choose per iteration the pairs that remove most squared error.

    Args:
        coefficients: (samples, channels); left with the residual after the last iteration.
        thetas: thresholds θ_t.
        pairs: code pairs per iteration.
    """
    return [_choose_iteration(coefficients, theta, pairs) for theta in thetas]


def _choose_iteration(residual: NDArray[np.float32], theta: float, pairs: int) -> list[LevelCode]:
    channels = residual.shape[1]
    magnitude = np.abs(residual)
    covered = np.zeros_like(residual)
    gains = np.zeros((len(LEVELS), channels))
    for index, level in enumerate(LEVELS):
        hit = magnitude > theta * level
        hits = hit.sum(0)
        missing = magnitude - covered
        unseen = 0.0 if index else theta * UNSEEN_AMPLITUDE
        mean = np.where(
            hits > MIN_HITS, (missing * hit).sum(0) / np.maximum(hits, 1), unseen
        ).astype(np.float32)
        gains[index] = (hit * (2 * missing * mean - mean * mean)).mean(0)
        covered += hit * mean
    best = np.sort(np.argsort(-gains.reshape(-1), kind="stable")[:pairs])
    covered[:] = 0
    sign = np.sign(residual)
    chosen: list[LevelCode] = []
    for flat in best:
        level, k = LEVELS[int(flat) // channels], int(flat) % channels
        hit = magnitude[:, k] > theta * level
        amplitude = theta * UNSEEN_AMPLITUDE
        if hit.sum() > MIN_HITS:
            amplitude = float((magnitude[hit, k] - covered[hit, k]).mean())
        covered[hit, k] += amplitude
        odds = []
        for direction in (1, -1):
            p = float((hit & (sign[:, k] == direction)).mean())
            p = min(max(p, MIN_PROBABILITY), 1 - MIN_PROBABILITY)
            odds.append(math.log(p / (1 - p)))
        chosen.append(LevelCode(k, level, amplitude, (odds[0], odds[1])))
    residual -= sign * covered
    return chosen


def pair_channels(pairs: int, groups: int) -> list[tuple[int, int]]:
    """Code channels of the positive and negative code of each pair.

    The context model codes channel groups in turn: the pairs are split into half as many blocks
    as there are groups, positive codes of a block before its negative ones, so that a negative
    code is coded knowing its positive twin, and high levels knowing low ones.
    """
    if groups % 2 or pairs % (groups // 2):
        return [(2 * pair, 2 * pair + 1) for pair in range(pairs)]
    block = pairs // (groups // 2)
    return [
        (
            2 * (pair // block) * block + pair % block,
            (2 * (pair // block) + 1) * block + pair % block,
        )
        for pair in range(pairs)
    ]


def graft(codec: TrainableCodec, transform: LinearTransform, sampler: CropSampler) -> None:
    """Initialise a compact codec to the linear coder, in place.

    Raises:
        TrainingError: the codec is not of preset `compact`.
    """
    network = codec.network
    if not isinstance(network, CompactNetwork):
        raise TrainingError(f"preset {codec.config.preset} has no stage graft")
    with torch.no_grad():
        _graft(codec, network, transform, sampler)


def _graft(
    codec: TrainableCodec,
    network: CompactNetwork,
    transform: LinearTransform,
    sampler: CropSampler,
) -> None:
    config: CompactConfig = network.config
    low = config.coarse_inputs
    thetas = thresholds(config.iterations)
    network.analysis.weight.copy_(transform.analysis.weight)
    network.coarse_analysis.weight.copy_(transform.coarse_analysis.weight)
    network.log_gain.copy_(torch.tensor([math.log(RESIDUAL_GAIN / t) for t in thetas]))
    network.code_scale.copy_(torch.tensor(thetas))

    coarse_samples: list[Tensor] = []
    fine_samples: list[Tensor] = []
    largest_low = torch.zeros(low)
    for batch in range(CALIBRATION_BATCHES):
        fine = transform.analysis(sampler.batch(batch))
        coarse = transform.coarse_analysis(fine[:, :low])
        # The outermost cells see the padding: leave them out.
        coarse_samples.append(_samples(coarse[:, :, 1:-1, 1:-1]))
        fine_samples.append(_samples(fine[:, low:, 2:-2, 2:-2]))
        largest_low = torch.maximum(largest_low, fine[:, :low].abs().amax((0, 2, 3)))
    coarse_rows, fine_rows = torch.cat(coarse_samples), torch.cat(fine_samples)
    _set_scale(network.coarse_state_scale, coarse_rows.abs().amax(0))
    _set_scale(network.fine_state_scale, torch.cat([largest_low, fine_rows.abs().amax(0)]))

    for encoder in (network.coarse_encoder, network.fine_encoder):
        _pass_through(encoder)
    _accumulate(network.coarse_decoder, 0, config.coarse_coefficients)
    _accumulate(network.fine_decoder, low, config.analysis_channels)

    grids = codec.context.grids
    for rows, binarizers, dequantisers, context in (
        (coarse_rows, network.coarse_binarizers, network.coarse_dequantisers, grids[0]),
        (fine_rows, network.fine_binarizers, network.fine_dequantisers, grids[1]),
    ):
        assert isinstance(context, GridContextModel)
        _set_codes(codec, rows, thetas, binarizers, dequantisers, context)

    _near_zero(network.coarse_synthesis)
    coefficients = config.coarse_coefficients
    network.coarse_synthesis.weight[:, :coefficients] += transform.coarse_synthesis.weight
    _near_zero(network.synthesis)
    network.synthesis.weight[:, : config.analysis_channels] += transform.synthesis.weight


def _samples(coefficients: Tensor) -> Tensor:
    return coefficients.permute(0, 2, 3, 1).reshape(-1, coefficients.shape[1])


def _set_scale(scale: Tensor, largest: Tensor) -> None:
    """ρ of the channels that hold a coefficient; the free ones get the median."""
    rho = largest.clamp(min=MIN_LARGEST) * HEADROOM
    scale[: len(rho)] = rho
    scale[len(rho) :] = rho.median()


def _near_zero(layer: nn.Conv2d) -> None:
    layer.weight.mul_(RELATIVE_NOISE)
    if layer.bias is not None:
        layer.bias.zero_()


def _pass_through(cell: ConvGRUCell) -> None:
    """Encoder cell: h' ≈ tanh(input)."""
    hidden = cell.hidden_channels
    for layer in (cell.conv_ih, cell.conv_hh, cell.conv_u):
        _near_zero(layer)
    assert cell.conv_ih.bias is not None
    cell.conv_ih.bias[hidden : 2 * hidden] += ENCODER_UPDATE_BIAS
    cell.conv_ih.weight[2 * hidden :, :, 0, 0] += torch.eye(hidden)


def _accumulate(cell: ConvGRUCell, copied: int, coefficients: int) -> None:
    """Decoder cell: channels below `copied` take their input, the others add half of it.

    With z = 0.5, r ≈ 1 and conv_u = identity, h' = (h + tanh(x + h)) / 2 ≈ h + x / 2.
    """
    hidden = cell.hidden_channels
    for layer in (cell.conv_ih, cell.conv_hh, cell.conv_u):
        _near_zero(layer)
    assert cell.conv_hh.bias is not None
    cell.conv_hh.bias[:hidden] += DECODER_RESET_BIAS
    cell.conv_hh.bias[hidden : hidden + copied] += COPY_UPDATE_BIAS
    centre = cell.conv_ih.kernel_size[0] // 2
    for channel in range(coefficients):
        cell.conv_ih.weight[2 * hidden + channel, channel, centre, centre] += 1
        if channel >= copied:
            cell.conv_u.weight[channel, channel] += 1


def _set_codes(
    codec: TrainableCodec,
    rows: Tensor,
    thetas: list[float],
    binarizers: nn.ModuleList,
    dequantisers: nn.ModuleList,
    context: GridContextModel,
) -> None:
    """Binarizers, dequantisers and the context model's biases of one grid."""
    channels = context.accumulate.shape[1]
    chosen = choose_codes(rows.numpy().copy(), thetas, channels // 2)
    positions = pair_channels(channels // 2, codec.config.context.groups)
    for iteration, codes in enumerate(chosen):
        binarizer, dequantiser = binarizers[iteration], dequantisers[iteration]
        head = context.heads[iteration]
        assert isinstance(binarizer, nn.Conv2d) and binarizer.bias is not None
        assert isinstance(dequantiser, nn.Conv2d)
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        binarizer.weight.mul_(RELATIVE_NOISE)
        _near_zero(dequantiser)
        for code, pair in zip(codes, positions, strict=True):
            k = code.coefficient
            # A set code of a pair is +1 and a clear one -1: the pair's difference is 2 or 0, and
            # the accumulator halves its input.
            step = code.amplitude / thetas[iteration]
            for position, direction, odds in zip(pair, (1.0, -1.0), code.log_odds, strict=True):
                binarizer.weight[position, k] += BINARIZER_GAIN * direction
                binarizer.bias[position] = -BINARIZER_GAIN * math.tanh(RESIDUAL_GAIN * code.level)
                dequantiser.weight[k, position] += step * direction
                head.bias[position] = odds
