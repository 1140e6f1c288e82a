"""The `toderici` preset: the GRU one-shot network in the sizes of the paper."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.networks.cell import ConvGRUCell
from rnnconv_codec.networks.config import TodericiConfig
from rnnconv_codec.networks.recurrent import RecurrentNetwork, State
from rnnconv_codec.networks.strips import Halos, kept, reach

DECODER_HIDDEN_KERNELS = (1, 1, 3, 3)
"""Kernel sizes of the decoder's hidden convolutions (Toderici et al. 2017, figure 1)."""


class TodericiNetwork(RecurrentNetwork):
    """Toderici et al. 2017, figure 1: 1/8 bit per pixel and iteration before entropy coding."""

    def __init__(self, config: TodericiConfig) -> None:
        super().__init__()
        self.config: TodericiConfig = config
        self.stem = nn.Conv2d(3, config.stem_channels, 3, stride=2, padding=1)
        widths = (config.stem_channels, *config.encoder_channels)
        self.encoder = nn.ModuleList(
            ConvGRUCell(inputs, outputs, stride=2, padding=1)
            for inputs, outputs in pairwise(widths)
        )
        self.binarizer = nn.Conv2d(config.encoder_channels[-1], config.codes, 1)
        self.decoder_input = nn.Conv2d(config.codes, config.decoder_input_channels, 1)
        self.decoder = nn.ModuleList()
        inputs = config.decoder_input_channels
        for width, kernel in zip(config.decoder_channels, DECODER_HIDDEN_KERNELS, strict=True):
            self.decoder.append(ConvGRUCell(inputs, width, padding=1, hidden_kernel_size=kernel))
            # Depth-to-space turns 2x2 neighbours' worth of channels into pixels.
            inputs = width // 4
        self.output = nn.Conv2d(inputs, 3, 1)

    @property
    def halos(self) -> Halos:
        """See `RecurrentNetwork.halos`; each cell halves or doubles the resolution."""
        stride = int(self.stem.stride[0])
        encode = reach(self.stem, 1)
        for cell in self.encoder:
            assert isinstance(cell, ConvGRUCell)
            encode += cell.reach(stride)
            stride *= 2
        decode = 0
        for cell in self.decoder:
            assert isinstance(cell, ConvGRUCell)
            decode += cell.reach(stride)
            stride //= 2
        return Halos(encode, decode, reach(self.output, 1))

    def encode_iteration(
        self,
        residual: Tensor,
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> tuple[list[Tensor], State]:
        """See `RecurrentNetwork.encode_iteration`; the state is that of each cell in turn."""
        features = self.stem(residual)
        states: list[Tensor] = []
        for index, cell in enumerate(self.encoder):
            features = cell(features, None if state is None else state[index])
            states.append(features)
        height = residual.shape[2]
        activations = self.binarizer(kept(features, rows, height))
        return [activations], tuple(kept(state, rows, height) for state in states)

    def decode_iteration(
        self,
        codes: list[Tensor],
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> State:
        """See `RecurrentNetwork.decode_iteration`; the state is that of each cell in turn."""
        features = self.decoder_input(codes[0].float())
        states: list[Tensor] = []
        for index, cell in enumerate(self.decoder):
            hidden = cell(features, None if state is None else state[index])
            states.append(hidden)
            features = functional.pixel_shuffle(hidden, 2)
        (grid,) = self.config.grids
        height = codes[0].shape[2] * grid.stride
        return tuple(kept(state, rows, height) for state in states)

    def synthesise(self, state: State, iteration: int) -> Tensor:
        """See `RecurrentNetwork.synthesise`."""
        return torch.tanh(self.output(functional.pixel_shuffle(state[-1], 2)))
