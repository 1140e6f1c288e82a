"""The context model as it is trained: float32 arithmetic on quantised values.

Every weight, activation and logit is rounded as the integer model (`integer_model`) rounds it,
with straight-through gradients. As all partial sums stay integers below 2^24 times a power of
two, the float arithmetic here is exact too, and both models give the same logits.

Fixed point: a value q stands for q / 2^FRACTION_BITS. Weights are int8 with a power-of-two scale
per output channel. Per grid g and iteration t, with b the codes as 0/1 and [·] rounding to fixed
point, a ReLU that clips at 255 written clip():

    f = clip([S] + e_t + [up(coarse features)] + [down(fine features)])
                                                   S = Σ_{s<t} acc_s * b_s, 3x3
    f = clip([h_i * f] + f)                        3x3, for each of the hidden layers
    c = clip([m * b] + [p * f])                    3x3 masked: earlier channel groups only
    logit = [o_t * f] + [n_t * c]                  1x1, n_t masked: own and earlier groups
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnconv_codec.entropy.fixed_point import (
    FRACTION_BITS,
    LAYER_SUM_LIMIT,
    MAX_ACTIVATION,
    MAX_LOGIT,
    MAX_SHIFT,
    MAX_WEIGHT,
    UNIT,
)
from rnnconv_codec.entropy.stored_context import block as block
from rnnconv_codec.networks.config import CodeGrid, ContextModelConfig

Decide = Callable[[slice, Tensor], Tensor]
"""From the channels of a group and their logits (N, C, h, w) to its codes, -1.0 or +1.0."""

DecideGrid = Callable[[int, slice, Tensor], Tensor]
"""The same of all grids: the index of the grid comes first."""


def round_half_up(values: Tensor) -> Tensor:
    """⌊x + 1/2⌋ with a straight-through gradient: how the integer model's shift rounds."""
    return values + (torch.floor(values + 0.5) - values).detach()


def to_fixed_point(values: Tensor) -> Tensor:
    """Round to multiples of 2^-FRACTION_BITS."""
    return round_half_up(values * UNIT) / UNIT


def clip(values: Tensor) -> Tensor:
    """The clipped ReLU of fixed-point activations."""
    return values.clamp(0, MAX_ACTIVATION / UNIT)


def weight_shifts(weight: Tensor, largest_input: int) -> Tensor:
    """Scale of each output channel: the largest s with |w|·2^s within int8 and its sum exact.

    Args:
        weight: (O, ...) float.
        largest_input: largest integer activation, 255 or, for codes, 1.

    Returns:
        Integers (O,) as float, 0..`MAX_SHIFT`.
    """
    rows = weight.detach().abs().flatten(1)
    by_largest = torch.log2(MAX_WEIGHT / rows.amax(1).clamp(min=1e-9))
    by_sum = torch.log2(LAYER_SUM_LIMIT / (rows.sum(1).clamp(min=1e-9) * largest_input))
    return torch.floor(torch.minimum(by_largest, by_sum)).clamp(0, MAX_SHIFT)


def quantise(weight: Tensor, shifts: Tensor) -> Tensor:
    """Weights rounded to int8 multiples of 2^-shift of their output channel, straight-through."""
    scale = torch.exp2(shifts).view(-1, *([1] * (weight.dim() - 1)))
    rounded = torch.floor(weight.detach() * scale + 0.5).clamp(-MAX_WEIGHT, MAX_WEIGHT) / scale
    return weight + (rounded - weight).detach()


def quantise_bias(bias: Tensor, shifts: Tensor, input_bits: int) -> Tensor:
    """Biases rounded to the unit of the accumulator, straight-through."""
    scale = torch.exp2(shifts + input_bits)
    return bias + (torch.floor(bias.detach() * scale + 0.5) / scale - bias).detach()


class QuantisedConv2d(nn.Conv2d):
    """A convolution with int8 weights whose result is rounded to fixed point.

    Args:
        inputs: input channels.
        outputs: output channels.
        kernel_size: 1 or 3; padded so that the size stays.
        bias: whether there is a bias.
        on_codes: inputs are codes 0/1, not fixed-point activations.
        mask: (outputs, inputs, 1, 1) of 0/1 on the weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        *,
        bias: bool = True,
        on_codes: bool = False,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=bias)
        self.input_bits = 0 if on_codes else FRACTION_BITS
        self.largest_input = 1 if on_codes else MAX_ACTIVATION
        self.register_buffer("mask", mask, persistent=False)
        self.mask: Tensor | None

    def quantised(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """Masked and rounded weight and bias, and the shifts of the output channels."""
        weight = self.weight if self.mask is None else self.weight * self.mask
        shifts = weight_shifts(weight, self.largest_input)
        bias = self.bias
        if bias is not None:
            bias = quantise_bias(bias, shifts, self.input_bits)
        return quantise(weight, shifts), bias, shifts

    def forward(self, input: Tensor) -> Tensor:
        """Fixed-point result (N, outputs, H, W), not clipped."""
        weight, bias, _ = self.quantised()
        return to_fixed_point(functional.conv2d(input, weight, bias, padding=self.padding))


def group_masks(channels: int, hidden: int, groups: int) -> tuple[Tensor, Tensor]:
    """Masks of the convolutions inside an iteration.

    Returns:
        (hidden, channels, 1, 1): hidden group k sees codes of groups before k;
        (channels, hidden, 1, 1): codes of group k see hidden groups up to k.
    """
    code_group = torch.arange(channels) * groups // channels
    hidden_group = torch.arange(hidden) * groups // hidden
    codes_to_hidden = (code_group[None, :] < hidden_group[:, None]).float()
    hidden_to_codes = (hidden_group[None, :] <= code_group[:, None]).float()
    return codes_to_hidden[:, :, None, None], hidden_to_codes[:, :, None, None]


class GridContextModel(nn.Module):
    """Context model of one code grid.

    Args:
        grid: the codes it models.
        iterations: of the codec.
        config: sizes.
        coarser: whether it also sees the features of the next coarser grid.
        finer: whether it also sees those of the next finer grid, of earlier iterations.
    """

    def __init__(
        self,
        grid: CodeGrid,
        iterations: int,
        config: ContextModelConfig,
        *,
        coarser: bool,
        finer: bool,
    ) -> None:
        super().__init__()
        hidden, groups = config.hidden_channels, config.groups
        self.channels, self.hidden_channels, self.groups = grid.channels, hidden, groups
        codes_to_hidden, hidden_to_codes = group_masks(grid.channels, hidden, groups)
        self.accumulate = nn.Parameter(torch.empty(hidden, grid.channels, 3, 3))
        nn.init.kaiming_uniform_(self.accumulate, a=math.sqrt(5))
        self.code_scale = nn.Parameter(torch.ones(iterations, grid.channels))
        self.iteration_bias = nn.Parameter(torch.zeros(iterations, hidden))
        self.feature_bias = nn.Parameter(torch.zeros(iterations, hidden))
        self.from_coarser = QuantisedConv2d(hidden, 4 * hidden, 1) if coarser else None
        self.from_finer = QuantisedConv2d(4 * hidden, hidden, 1, bias=False) if finer else None
        self.hidden = QuantisedConv2d(hidden, hidden, 3)
        self.deeper = nn.ModuleList(
            QuantisedConv2d(hidden, hidden, 3) for _ in range(config.hidden_layers - 1)
        )
        self.pointwise = QuantisedConv2d(hidden, hidden, 1)
        self.masked = QuantisedConv2d(
            grid.channels, hidden, 3, bias=False, on_codes=True, mask=codes_to_hidden
        )
        self.heads = nn.ModuleList(
            QuantisedConv2d(hidden, grid.channels, 1) for _ in range(iterations)
        )
        self.masked_heads = nn.ModuleList(
            QuantisedConv2d(hidden, grid.channels, 1, bias=False, mask=hidden_to_codes)
            for _ in range(iterations)
        )
        with torch.no_grad():
            # What adds to a context that does without it starts at nothing.
            for added in (self.from_finer, *self.deeper):
                if added is not None:
                    added.weight.zero_()
                    if added.bias is not None:
                        added.bias.zero_()
            for head in (*self.heads, *self.masked_heads):
                head.weight.mul_(0.1)

    def accumulator_shifts(self) -> Tensor:
        """Scale of each channel of the running state, the same for all iterations."""
        largest = self.code_scale.detach().abs().amax(0).view(1, -1, 1, 1)
        return weight_shifts(self.accumulate.detach().abs() * largest, 1)

    def accumulator_weight(self, iteration: int) -> Tensor:
        """Rounded weight (hidden, channels, 3, 3) with which an iteration's codes are added."""
        scaled = self.accumulate * self.code_scale[iteration].view(1, -1, 1, 1)
        return quantise(scaled, self.accumulator_shifts())

    def accumulated(self, state: Tensor | None, bits: Tensor, iteration: int) -> Tensor:
        """The running state with the codes (0/1) of an iteration added."""
        added = functional.conv2d(bits, self.accumulator_weight(iteration), padding=1)
        return added if state is None else state + added

    def features(self, state: Tensor, iteration: int) -> Tensor:
        """What the next finer and the next coarser grid see of a running state."""
        bias = to_fixed_point(self.feature_bias[iteration]).view(1, -1, 1, 1)
        return clip(to_fixed_point(state) + bias)

    def forward(
        self,
        state: Tensor | None,
        coarser: Tensor | None,
        finer: Tensor | None,
        iteration: int,
        size: tuple[int, int, int],
        decide: Decide,
    ) -> tuple[Tensor, Tensor]:
        """Codes of an iteration and their logits, each from what is decoded before it.

        Args:
            state: running state (N, hidden, h, w) of earlier iterations, None in the first.
            coarser: features (N, hidden, h/2, w/2) of the coarser grid, if there is one.
            finer: features (N, hidden, 2h, 2w) of the finer grid before this iteration, if
                there are any.
            iteration: 0-based.
            size: N, h and w.
            decide: the codes of each group, given its logits.

        Returns:
            Codes (N, channels, h, w), -1.0 or +1.0, and the logits of +1, of the same shape,
            fixed point within ±`MAX_LOGIT`.
        """
        base = to_fixed_point(self.iteration_bias[iteration]).view(1, -1, 1, 1)
        if state is not None:
            base = base + to_fixed_point(state)
        if self.from_coarser is not None:
            assert coarser is not None
            base = base + functional.pixel_shuffle(self.from_coarser(coarser), 2)
        if self.from_finer is not None and finer is not None:
            base = base + self.from_finer(functional.pixel_unshuffle(finer, 2))
        context = clip(base.expand(size[0], -1, *size[1:]))
        for layer in (self.hidden, *self.deeper):
            context = clip(layer(context) + context)
        pointwise, from_heads = self.pointwise(context), self.heads[iteration](context)
        masked = _quantised_weight(self.masked)
        masked_head = _quantised_weight(self.masked_heads[iteration])
        features: list[Tensor] = []
        codes: list[Tensor] = []
        logits: list[Tensor] = []
        for group in range(self.groups):
            # What `masked` leaves out of both weights is not computed either.
            hidden_block = block(self.hidden_channels, group, self.groups)
            code_block = block(self.channels, group, self.groups)
            current = pointwise[:, hidden_block]
            if codes:
                known = (torch.cat(codes, 1) + 1) / 2
                weight = masked[hidden_block, : known.shape[1]]
                current = current + to_fixed_point(functional.conv2d(known, weight, padding=1))
            features.append(clip(current))
            weight = masked_head[code_block, : hidden_block.stop]
            from_codes = functional.conv2d(torch.cat(features, 1), weight)
            logit = from_heads[:, code_block] + to_fixed_point(from_codes)
            logits.append(logit.clamp(-MAX_LOGIT / UNIT, MAX_LOGIT / UNIT))
            codes.append(decide(code_block, logits[-1]))
        return torch.cat(codes, 1), torch.cat(logits, 1)


def _quantised_weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer, QuantisedConv2d)
    return layer.quantised()[0]


def information(code: Tensor, logits: Tensor) -> Tensor:
    """Bits that codes -1 or +1 cost, by the logits of +1; of the same shape.

    Sure codes are left out of segments (`entropy.groups`); with the flags that say so they cost a
    tenth less than they count here.

    Written linear in the code: its gradient is then the difference between the two
    values, where that of softplus(-code · logit) would be nearly 0 for a likely code.
    """
    of_plus, of_minus = functional.softplus(-logits), functional.softplus(logits)
    return ((1 + code) * of_plus + (1 - code) * of_minus) / (2 * math.log(2))


class ContextModel(nn.Module):
    """Context models of all grids, coarsest first.

    Args:
        grids: code grids, each with half the stride of the one before.
        iterations: of the codec.
        config: sizes.
    """

    def __init__(
        self, grids: tuple[CodeGrid, ...], iterations: int, config: ContextModelConfig
    ) -> None:
        super().__init__()
        self.grids = nn.ModuleList(
            GridContextModel(
                grid,
                iterations,
                config,
                coarser=index > 0,
                finer=config.from_finer and index + 1 < len(grids),
            )
            for index, grid in enumerate(grids)
        )

    def forward(
        self,
        states: list[Tensor | None],
        iteration: int,
        sizes: list[tuple[int, int, int]],
        decide: DecideGrid,
    ) -> tuple[list[Tensor], Tensor, list[Tensor | None]]:
        """Codes of one iteration and the information in them.

        Args:
            states: running states of earlier iterations, None in the first.
            iteration: 0-based.
            sizes: N, h and w of each grid.
            decide: the codes of each group of each grid, given its logits; with gradient if
                wanted.

        Returns:
            Per grid the codes (N, C, h, w), bits per image (N,), and the new states.
        """
        total: Tensor | float = 0.0
        coarser: Tensor | None = None
        codes: list[Tensor] = []
        after: list[Tensor | None] = []
        for index, (model, state) in enumerate(zip(self.grids, states, strict=True)):
            assert isinstance(model, GridContextModel)
            finer: Tensor | None = None
            if model.from_finer is not None and (finer_state := states[index + 1]) is not None:
                finer_model = self.grids[index + 1]
                assert isinstance(finer_model, GridContextModel)
                finer = finer_model.features(finer_state, iteration)
            code, logits = model(
                state, coarser, finer, iteration, sizes[index], partial(decide, index)
            )
            codes.append(code)
            total = total + information(code, logits).sum((1, 2, 3))
            new_state = model.accumulated(state, (code + 1) / 2, iteration)
            after.append(new_state)
            if len(after) < len(self.grids):
                coarser = model.features(new_state, iteration)
        assert isinstance(total, Tensor)
        return codes, total, after
