"""Codes to segments and back: one segment per iteration, grids coarsest first, groups in order.

Inside a group the codes come channel by channel, each row by row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rnnconv_codec.entropy.context_model import block
from rnnconv_codec.entropy.fixed_point import UNIT
from rnnconv_codec.entropy.integer_model import GroupPass, IntegerContextModel
from rnnconv_codec.entropy.probability_table import PROBABILITY_TOTAL
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentDecoder, SegmentEncoder

GridSize = tuple[int, int]
"""Height and width of a code grid in cells."""


class SegmentCoder:
    """Encodes or decodes the iterations of one image in turn.

    Args:
        model: the context model.
        sizes: of each grid, coarsest first.
    """

    def __init__(self, model: IntegerContextModel, sizes: list[GridSize]) -> None:
        self._model = model
        self._sizes = sizes
        self._states: list[Tensor | None] = [None] * len(sizes)
        self._iteration = 0

    def fork(self) -> SegmentCoder:
        """Another coder that goes on from here, while this one stays."""
        other = SegmentCoder(self._model, self._sizes)
        other._states, other._iteration = list(self._states), self._iteration
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
            Per grid the codes (1, C, h, w), -1.0 or +1.0, and the segment.
        """
        encoder = SegmentEncoder()

        def transfer(grid: int, group: int, passes: GroupPass) -> Tensor:
            model = self._model.grids[grid]
            channels = block(model.channels, group, model.groups)
            logits = passes.logits()
            activation, gain = activations[grid][:, channels], rate_gains[grid]
            if gain is not None:
                activation = activation + gain[:, channels] * (logits.float() / UNIT)
            bits = (activation >= 0).to(torch.uint8).contiguous()
            encoder.encode(bits.view(-1).numpy(), self._model.probabilities(logits))
            return bits

        return [bits.float() * 2 - 1 for bits in self._run(transfer)], encoder.finish()

    def decode(self, segment: bytes) -> list[Tensor]:
        """The codes of the next iteration, per grid (1, C, h, w) of -1.0 and +1.0.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
        """
        decoder = SegmentDecoder(segment)

        def transfer(grid: int, group: int, passes: GroupPass) -> Tensor:
            logits = passes.logits()
            bits = decoder.decode(self._model.probabilities(logits))
            return torch.from_numpy(bits).view(logits.shape)

        return [bits.float() * 2 - 1 for bits in self._run(transfer)]

    def decode_cut(self, words: bytes) -> list[Tensor]:
        """What is known of the next iteration's codes if only the first words of its segment are.

        Where the words leave codes open, the context model goes on with the most probable ones
        (1 if its probability is above one half), and the codes given are those expected.

        Returns:
            Per grid (1, C, h, w): -1.0 or +1.0, or between them what is expected.

        Raises:
            CodeSegmentError: the words are not whole.
        """
        decoder = CutSegmentDecoder(words)
        codes: list[list[Tensor]] = [[] for _ in self._sizes]

        def transfer(grid: int, group: int, passes: GroupPass) -> Tensor:
            logits = passes.logits()
            probabilities = self._model.probabilities(logits)
            certain = decoder.decode(probabilities)
            bits = (probabilities > PROBABILITY_TOTAL // 2).astype(np.uint8)
            bits[: len(certain)] = certain
            # Exact: a probability has 16 bits, float32 has 24.
            expected = probabilities.astype(np.float32) / (PROBABILITY_TOTAL // 2) - 1
            expected[: len(certain)] = certain * np.float32(2) - 1
            codes[grid].append(torch.from_numpy(expected).view(logits.shape))
            return torch.from_numpy(bits).view(logits.shape)

        self._run(transfer)
        return [torch.cat(groups, 1) for groups in codes]

    def _run(self, transfer: Callable[[int, int, GroupPass], Tensor]) -> list[Tensor]:
        """Go through grids and groups; `transfer` codes a group and returns its bits."""
        coarser: Tensor | None = None
        decoded: list[Tensor] = []
        iteration = self._iteration
        for index, (model, size) in enumerate(zip(self._model.grids, self._sizes, strict=True)):
            finer: Tensor | None = None
            if model.sees_finer and (finer_state := self._states[index + 1]) is not None:
                finer = self._model.grids[index + 1].features(finer_state, iteration)
            passes = model.begin(self._states[index], coarser, finer, iteration, size)
            for group in range(model.groups):
                passes.push(transfer(index, group, passes))
            bits = passes.bits()
            decoded.append(bits)
            state = model.accumulated(self._states[index], bits, iteration)
            self._states[index] = state
            if index + 1 < len(self._sizes):
                coarser = model.features(state, iteration)
        self._iteration += 1
        return decoded
