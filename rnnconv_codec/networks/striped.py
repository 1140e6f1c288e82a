"""A network that runs over large pictures strip by strip: see `strips`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from rnnconv_codec.networks.recurrent import Quantise, RecurrentNetwork, State
from rnnconv_codec.networks.strips import Strip, kept

Rows = Callable[[Strip], Tensor]
"""A picture (1, 3, H, W) of which each strip is made when it is asked for."""


class StripedNetwork:
    """The steps of a network on one picture, a strip at a time.

    Args:
        network: whose steps these are.
        strips: of the padded picture. Of a single one, everything is as without strips.
    """

    def __init__(self, network: RecurrentNetwork, strips: Sequence[Strip]) -> None:
        self._network = network
        self._strips = strips

    def encode_iteration(
        self, residual: Rows, state: State | None, iteration: int
    ) -> tuple[list[Tensor], State]:
        """See `RecurrentNetwork.encode_iteration`; `state` may be overwritten."""
        grids = len(self._network.config.grids)

        def step(outer: Strip, rows: slice | None) -> tuple[Tensor, ...]:
            activations, after = self._network.encode_iteration(
                residual(outer), _rows_of(state, outer), iteration, rows
            )
            return (*activations, *after)

        into = None if state is None else (*[None] * grids, *state)
        made = self._assembled(self._network.halos.encode, step, into)
        return list(made[:grids]), made[grids:]

    def decode_iteration(
        self, codes: list[Tensor], state: State | None, iteration: int, *, overwrite: bool = False
    ) -> State:
        """See `RecurrentNetwork.decode_iteration`.

        Args:
            codes: of any type.
            state: before the iteration.
            iteration: 0-based.
            overwrite: the new state may take the place of the old one.
        """

        def step(outer: Strip, rows: slice | None) -> State:
            return self._network.decode_iteration(
                [_laid_out(_rows(grid, outer)) for grid in codes],
                _rows_of(state, outer),
                iteration,
                rows,
            )

        return self._assembled(self._network.halos.decode, step, state if overwrite else None)

    def synthesise(self, state: State, iteration: int, strip: Strip) -> Tensor:
        """A strip (1, 3, rows, W) of `RecurrentNetwork.synthesise`."""
        outer = strip.widened(self._network.halos.synthesise)
        rows = tuple(_rows(tensor, outer) for tensor in state)
        whole = self._network.synthesise(rows, iteration)
        return whole[:, :, strip.cells_in(outer, 1)]

    def show(
        self,
        state: State,
        iteration: int,
        strip: Strip,
        reconstruction: Rows | None = None,
        *,
        filtered_as: int | None = None,
    ) -> Tensor:
        """A strip (1, 3, rows, W) of `RecurrentNetwork.show`.

        Args:
            state: of the decoder, after the iteration.
            iteration: 0-based.
            strip: which.
            reconstruction: of the picture; made by `synthesise` if None.
            filtered_as: the iteration, 0-based, that the post-filter takes it for; None is its own.
        """
        outer = strip.widened(self._network.halos.show)
        if reconstruction is None:
            reconstructed = self.synthesise(state, iteration, outer)
        else:
            reconstructed = reconstruction(outer)
        rows = tuple(_rows(tensor, outer) for tensor in state)
        which = iteration if filtered_as is None else filtered_as
        whole = self._network.show(rows, reconstructed, which)
        return whole[:, :, strip.cells_in(outer, 1)]

    def code(
        self, image: Rows, iterations: int, quantise: Quantise, *, overwrite: bool = False
    ) -> Iterator[CodedIteration]:
        """`residual_loop` of a picture, strip by strip. Codes may be of any type.

        With `overwrite`, iterations lose their states once the next one is asked for.
        """
        encoder_state: State | None = None
        before: CodedIteration | None = None
        for index in range(iterations):
            residual = image if before is None else _difference(image, before)
            activations, encoder_state = self.encode_iteration(residual, encoder_state, index)
            codes = quantise(index, activations)
            del activations
            # No other name for the state: it would be kept for an iteration more.
            before = CodedIteration(
                index, codes, self, before.state if before else None, overwrite=overwrite
            )
            yield before

    def _assembled(
        self,
        halo: int,
        step: Callable[[Strip, slice | None], tuple[Tensor, ...]],
        into: Sequence[Tensor | None] | None,
    ) -> tuple[Tensor, ...]:
        """What a step makes of all strips, put together.

        Args:
            halo: of the step.
            step: from a strip with its halo, and which of its rows are asked for, to these rows
                of each result.
            into: for each result where to put it, which may be where the step reads it from.
        """
        if len(self._strips) == 1:
            return step(self._strips[0], None)
        whole: list[Tensor] = []
        waiting: deque[tuple[Strip, tuple[Tensor, ...]]] = deque()
        for strip in self._strips:
            outer = strip.widened(halo)
            # The halo of a strip is read from what was before.
            while waiting and waiting[0][0].last <= outer.first:
                _put(whole, *waiting.popleft())
            made = step(outer, strip.cells_in(outer, 1))
            if not whole:
                for result, place in zip(made, into or [None] * len(made), strict=True):
                    stride = (strip.last - strip.first) // result.shape[2]
                    whole.append(_empty(result, strip.height // stride) if place is None else place)
            waiting.append((strip, made))
        for strip, made in waiting:
            _put(whole, strip, made)
        return tuple(whole)


class CodedIteration:
    """What one pass over a picture yields; compare `recurrent.Iteration`.

    Args:
        index: 0-based.
        codes: of each grid.
        network: that decodes them.
        state_before: of its decoder, None in the first pass.
        overwrite: `state` may take the place of `state_before`.
    """

    def __init__(
        self,
        index: int,
        codes: list[Tensor],
        network: StripedNetwork,
        state_before: State | None,
        *,
        overwrite: bool = False,
    ) -> None:
        self.index = index
        self.codes = codes
        self._network = network
        self._before = state_before
        self._overwrite = overwrite
        self._state: State | None = None
        self._made: tuple[Strip, Tensor] | None = None

    @property
    def state(self) -> State:
        """The decoder's state after these codes, made when it is first asked for."""
        if self._state is None:
            self._state = self._network.decode_iteration(
                self.codes, self._before, self.index, overwrite=self._overwrite
            )
            self._before = None
        return self._state

    def reconstruction(self, strip: Strip) -> Tensor:
        """A strip (1, 3, rows, W) of the picture, nominally in [-1, 1].

        The strip that was made last is kept: a small picture is made once, and of a large one, if
        it is asked for from the top down, no row twice.
        """
        first, rows = strip.first, []
        if self._made is not None:
            made, kept = self._made
            if made.first <= strip.first < made.last:
                first = min(made.last, strip.last)
                known = Strip(strip.first, first, strip.height)
                rows.append(kept[:, :, known.cells_in(made, 1)])
        if first < strip.last:
            missing = Strip(first, strip.last, strip.height)
            rows.append(self._network.synthesise(self.state, self.index, missing))
        whole = rows[0] if len(rows) == 1 else torch.cat(rows, 2)
        self._made = (strip, whole)
        return whole

    def shown(self, strip: Strip) -> Tensor:
        """A strip (1, 3, rows, W) of the picture as it is shown, nominally in [-1, 1]."""
        return self._network.show(self.state, self.index, strip, self.reconstruction)


def _difference(image: Rows, coded: CodedIteration) -> Rows:
    return lambda strip: image(strip) - coded.reconstruction(strip)


def _rows(tensor: Tensor, strip: Strip) -> Tensor:
    """The rows of a strip of what belongs to the whole picture, on whatever grid."""
    return kept(tensor, strip.cells(1), strip.height)


def _rows_of(state: State | None, strip: Strip) -> State | None:
    return None if state is None else tuple(_rows(tensor, strip) for tensor in state)


def _laid_out(codes: Tensor) -> Tensor:
    """Codes in one memory layout, so that encoder and decoder run the same arithmetic."""
    return codes.contiguous(memory_format=torch.channels_last)


def _empty(like: Tensor, rows: int) -> Tensor:
    batch, channels, _, width = like.shape
    return torch.empty(
        (batch, channels, rows, width), dtype=like.dtype, memory_format=torch.channels_last
    )


def _put(whole: list[Tensor], strip: Strip, parts: tuple[Tensor, ...]) -> None:
    for tensor, part in zip(whole, parts, strict=True):
        _rows(tensor, strip).copy_(part)
