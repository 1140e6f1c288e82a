"""Codes to segments and back: one segment per iteration, grids coarsest first, groups in order.

Inside a group the codes come channel by channel, each row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnconv_codec.entropy.context_model import block
from rnnconv_codec.entropy.fixed_point import UNIT
from rnnconv_codec.entropy.groups import decode_cut_group, decode_group, encode_group
from rnnconv_codec.entropy.integer_model import GroupPass, IntegerContextModel
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentDecoder, SegmentEncoder
from rnnconv_codec.networks.strips import Strip


class SegmentCoder:
    """Encodes or decodes the iterations of one image in turn.

    Args:
        model: the context model.
        strips: of the padded picture; the segments do not depend on them.
        width: of the padded picture in pixels.
    """

    def __init__(self, model: IntegerContextModel, strips: Sequence[Strip], width: int) -> None:
        self._model = model
        self._strips = strips
        self._width = width
        self._states: list[Tensor | None] = [None] * len(model.grids)
        self._iteration = 0

    def fork(self) -> SegmentCoder:
        """Another coder that goes on from here, while this one stays."""
        other = SegmentCoder(self._model, self._strips, self._width)
        other._states = [None if state is None else state.clone() for state in self._states]
        other._iteration = self._iteration
        return other

    def encode(
        self, activations: list[Tensor], rate_gains: list[Tensor | None]
    ) -> tuple[list[Tensor], bytes]:
        """Decide and code the codes of the next iteration.

        A code is +1 where its activation plus its rate gain times its logit is not negative.

        Args:
            activations: per grid (1, C, h, w).
            rate_gains: per grid (1, C, 1, 1), or None for none.

        Returns:
            Per grid the codes (1, C, h, w), int8, -1 or +1, and the segment.
        """
        encoder = SegmentEncoder()

        def transfer(grid: int, group: int, logits: Tensor) -> Tensor:
            model = self._model.grids[grid]
            channels = block(model.channels, group, model.groups)
            bits = torch.empty(logits.shape, dtype=torch.uint8)
            for strip in self._strips:
                rows = strip.cells(model.stride)
                # In the order of the logits first: torch adds tensors of two orders one by one.
                activation = activations[grid][:, channels, rows].contiguous()
                gain = rate_gains[grid]
                if gain is not None:
                    known = logits[:, :, rows].float().mul_(gain[:, channels] / UNIT)
                    activation = known.add_(activation)
                bits[:, :, rows] = activation >= 0
            encode_group(encoder, self._model.table, _flat(bits), _flat(logits))
            return bits

        return self._run(transfer), encoder.finish()

    def decode(self, segment: bytes) -> list[Tensor]:
        """The codes of the next iteration, per grid (1, C, h, w), int8, -1 or +1.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
        """
        decoder = SegmentDecoder(segment)

        def transfer(grid: int, group: int, logits: Tensor) -> Tensor:
            bits = decode_group(decoder, self._model.table, _flat(logits))
            return torch.from_numpy(bits).view(logits.shape)

        return self._run(transfer)

    def decode_cut(self, words: bytes) -> list[Tensor]:
        """What is known of the next iteration's codes if only the first words of its segment are.

        Where the words leave codes open, the context model goes on with the most probable ones
        (1 if its probability is above one half), and the codes given are those expected.

        Returns:
            Per grid (1, C, h, w), float32: -1.0 or +1.0, or between them what is expected.

        Raises:
            CodeSegmentError: the words are not whole.
        """
        decoder = CutSegmentDecoder(words)
        codes: list[list[Tensor]] = [[] for _ in self._model.grids]

        def transfer(grid: int, group: int, logits: Tensor) -> Tensor:
            bits, expected = decode_cut_group(decoder, self._model.table, _flat(logits))
            codes[grid].append(torch.from_numpy(expected).view(logits.shape))
            return torch.from_numpy(bits).view(logits.shape)

        self._run(transfer)
        return [torch.cat(groups, 1) for groups in codes]

    def _run(self, transfer: Callable[[int, int, Tensor], Tensor]) -> list[Tensor]:
        """Go through grids and groups; `transfer` codes a group, by its logits.

        It returns the group's bits (1, C/groups, h, w).
        """
        decoded: list[Tensor] = []
        for index, model in enumerate(self._model.grids):
            passes = GroupPass(
                model,
                self._iteration,
                self._strips,
                partial(self._context, index),
                self._width // model.stride,
            )
            for group in range(model.groups):
                passes.push(transfer(index, group, passes.logits()))
            bits = passes.bits()
            self._accumulate(index, bits)
            decoded.append(bits.view(torch.int8).mul_(2).sub_(1))
        self._iteration += 1
        return decoded

    def _context(self, index: int, strip: Strip) -> Tensor:
        """What is known of a strip of a grid before its first group."""
        model, iteration = self._model.grids[index], self._iteration
        outer = strip.widened(model.halo * model.stride)
        coarser: Tensor | None = None
        finer: Tensor | None = None
        if index:
            coarser = self._features(index - 1, outer)
        if model.sees_finer and iteration:
            finer = self._features(index + 1, outer)
        rows = outer.cells(model.stride)
        state = self._states[index]
        context = model.context(
            None if state is None else state[:, :, rows],
            coarser,
            finer,
            iteration,
            (rows.stop - rows.start, self._width // model.stride),
        )
        return context[:, :, strip.cells_in(outer, model.stride)]

    def _features(self, index: int, strip: Strip) -> Tensor:
        """What other grids see of a strip of this one."""
        model, state = self._model.grids[index], self._states[index]
        assert state is not None
        return model.features(state[:, :, strip.cells(model.stride)], self._iteration)

    def _accumulate(self, index: int, bits: Tensor) -> None:
        """Add the codes (0/1) of an iteration to the running state of their grid."""
        model, state = self._model.grids[index], self._states[index]
        if state is None:
            state = torch.empty(
                (1, model.hidden_channels, *bits.shape[2:]),
                dtype=model.dtype,
                memory_format=torch.channels_last,
            ).zero_()
            self._states[index] = state
        for strip in self._strips:
            outer = strip.widened(model.margin * model.stride)
            added = model.accumulation(bits[:, :, outer.cells(model.stride)], self._iteration)
            state[:, :, strip.cells(model.stride)] += added[
                :, :, strip.cells_in(outer, model.stride)
            ]


def _flat(values: Tensor) -> NDArray[Any]:
    """The values of a group in the order of coding."""
    flat: NDArray[Any] = values.view(-1).numpy()
    return flat
