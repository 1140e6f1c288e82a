"""The interface of the recurrent networks and the residual loop that drives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from rnnconv_codec.networks.binarizer import binarize
from rnnconv_codec.networks.config import CompactConfig, NetworkConfig, TodericiConfig
from rnnconv_codec.networks.strips import Halos

State = tuple[Tensor, ...]
"""Hidden states of the ConvGRU cells of an encoder or a decoder."""

Quantise = Callable[[int, list[Tensor]], list[Tensor]]
"""From the iteration (0-based) and the activations of each grid to its codes, -1.0 or +1.0."""


class RecurrentNetwork(nn.Module, ABC):
    """Encoder, binarizer input and decoder of one preset."""

    config: NetworkConfig

    @property
    @abstractmethod
    def halos(self) -> Halos:
        """How far each step looks; what is added to one must be added here."""

    @abstractmethod
    def encode_iteration(
        self,
        residual: Tensor,
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> tuple[list[Tensor], State]:
        """One encoder step.

        Args:
            residual: (N, 3, H, W), H and W multiples of 16.
            state: of the encoder, None before the first iteration.
            iteration: 0-based.
            rows: of H, whole cells of all grids: what is asked for, all that is returned. The
                others are there to be looked at. None is all of them.

        Returns:
            Per code grid the activations (N, C, H/stride, W/stride) whose signs are the codes,
            and the new state.
        """

    @abstractmethod
    def decode_iteration(
        self,
        codes: list[Tensor],
        state: State | None,
        iteration: int,
        rows: slice | None = None,
    ) -> State:
        """One decoder step.

        Args:
            codes: per grid (N, C, H/stride, W/stride), -1 to +1, float32 or integers.
            state: of the decoder, None before the first iteration.
            iteration: 0-based.
            rows: as for `encode_iteration`.

        Returns:
            The new state.
        """

    @abstractmethod
    def synthesise(self, state: State, iteration: int) -> Tensor:
        """The whole image (N, 3, H, W), nominally in [-1, 1], after an iteration (one-shot)."""

    def show(self, state: State, reconstruction: Tensor, iteration: int) -> Tensor:
        """What a viewer gets to see of a reconstruction; the residual loop does not see it.

        Args:
            state: of the decoder, after the iteration.
            reconstruction: what `synthesise` makes of it, (N, 3, H, W).
            iteration: 0-based.

        Returns:
            (N, 3, H, W), nominally in [-1, 1]: the reconstruction itself without a post-filter.
        """
        return reconstruction

    def rate_gains(self, iteration: int) -> list[Tensor | None]:
        """Per grid how much a code's logit adds to its activation, (1, C, 1, 1); None is nothing.

        A code whose value the context model takes for unlikely is expensive: it should be worth
        more distortion than a cheap one before the encoder sets it.
        """
        return [None] * len(self.config.grids)


@dataclass(frozen=True)
class Iteration:
    """What one pass of the residual loop yields.

    Attributes:
        index: 0-based.
        codes: per grid (N, C, H/stride, W/stride), -1.0 or +1.0.
        network: that decodes them.
        state_before: of its decoder, None in the first pass.
    """

    index: int
    codes: list[Tensor]
    network: RecurrentNetwork
    state_before: State | None

    @cached_property
    def state(self) -> State:
        """The decoder's state after these codes, made when it is asked for: the last may not be."""
        return self.network.decode_iteration(self.codes, self.state_before, self.index)

    @cached_property
    def reconstruction(self) -> Tensor:
        """(N, 3, H, W), nominally in [-1, 1]: what the next residual is a difference to."""
        return self.network.synthesise(self.state, self.index)

    @property
    def shown(self) -> Tensor:
        """The picture as it is shown, (N, 3, H, W), nominally in [-1, 1]."""
        return self.network.show(self.state, self.reconstruction, self.index)


def sign_of_activations(iteration: int, activations: list[Tensor]) -> list[Tensor]:
    """The `Quantise` that looks at nothing but the activations."""
    return [binarize(activation) for activation in activations]


def residual_loop(
    network: RecurrentNetwork,
    image: Tensor,
    iterations: int,
    quantise: Quantise = sign_of_activations,
) -> Iterator[Iteration]:
    """Code an image iteration by iteration (DESIGN, section 1; one-shot, γ = 0).

        r_t = x - x̂_{t-1},  b_t = quantise(E(r_t)),  x̂_t = D(b_t)

    Args:
        network: of any preset.
        image: (N, 3, H, W) in [-1, 1], H and W multiples of 16.
        iterations: how many to run.
        quantise: how activations become codes; by their sign by default.
    """
    encoder_state: State | None = None
    before: Iteration | None = None
    for index in range(iterations):
        residual = image if before is None else image - before.reconstruction
        activations, encoder_state = network.encode_iteration(residual, encoder_state, index)
        codes = quantise(index, activations)
        done = Iteration(index, codes, network, None if before is None else before.state)
        yield done
        before = done


def build_network(config: NetworkConfig) -> RecurrentNetwork:
    """The network of a configuration, with random weights."""
    from rnnconv_codec.networks.compact import CompactNetwork
    from rnnconv_codec.networks.toderici import TodericiNetwork

    match config:
        case CompactConfig():
            return CompactNetwork(config)
        case TodericiConfig():
            return TodericiNetwork(config)
