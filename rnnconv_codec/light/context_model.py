"""The integer context model with NumPy: the same integers as `entropy.integer_model`'s.

They are held in float32, where every sum of them is exact in any order (`entropy.stored_context`
checks that it is), whatever BLAS it is that multiplies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rnnconv_codec.entropy.fixed_point import MAX_ACTIVATION, MAX_LOGIT
from rnnconv_codec.entropy.stored_context import Integers, StoredGrid, StoredLayer, block
from rnnconv_codec.light.convolution import Convolution, Floats, depth_to_space, space_to_depth

Transfer = Callable[[int, NDArray[np.int16]], Floats]
"""From a group and its logits (h, w, C/groups) to its codes, 0.0 or 1.0."""


class Layer:
    """A `StoredLayer` ready to run, with some of its outputs and its first inputs.

    Weight and bias are divided by 2^shift already: exponents change, no bit of a sum does, and
    the shift is a floor.
    """

    def __init__(
        self, stored: StoredLayer, outputs: slice = slice(None), inputs: slice = slice(None)
    ) -> None:
        scale = _scale(stored.shift[outputs])
        weight = stored.weight[outputs, inputs] * scale[:, None, None, None]
        self._convolution = Convolution(weight, stored.bias[outputs] * scale)

    def __call__(self, input: Floats) -> Floats:
        """Of (h, w, I) integers a new (h, w, O)."""
        result = self._convolution(input)
        return np.floor(result, out=result)


class GridModel:
    """The context model of one grid.

    Args:
        stored: its tensors.
        groups: channel groups that are coded one after the other.
    """

    def __init__(self, stored: StoredGrid, groups: int) -> None:
        self.groups = groups
        self.channels = stored.accumulate.shape[2]
        self.hidden_channels = stored.accumulate.shape[1]
        self._stored = stored
        self._state_scale = _scale(stored.state_shift)
        self._from_coarser = _optional(stored.from_coarser)
        self._from_finer = _optional(stored.from_finer)
        self._hidden = [Layer(layer) for layer in stored.hidden]
        self._pointwise = Layer(stored.pointwise)
        self._masked = [
            Layer(stored.masked, self._hidden_block(group), slice(self._code_block(group).start))
            for group in range(groups)
        ]

    @property
    def sees_finer(self) -> bool:
        """Whether `context` takes features of the next finer grid."""
        return self._from_finer is not None

    def accumulation(self, bits: Floats, iteration: int) -> Floats:
        """What the codes (h, w, C) of an iteration, 0/1, add to the running state."""
        return Convolution(self._stored.accumulate[iteration].astype(np.float32))(bits)

    def features(self, state: Floats, iteration: int) -> Floats:
        """What the next finer and the next coarser grid see of a running state."""
        return _clip(self._in_fixed_point(state) + _float(self._stored.feature_bias[iteration]))

    def context(
        self,
        state: Floats | None,
        coarser: Floats | None,
        finer: Floats | None,
        iteration: int,
        size: tuple[int, int],
    ) -> Floats:
        """See `IntegerGridModel.context`; (h, w, hidden)."""
        context = np.empty((*size, self.hidden_channels), np.float32)
        context[:] = self._stored.iteration_bias[iteration]
        if state is not None:
            context += self._in_fixed_point(state)
        if self._from_coarser is not None:
            assert coarser is not None
            context += depth_to_space(self._from_coarser(coarser), 2)
        if self._from_finer is not None and finer is not None:
            context += self._from_finer(space_to_depth(finer, 2))
        context = _clip(context)
        for layer in self._hidden:
            deeper = layer(context)
            deeper += context
            context = _clip(deeper)
        return context

    def run(self, context: Floats, iteration: int, transfer: Transfer) -> Floats:
        """One iteration, group after group; `transfer` gives the codes of each.

        Returns:
            The codes (h, w, C), 0.0 or 1.0.
        """
        pointwise = self._pointwise(context)
        from_context = Layer(self._stored.heads[iteration])(context)
        features = np.empty_like(pointwise)
        bits = np.empty_like(from_context)
        for group in range(self.groups):
            hidden, codes = self._hidden_block(group), self._code_block(group)
            known = pointwise[..., hidden]
            if group:
                known = known + self._masked[group](bits[..., : codes.start])
            features[..., hidden] = _clip(known)
            head = Layer(self._stored.masked_heads[iteration], codes, slice(hidden.stop))
            logits = head(features[..., : hidden.stop])
            logits += from_context[..., codes]
            np.clip(logits, -MAX_LOGIT, MAX_LOGIT, out=logits)
            bits[..., codes] = transfer(group, logits.astype(np.int16))
        return bits

    def _code_block(self, group: int) -> slice:
        return block(self.channels, group, self.groups)

    def _hidden_block(self, group: int) -> slice:
        return block(self.hidden_channels, group, self.groups)

    def _in_fixed_point(self, state: Floats) -> Floats:
        values = state + _float(self._stored.state_half)
        values *= self._state_scale
        floor: Floats = np.floor(values, out=values)
        return floor


def _optional(stored: StoredLayer | None) -> Layer | None:
    return None if stored is None else Layer(stored)


def _scale(shift: Integers) -> Floats:
    scale: Floats = np.exp2(-shift.astype(np.float32))
    return scale


def _float(values: Integers) -> Floats:
    return values.astype(np.float32)


def _clip(values: Floats) -> Floats:
    """To the range of activations, in place."""
    return np.clip(values, 0, MAX_ACTIVATION, out=values)
