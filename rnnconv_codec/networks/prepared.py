"""The compact network as it is run: weights multiplied together, much of it in 8 bits.

The function is that of `CompactNetwork`, up to rounding. What has no gradient need not be computed
as it is trained: scales become part of the weights beside them, one convolution after another
without anything between them becomes one, and the parts of which the decoder's state does not
depend run on bytes if the weights say how large their inputs become (`CompactConfig.int8`). The
decoder's state is a sum over all iterations: only codes, which are bytes without rounding, and
gates, which are near to switches, may be computed in 8 bits there (`CompactConfig.int8_decoder`).

Everything is prepared when it is first used: few parts run where few iterations are decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.networks.cell import Convolve
from rnnconv_codec.networks.code_convolution import CodeConvolution, code_bytes
from rnnconv_codec.networks.compact import CompactNetwork
from rnnconv_codec.networks.compression import compress
from rnnconv_codec.networks.config import POST_FILTER_STRIDE, CompactConfig
from rnnconv_codec.networks.int8 import (
    ByteConvolution,
    Levels,
    byte_convolution,
    has_input_scale,
    input_scale,
)
from rnnconv_codec.networks.pointwise import (
    PointwiseCell,
    Product,
    as_rows,
    on_rows,
    product,
    transposed,
)
from rnnconv_codec.networks.post_filter import ResidualBlock, detail, on_grid
from rnnconv_codec.networks.recurrent import RecurrentNetwork, State
from rnnconv_codec.networks.strips import Halos, kept
from rnnconv_codec.networks.transform import FINE_STRIDE

Make = Callable[[], Callable[..., Tensor]]
"""Makes what a part computes, from the trained weights."""


class PreparedCompactNetwork(RecurrentNetwork):
    """A `CompactNetwork` for inference.

    Args:
        network: whose parameters must not change any more; its fine decoder looks at a cell alone
            (`fine_decoder_kernel` 1).
    """

    def __init__(self, network: CompactNetwork) -> None:
        super().__init__()
        self.config: CompactConfig = network.config
        # In a tuple, so that it is no child: parts are counted and timed by the children.
        self._network = (network,)
        self.analysis = self._parts(_analysis)
        self.coarse_analysis = network.coarse_analysis
        self.coarse_encoder = _Part(partial(_coarse_encoder, network))
        self.fine_encoder = self._parts(_fine_encoder)
        self.coarse_binarizers = network.coarse_binarizers
        self.fine_binarizers = network.fine_binarizers
        self.coarse_decoder = self._parts(_coarse_decoder)
        self.coarse_synthesis = _Part(partial(_coarse_synthesis, network))
        self.fine_decoder = self._parts(_fine_decoder)
        self.synthesis = self._parts(_synthesis)
        self.loop_filter = self._parts(_loop_filter) if network.loop_filter is not None else None
        self.post_filter = self._parts(_post_filter) if network.post_filter is not None else None

    def _parts(self, make: Callable[[CompactNetwork, int], Callable[..., Tensor]]) -> nn.ModuleList:
        """A part for each iteration."""
        (network,) = self._network
        return nn.ModuleList(
            _Part(partial(make, network, iteration)) for iteration in range(self.config.iterations)
        )

    @property
    def halos(self) -> Halos:
        """See `RecurrentNetwork.halos`."""
        return self._network[0].halos

    def encode_iteration(
        self,
        residual: Tensor,
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> tuple[list[Tensor], State]:
        """See `RecurrentNetwork.encode_iteration`."""
        coarse_state, fine_state = state if state is not None else (None, None)
        coefficients = self.analysis[iteration](residual)
        low = self.config.coarse_inputs
        # Only the coarse analysis looks beyond its cells.
        keep = partial(kept, rows=rows, height=residual.shape[2])
        coarse = keep(self.coarse_analysis(coefficients[:, :low]))
        coarse_state = self.coarse_encoder(coarse, _map(keep, coarse_state))
        fine = keep(coefficients[:, low:])
        fine_state = self.fine_encoder[iteration](fine, _map(keep, fine_state))
        activations = [
            self.coarse_binarizers[iteration](coarse_state),
            self.fine_binarizers[iteration](fine_state),
        ]
        return activations, (coarse_state, fine_state)

    def decode_iteration(
        self,
        codes: list[Tensor],
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> State:
        """See `RecurrentNetwork.decode_iteration`."""
        coarse_state, fine_state = state if state is not None else (None, None)
        prepare = code_bytes if self.config.int8_decoder else Tensor.float
        coarse, fine = (prepare(grid) for grid in codes)
        coarse_state = self.coarse_decoder[iteration](coarse, coarse_state)
        low = functional.pixel_shuffle(self.coarse_synthesis(coarse_state), 2)
        # The fine grid's cell does not look beyond itself.
        keep = partial(kept, rows=rows, height=FINE_STRIDE * fine.shape[2])
        fine_state = self.fine_decoder[iteration](keep(low), keep(fine), _map(keep, fine_state))
        return (keep(coarse_state), fine_state)

    def rate_gains(self, iteration: int) -> list[Tensor | None]:
        """See `RecurrentNetwork.rate_gains`."""
        return self._network[0].rate_gains(iteration)

    def synthesise(self, state: State, iteration: int) -> Tensor:
        """See `RecurrentNetwork.synthesise`."""
        blocks: Tensor = self.synthesis[iteration](state[1])
        if self.loop_filter is not None:
            blocks = blocks.add_(self.loop_filter[iteration](state[1]))
        return functional.pixel_shuffle(blocks, FINE_STRIDE)

    def show(self, state: State, reconstruction: Tensor, iteration: int) -> Tensor:
        """See `RecurrentNetwork.show`."""
        if self.post_filter is None:
            return reconstruction
        correction: Tensor = self.post_filter[iteration](state[1], reconstruction)
        return correction.add_(reconstruction)


def prepared(network: RecurrentNetwork) -> RecurrentNetwork:
    """The network for inference; itself where there is nothing to prepare.

    The paper's preset is run as it is trained, and so are the compact networks of version 0.1.0,
    whose fine decoder looks at the cells around: with zeros beyond the border its steps cannot be
    joined.
    """
    if isinstance(network, CompactNetwork) and network.config.fine_decoder_kernel == 1:
        return PreparedCompactNetwork(network)
    return network


def _map(function: Convolve, state: Tensor | None) -> Tensor | None:
    return None if state is None else function(state)


class _Part(nn.Module):
    """A part of the network that is prepared when it first runs."""

    def __init__(self, make: Make) -> None:
        super().__init__()
        self._make = make

    @cached_property
    def _run(self) -> Callable[..., Tensor]:
        return self._make()

    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self._run(*inputs)


def _analysis(network: CompactNetwork, iteration: int) -> Convolve:
    """Residual → coefficients."""
    analysis = network.analysis
    gain = network.log_gain[iteration].detach().exp()
    if not has_input_scale(analysis):
        return _in_float32(analysis, analysis.weight.detach() * gain, None)
    largest = input_scale(analysis, iteration)
    residual = Levels.signed(largest.max().expand(len(largest)) / gain)
    return byte_convolution(analysis, residual, gain=gain)


def _coarse_encoder(network: CompactNetwork) -> Callable[..., Tensor]:
    """The coarse grid's cell of the encoder: coefficients and state → state."""
    cell = network.coarse_encoder
    step = PointwiseCell(cell)
    weight = cell.conv_ih.weight.detach()[:, :, 0, 0]
    of_input = product(weight, _bias(cell.conv_ih) + step.bias)

    def encode(coefficients: Tensor, state: Tensor | None) -> Tensor:
        rows = as_rows(coefficients)
        return step(lambda part: of_input(rows[part]), state, coefficients)

    return encode


def _coarse_decoder(network: CompactNetwork, iteration: int) -> Callable[..., Tensor]:
    """The coarse grid's cell: codes and state → state."""
    step = PointwiseCell(network.coarse_decoder)
    from_codes = _coarse_from_codes(network, iteration, step.bias)

    def decode(codes: Tensor, state: Tensor | None) -> Tensor:
        rows = as_rows(from_codes(codes))
        return step(lambda part: rows[part], state, codes)

    return decode


def _coarse_from_codes(network: CompactNetwork, iteration: int, bias: Tensor) -> Convolve:
    """What the input convolution of the coarse cell makes of codes, plus a bias."""
    cell = network.coarse_decoder
    dequantiser, offset = _dequantiser(
        network.coarse_dequantisers[iteration], network.code_scale[iteration]
    )
    weight, bias = cell.conv_ih.weight.detach(), _bias(cell.conv_ih) + bias
    weight = weight / network.coarse_state_scale.detach()[: weight.shape[1]].view(-1, 1, 1)
    if network.config.int8_decoder:
        return CodeConvolution(
            torch.einsum("ocyx,ci->oiyx", weight, dequantiser),
            bias + weight.sum((2, 3)) @ offset,
            _at_rest(network.coarse_binarizers[iteration]),
        )
    dequantise = _in_float32(
        network.coarse_dequantisers[iteration], dequantiser[:, :, None, None], offset
    )
    convolve = _in_float32(cell.conv_ih, weight, bias)
    return lambda codes: convolve(dequantise(codes))


def _fine_encoder(network: CompactNetwork, iteration: int) -> Callable[..., Tensor]:
    """The fine grid's cell of the encoder: coefficients and state → state."""
    cell = network.fine_encoder
    conv_ih, conv_hh, conv_u = (
        _in_bytes(convolution, iteration)
        for convolution in (cell.conv_ih, cell.conv_hh, cell.conv_u)
    )
    return lambda given, hidden: cell.step(conv_ih(given), hidden, conv_hh, conv_u)


def _coarse_synthesis(network: CompactNetwork) -> Convolve:
    """State of the coarse grid → the lowest coefficients of the fine grid."""
    synthesis = network.coarse_synthesis
    weight = synthesis.weight.detach() * network.coarse_state_scale.detach().view(1, -1, 1, 1)
    return _in_float32(synthesis, weight, _bias(synthesis))


def _fine_decoder(network: CompactNetwork, iteration: int) -> Callable[..., Tensor]:
    """The fine grid's cell: lowest coefficients, codes and the state → the state.

    There are only linear steps from codes to gates: one product here.
    """
    cell = network.fine_decoder
    step = PointwiseCell(cell, _fine_gates(network, iteration))
    inputs = cell.conv_ih.weight.detach()[:, :, 0, 0]
    inputs = inputs / network.fine_state_scale.detach()[: inputs.shape[1]]
    of_low, of_high = inputs.split(
        [network.config.coarse_inputs, network.config.fine_coefficients], 1
    )
    dequantiser, offset = _dequantiser(
        network.fine_dequantisers[iteration], network.code_scale[iteration]
    )
    of_low, of_codes = transposed(of_low), of_high @ dequantiser
    bias = _bias(cell.conv_ih) + step.bias + of_high @ offset
    if network.config.int8_decoder:
        at_rest = _at_rest(network.fine_binarizers[iteration])
        from_codes = on_rows(CodeConvolution(of_codes[:, :, None, None], bias, at_rest))
    else:
        from_codes = product(of_codes, bias)

    def decode(low: Tensor, codes: Tensor, state: Tensor | None) -> Tensor:
        low_rows, code_rows = as_rows(low), as_rows(codes)

        def from_input(part: slice) -> Tensor:
            return from_codes(code_rows[part]).addmm_(low_rows[part], of_low)

        return step(from_input, state, codes)

    return decode


def _fine_gates(network: CompactNetwork, iteration: int) -> Product | None:
    """What the fine grid's gates make of the state, in 8 bits; None for float32.

    Small errors of a gate do no harm, as the candidate is near the state. Those of the candidate
    itself would.
    """
    if not (network.config.int8_decoder and network.config.int8 and iteration):
        return None
    before = input_scale(network.synthesis, iteration - 1) / network.fine_state_scale.detach()
    convolve = ByteConvolution(
        network.fine_decoder.conv_hh.weight.detach(), None, Levels.signed(before)
    )
    return on_rows(convolve)


def _at_rest(binarizer: nn.Module) -> Tensor:
    """The codes (C,) of an encoder that has nothing to tell."""
    assert isinstance(binarizer, nn.Conv2d)
    return _bias(binarizer).sign()


def _synthesis(network: CompactNetwork, iteration: int) -> Convolve:
    """State of the fine grid → blocks of pixels.

    The coefficients are in the order of their variances, and so of the harm that steps of an
    eighth bit would do: those of the first half, ten times as large, stay in float32.
    """
    synthesis, scale = network.synthesis, network.fine_state_scale.detach()
    weight, bias = synthesis.weight.detach(), _bias(synthesis)
    if not has_input_scale(synthesis):
        return _in_float32(synthesis, weight * scale.view(1, -1, 1, 1), bias)
    half = len(scale) // 2
    large = _in_float32(synthesis, weight[:, :half] * scale[:half].view(1, -1, 1, 1), bias)
    levels = Levels.signed(input_scale(synthesis, iteration)[half:])
    small = byte_convolution(
        synthesis, levels, inputs=slice(half, None), bias=torch.zeros_like(bias)
    )
    in_bytes = levels.scaled(1 / scale[half:])

    def synthesise(state: Tensor) -> Tensor:
        first = state[:, :half].contiguous(memory_format=torch.channels_last)
        return large(first).add_(small(in_bytes.of(state[:, half:])))

    return synthesise


def _loop_filter(network: CompactNetwork, iteration: int) -> Convolve:
    """`LoopFilter`: state of the fine grid → correction."""
    loop_filter, unit = network.loop_filter, network.code_scale[iteration].detach()
    assert loop_filter is not None
    if not has_input_scale(loop_filter.features):
        scale = _per_channel(network.fine_state_scale)
        return lambda state: loop_filter(state * scale, unit, iteration)
    features, correction = _with_relu(
        loop_filter.features,
        loop_filter.correction,
        iteration,
        bias=loop_filter.bias[iteration].detach(),
        gain=unit * loop_filter.gain[iteration].detach(),
    )
    levels = _levels(loop_filter.features, iteration)
    in_units = _compressed(network.fine_state_scale.detach() / unit)
    return lambda state: correction(features(levels.of(state, in_units)))


def _post_filter(network: CompactNetwork, iteration: int) -> Callable[..., Tensor]:
    """`PostFilter`: state of the fine grid and reconstruction → correction."""
    post_filter, unit = network.post_filter, network.code_scale[iteration].detach()
    assert post_filter is not None
    if not has_input_scale(post_filter.features):
        scale = _per_channel(network.fine_state_scale)
        return lambda state, picture: post_filter(state * scale, picture, unit, iteration)
    features, spread = _with_relu(
        post_filter.features,
        post_filter.spread,
        iteration,
        bias=post_filter.feature_bias[iteration].detach(),
    )
    of_state = _levels(post_filter.features, iteration)
    of_pixels = _levels(post_filter.pixels, iteration)
    bias = post_filter.bias[iteration].detach()
    pixels = byte_convolution(post_filter.pixels, of_pixels, bias=bias)
    blocks = [_residual_block(block, iteration) for block in post_filter.residual_blocks()]
    gain = unit * post_filter.gain[iteration].detach()
    correction = byte_convolution(
        post_filter.correction, _levels(post_filter.correction, iteration), gain=gain
    )
    in_units = _compressed(network.fine_state_scale.detach() / unit)
    detail_in_units = _compressed(1 / unit)

    def run(state: Tensor, picture: Tensor) -> Tensor:
        grid = pixels(of_pixels.of(detail(picture), detail_in_units))
        from_state = spread(features(of_state.of(state, in_units)))
        grid = grid.add_(on_grid(from_state)).relu_()
        for block in blocks:
            grid = grid.add_(block(grid))
        return functional.pixel_shuffle(correction(grid), POST_FILTER_STRIDE)

    return run


def _residual_block(block: ResidualBlock, iteration: int) -> Convolve:
    """What a block adds."""
    first, second = _with_relu(block.first, block.second, iteration)
    return lambda grid: second(first(grid))


def _with_relu(
    first: nn.Conv2d,
    second: nn.Conv2d,
    iteration: int,
    *,
    bias: Tensor | None = None,
    gain: Tensor | None = None,
) -> tuple[ByteConvolution, ByteConvolution]:
    """Two convolutions in 8 bits with a ReLU between them.

    Args:
        first: with its own bias if none is given.
        second: what takes the first one's results, and nothing else does.
        iteration: 0-based.
        bias: of the first.
        gain: of the second.
    """
    between = Levels.positive(input_scale(second, iteration))
    return (
        byte_convolution(first, _levels(first, iteration), bias=bias, output=between),
        byte_convolution(second, between, gain=gain),
    )


def _dequantiser(convolution: nn.Module, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (O, I) and bias in units of the iteration's quantisation."""
    assert isinstance(convolution, nn.Conv2d)
    weight = convolution.weight.detach()[:, :, 0, 0]
    return weight * unit.detach(), _bias(convolution) * unit.detach()


def _compressed(factor: Tensor) -> Convolve:
    """Cells (n, C) in units of the quantisation, as the filters see them."""
    return lambda cells: compress(cells * factor)


def _per_channel(values: Tensor) -> Tensor:
    return values.detach().view(1, -1, 1, 1)


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias.detach()


def _levels(convolution: nn.Conv2d, iteration: int) -> Levels:
    return Levels.signed(input_scale(convolution, iteration))


def _in_bytes(convolution: nn.Conv2d, iteration: int) -> Convolve:
    """The convolution in 8 bits, if the weights have its scales."""
    if not has_input_scale(convolution):
        return convolution
    return byte_convolution(convolution, _levels(convolution, iteration))


def _in_float32(like: nn.Module, weight: Tensor, bias: Tensor | None) -> Convolve:
    """A convolution with the stride and padding of another."""
    assert isinstance(like, nn.Conv2d)
    laid_out = weight.contiguous(memory_format=torch.channels_last)
    return lambda given: functional.conv2d(given, laid_out, bias, like.stride, like.padding)
