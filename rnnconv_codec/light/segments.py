"""Segments to codes, as `entropy.segments` reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.groups import decode_cut_group, decode_group
from rnnconv_codec.entropy.probability_table import ProbabilityTable
from rnnconv_codec.entropy.range_coder import CutSegmentDecoder, SegmentDecoder
from rnnconv_codec.light.context_model import GridModel, Transfer
from rnnconv_codec.light.convolution import Floats


class SegmentReader:
    """Decodes the iterations of one picture in turn.

    Args:
        grids: the context models, coarsest first.
        table: of the model.
        sizes: cells (h, w) of each grid.
    """

    def __init__(
        self,
        grids: Sequence[GridModel],
        table: ProbabilityTable,
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        self._grids = grids
        self._table = table
        self._sizes = sizes
        self._states: list[Floats | None] = [None] * len(grids)
        self._iteration = 0

    def decode(self, segment: bytes) -> list[Floats]:
        """The codes of the next iteration, per grid (h, w, C), -1.0 or +1.0.

        Raises:
            CodeSegmentError: the segment is not one that the encoder writes.
        """
        decoder = SegmentDecoder(segment)

        def transfer(group: int, logits: NDArray[np.int16]) -> Floats:
            return _as_cells(decode_group(decoder, self._table, _in_order(logits)), logits.shape)

        return [bits * np.float32(2) - 1 for bits in self._run([transfer] * len(self._grids))]

    def decode_cut(self, words: bytes) -> list[Floats]:
        """The same of the beginning of a segment; see `SegmentCoder.decode_cut`.

        Raises:
            CodeSegmentError: the words are not whole.
        """
        decoder = CutSegmentDecoder(words)
        expected: list[Floats] = []

        def transfer_into(codes: Floats) -> Transfer:
            def transfer(group: int, logits: NDArray[np.int16]) -> Floats:
                bits, values = decode_cut_group(decoder, self._table, _in_order(logits))
                size = logits.shape[2]
                codes[..., group * size : (group + 1) * size] = _as_cells(values, logits.shape)
                return _as_cells(bits, logits.shape)

            return transfer

        transfers = []
        for grid, size in zip(self._grids, self._sizes, strict=True):
            expected.append(np.empty((*size, grid.channels), np.float32))
            transfers.append(transfer_into(expected[-1]))
        self._run(transfers)
        return expected

    def _run(self, transfers: Sequence[Transfer]) -> list[Floats]:
        """Go through the grids; each transfer decodes the groups of one."""
        decoded: list[Floats] = []
        iteration = self._iteration
        for index, (grid, transfer) in enumerate(zip(self._grids, transfers, strict=True)):
            coarser: Floats | None = None
            finer: Floats | None = None
            if index:
                coarser = self._features(index - 1)
            if grid.sees_finer and iteration:
                finer = self._features(index + 1)
            state = self._states[index]
            context = grid.context(state, coarser, finer, iteration, self._sizes[index])
            bits = grid.run(context, iteration, transfer)
            added = grid.accumulation(bits, iteration)
            self._states[index] = added if state is None else state + added
            decoded.append(bits)
        self._iteration += 1
        return decoded

    def _features(self, index: int) -> Floats:
        state = self._states[index]
        assert state is not None
        return self._grids[index].features(state, self._iteration)


def _in_order(logits: NDArray[np.int16]) -> NDArray[np.int16]:
    """(h, w, C) in the order of coding: channel by channel."""
    return logits.transpose(2, 0, 1).reshape(-1)


def _as_cells(values: NDArray[np.generic], shape: tuple[int, ...]) -> Floats:
    """Values in the order of coding as (h, w, C)."""
    height, width, channels = shape
    cells = values.reshape(channels, height, width).transpose(1, 2, 0)
    return cells.astype(np.float32)
