"""The `compact` preset: two code grids, lapped analysis, one ConvGRU per grid and side."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.networks.cell import ConvGRUCell
from rnnconv_codec.networks.config import SYNTHESIS_CHANNELS, CompactConfig
from rnnconv_codec.networks.int8 import add_input_scale
from rnnconv_codec.networks.levels import RANGED_PARTS
from rnnconv_codec.networks.loop_filter import LoopFilter
from rnnconv_codec.networks.post_filter import PostFilter
from rnnconv_codec.networks.recurrent import RecurrentNetwork, State
from rnnconv_codec.networks.strips import Halos, kept, reach
from rnnconv_codec.networks.transform import FINE_STRIDE, coarse_analysis, fine_analysis

COARSE_STRIDE = 2 * FINE_STRIDE
"""Pixels per cell of the coarse grid."""


class CompactNetwork(RecurrentNetwork):
    """DESIGN, section 2.

    Encoder: residual, times a gain per iteration → `analysis` (1/8 grid) → its lowest channels
    through `coarse_analysis` (1/16 grid) → one ConvGRU per grid → 1x1 convolutions to codes.
    Decoder: codes → 1x1 convolutions to coefficients → ConvGRU on the 1/16 grid → convolution
    and depth-to-space → ConvGRU on the 1/8 grid → convolution, plus in-loop filter, and
    depth-to-space → image.

    Fixed scales keep all trained weights near the size of one, so that one learning rate suits
    the first iteration and the last: decoder states are coefficients divided by `*_state_scale`
    (their tanh must stay in its linear range), and the 1x1 convolutions from codes give
    coefficients in units of the iteration's `code_scale`.
    """

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config: CompactConfig = config
        coarse, fine = config.coarse_coefficients, config.fine_coefficients
        iterations = range(config.iterations)
        self.log_gain = nn.Parameter(torch.zeros(config.iterations))
        self.code_scale = _fixed(config.iterations)
        self.coarse_state_scale = _fixed(config.coarse_decoder_channels)
        self.fine_state_scale = _fixed(config.fine_decoder_channels)
        self.analysis = fine_analysis(config)
        self.coarse_analysis = coarse_analysis(config)
        self.coarse_encoder = ConvGRUCell(coarse, coarse, kernel_size=1)
        self.fine_encoder = ConvGRUCell(fine, fine, kernel_size=1)
        self.coarse_binarizers = nn.ModuleList(
            nn.Conv2d(coarse, config.coarse_codes, 1) for _ in iterations
        )
        self.fine_binarizers = nn.ModuleList(
            nn.Conv2d(fine, config.fine_codes, 1) for _ in iterations
        )
        self.coarse_dequantisers = nn.ModuleList(
            nn.Conv2d(config.coarse_codes, coarse, 1) for _ in iterations
        )
        self.fine_dequantisers = nn.ModuleList(
            nn.Conv2d(config.fine_codes, fine, 1) for _ in iterations
        )
        self.coarse_decoder = ConvGRUCell(coarse, config.coarse_decoder_channels, padding=1)
        self.coarse_synthesis = nn.Conv2d(config.coarse_decoder_channels, coarse, 3, padding=1)
        kernel = config.fine_decoder_kernel
        self.fine_decoder = ConvGRUCell(
            config.analysis_channels, config.fine_decoder_channels, kernel, padding=kernel // 2
        )
        self.loop_filter: LoopFilter | None = None
        if config.loop_filter_channels:
            self.loop_filter = LoopFilter(
                config.fine_decoder_channels,
                config.loop_filter_channels,
                SYNTHESIS_CHANNELS,
                config.iterations,
            )
        self.post_filter: PostFilter | None = None
        if config.post_filter_channels:
            self.post_filter = PostFilter(
                config.fine_decoder_channels,
                config.post_filter_channels,
                config.post_filter_blocks,
                config.iterations,
            )
        if config.rate_aware:
            self.coarse_rate_gain = nn.Parameter(
                torch.zeros(config.iterations, config.coarse_codes)
            )
            self.fine_rate_gain = nn.Parameter(torch.zeros(config.iterations, config.fine_codes))
        self.synthesis = nn.Conv2d(config.fine_decoder_channels, SYNTHESIS_CHANNELS, 3, padding=1)
        if config.int8:
            for _, convolution in self.ranged_convolutions():
                add_input_scale(convolution, config.iterations)

    def ranged_convolutions(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """The convolutions of the `RANGED_PARTS`, and their names."""
        for name in RANGED_PARTS:
            part = getattr(self, name)
            modules = () if part is None else part.named_modules(prefix=name)
            yield from ((n, module) for n, module in modules if isinstance(module, nn.Conv2d))

    @property
    def halos(self) -> Halos:
        """See `RecurrentNetwork.halos`."""
        coarse_encoder = reach(self.coarse_analysis, FINE_STRIDE)
        coarse_encoder += self.coarse_encoder.reach(COARSE_STRIDE)
        coarse_decoder = self.coarse_decoder.reach(COARSE_STRIDE)
        coarse_decoder += reach(self.coarse_synthesis, COARSE_STRIDE)
        synthesis = reach(self.synthesis, FINE_STRIDE)
        if self.loop_filter is not None:
            synthesis = max(synthesis, self.loop_filter.reach(FINE_STRIDE))
        post_filter = self.post_filter
        return Halos(
            encode=reach(self.analysis, 1)
            + max(coarse_encoder, self.fine_encoder.reach(FINE_STRIDE)),
            decode=coarse_decoder + self.fine_decoder.reach(FINE_STRIDE),
            synthesise=synthesis,
            show=0 if post_filter is None else post_filter.reach,
        )

    def encode_iteration(
        self,
        residual: Tensor,
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> tuple[list[Tensor], State]:
        """See `RecurrentNetwork.encode_iteration`; the state is (coarse, fine)."""
        coarse_state, fine_state = state if state is not None else (None, None)
        coefficients = self.analysis(residual * self.log_gain[iteration].exp())
        low = self.config.coarse_inputs
        coarse_state = self.coarse_encoder(
            self.coarse_analysis(coefficients[:, :low]), coarse_state
        )
        fine_state = self.fine_encoder(coefficients[:, low:], fine_state)
        coarse_state, fine_state = (
            kept(after, rows, residual.shape[2]) for after in (coarse_state, fine_state)
        )
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
        """See `RecurrentNetwork.decode_iteration`; the state is (coarse, fine)."""
        coarse_state, fine_state = state if state is not None else (None, None)
        unit = self.code_scale[iteration]
        coarse_scale = self.coarse_state_scale.view(1, -1, 1, 1)
        fine_scale = self.fine_state_scale.view(1, -1, 1, 1)
        coefficients = unit * self.coarse_dequantisers[iteration](codes[0].float())
        coarse_state = self.coarse_decoder(
            coefficients / coarse_scale[:, : coefficients.shape[1]], coarse_state
        )
        low = functional.pixel_shuffle(self.coarse_synthesis(coarse_state * coarse_scale), 2)
        high = unit * self.fine_dequantisers[iteration](codes[1].float())
        coefficients = torch.cat([low, high], 1)
        fine_state = self.fine_decoder(
            coefficients / fine_scale[:, : coefficients.shape[1]], fine_state
        )
        height = FINE_STRIDE * codes[1].shape[2]
        return (kept(coarse_state, rows, height), kept(fine_state, rows, height))

    def rate_gains(self, iteration: int) -> list[Tensor | None]:
        """See `RecurrentNetwork.rate_gains`."""
        if not self.config.rate_aware:
            return super().rate_gains(iteration)
        gains = (self.coarse_rate_gain, self.fine_rate_gain)
        return [gain[iteration].view(1, -1, 1, 1) for gain in gains]

    def synthesise(self, state: State, iteration: int) -> Tensor:
        """See `RecurrentNetwork.synthesise`."""
        coefficients = self.coefficients(state)
        blocks = self.synthesis(coefficients)
        if self.loop_filter is not None:
            blocks = blocks + self.loop_filter(coefficients, self.code_scale[iteration], iteration)
        return functional.pixel_shuffle(blocks, FINE_STRIDE)

    def show(self, state: State, reconstruction: Tensor, iteration: int) -> Tensor:
        """See `RecurrentNetwork.show`."""
        if self.post_filter is None:
            return reconstruction
        unit = self.code_scale[iteration]
        correction: Tensor = self.post_filter(
            self.coefficients(state), reconstruction, unit, iteration
        )
        return reconstruction + correction

    def coefficients(self, state: State) -> Tensor:
        """The coefficients (N, C, H/8, W/8) that the fine decoder's state stands for."""
        return state[1] * self.fine_state_scale.view(1, -1, 1, 1)


def _fixed(size: int) -> nn.Parameter:
    """A scale that is stored with the weights but not trained."""
    return nn.Parameter(torch.ones(size), requires_grad=False)
