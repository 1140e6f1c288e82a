"""The interface of the recurrent networks and the residual loop that drives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from rnnconv_codec.networks.binarizer import Binarize, binarize
from rnnconv_codec.networks.config import CompactConfig, NetworkConfig, TodericiConfig

State = tuple[Tensor, ...]
"""Hidden states of the ConvGRU cells of an encoder or a decoder."""

SIZE_MULTIPLE = 16
"""Networks take images whose sides are multiples of this; the codec pads to it."""


class RecurrentNetwork(nn.Module, ABC):
    """Encoder, binarizer input and decoder of one preset."""

    config: NetworkConfig

    @abstractmethod
    def encode_iteration(
        self, residual: Tensor, state: State | None, iteration: int
    ) -> tuple[list[Tensor], State]:
        """One encoder step.

        Args:
            residual: (N, 3, H, W), H and W multiples of 16.
            state: of the encoder, None before the first iteration.
            iteration: 0-based.

        Returns:
            Per code grid the activations (N, C, H/stride, W/stride) in [-1, 1] that the
            binarizer turns into codes, and the new state.
        """

    @abstractmethod
    def decode_iteration(self, codes: list[Tensor], state: State | None, iteration: int) -> State:
        """One decoder step: the new state from the codes (-1, +1) of each grid."""

    @abstractmethod
    def synthesise(self, state: State) -> Tensor:
        """The whole image (N, 3, H, W), nominally in [-1, 1], of a decoder state (one-shot)."""


@dataclass(frozen=True)
class Iteration:
    """What one pass of the residual loop yields.

    Attributes:
        index: 0-based.
        codes: per grid (N, C, H/stride, W/stride), -1.0 or +1.0.
        reconstruction: (N, 3, H, W), nominally in [-1, 1].
    """

    index: int
    codes: list[Tensor]
    reconstruction: Tensor


def residual_loop(
    network: RecurrentNetwork,
    image: Tensor,
    iterations: int,
    binarizer: Binarize = binarize,
) -> Iterator[Iteration]:
    """Code an image iteration by iteration (DESIGN, section 1; one-shot, γ = 0).

        r_t = x - x̂_{t-1},  b_t = binarizer(E(r_t)),  x̂_t = D(b_t)

    Args:
        network: of any preset.
        image: (N, 3, H, W) in [-1, 1], H and W multiples of 16.
        iterations: how many to run.
        binarizer: deterministic by default.
    """
    encoder_state: State | None = None
    decoder_state: State | None = None
    residual = image
    for index in range(iterations):
        activations, encoder_state = network.encode_iteration(residual, encoder_state, index)
        codes = [binarizer(activation) for activation in activations]
        decoder_state = network.decode_iteration(codes, decoder_state, index)
        reconstruction = network.synthesise(decoder_state)
        yield Iteration(index, codes, reconstruction)
        residual = image - reconstruction


def build_network(config: NetworkConfig) -> RecurrentNetwork:
    """The network of a configuration, with random weights."""
    from rnnconv_codec.networks.compact import CompactNetwork
    from rnnconv_codec.networks.toderici import TodericiNetwork

    match config:
        case CompactConfig():
            return CompactNetwork(config)
        case TodericiConfig():
            return TodericiNetwork(config)
