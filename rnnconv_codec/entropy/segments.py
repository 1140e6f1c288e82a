"""Codes to segments and back: one segment per iteration, grids coarsest first, groups in order.

Inside a group the codes come channel by channel, each row by row.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnconv_codec.entropy.integer_model import GroupPass, IntegerContextModel
from rnnconv_codec.entropy.range_coder import SegmentDecoder, SegmentEncoder

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

    def encode(self, codes: list[Tensor]) -> bytes:
        """The segment of the next iteration.

        Args:
            codes: per grid (1, C, h, w), -1.0 or +1.0.
        """
        encoder = SegmentEncoder()
        known = [(code > 0).to(torch.uint8) for code in codes]

        def transfer(grid: int, group: int, passes: GroupPass) -> Tensor:
            channels = known[grid].shape[1] // self._model.grids[grid].groups
            bits = known[grid][:, group * channels : (group + 1) * channels].contiguous()
            encoder.encode(bits.view(-1).numpy(), self._model.probabilities(passes.logits()))
            return bits

        self._run(transfer)
        return encoder.finish()

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

    def _run(self, transfer: Callable[[int, int, GroupPass], Tensor]) -> list[Tensor]:
        """Go through grids and groups; `transfer` codes a group and returns its bits."""
        coarser: Tensor | None = None
        decoded: list[Tensor] = []
        iteration = self._iteration
        for index, (model, size) in enumerate(zip(self._model.grids, self._sizes, strict=True)):
            passes = model.begin(self._states[index], coarser, iteration, size)
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
