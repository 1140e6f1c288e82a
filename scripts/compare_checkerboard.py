"""What a checkerboard pass in each channel group saves: half of the cells see their neighbours.

    python scripts/compare_checkerboard.py --state joint.safetensors --images DIR --validation DIR

The codec stays as it is. A small network per grid, group and iteration corrects the logits of every
other cell; it sees the logits around, and (`neighbours`) by how much the four neighbouring codes of
its group were not what was expected, or (`alone`) not: what the correction is worth without a
second pass. Printed is the rate on the validation crops, in per cent of that without a correction.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from rnnconv_codec.entropy.context_model import information
from rnnconv_codec.networks.config import config_from_dict
from rnnconv_codec.training.config import STAGE_DEFAULTS
from rnnconv_codec.training.images import CropSampler
from rnnconv_codec.training.model import TrainableCodec, code_batch
from rnnconv_codec.training.session import training_images, validation_batch
from rnnconv_codec.training.trainer import load_parameters, load_state

HIDDEN = 48
LEARNING_RATE = 2e-3
CROP = 128
BATCH = 4

Group = tuple[Tensor, Tensor]
"""Logits and codes (N, C, h, w) of a group."""


class Correction(nn.Module):
    """Of the logits of every other cell of a group.

    Args:
        channels: of the group.
        sees_neighbours: whether it sees the codes of the cells between.
    """

    def __init__(self, channels: int, *, sees_neighbours: bool) -> None:
        super().__init__()
        self.sees_neighbours = sees_neighbours
        inputs = 2 * channels if sees_neighbours else channels
        self.hidden = nn.Conv2d(inputs, HIDDEN, 3, padding=1)
        self.head = nn.Conv2d(HIDDEN, channels, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Corrected logits (N, C, h, w)."""
        rows, columns = (torch.arange(size) for size in logits.shape[2:])
        is_second = ((rows[:, None] + columns) % 2).to(logits.dtype)
        inputs = [logits]
        if self.sees_neighbours:
            inputs.append((codes - torch.tanh(logits / 2)) * (1 - is_second))
        added = self.head(torch.relu(self.hidden(torch.cat(inputs, 1))))
        corrected: Tensor = logits + is_second * added
        return corrected


def coded_groups(codec: TrainableCodec, image: Tensor) -> list[Group]:
    """All groups of a batch, by iteration and grid."""
    groups: list[Group] = []
    of_grids = [grid.forward for grid in codec.context.grids]

    def watched(forward: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., object]:
        def call(*arguments: object) -> tuple[Tensor, Tensor]:
            codes, logits = forward(*arguments)
            count = codec.config.context.groups
            groups.extend(zip(logits.chunk(count, 1), codes.chunk(count, 1), strict=True))
            return codes, logits

        return call

    for grid, forward in zip(codec.context.grids, of_grids, strict=True):
        grid.forward = watched(forward)
    try:
        with torch.no_grad():
            code_batch(codec, image, network_gradient=False)
    finally:
        for grid, forward in zip(codec.context.grids, of_grids, strict=True):
            grid.forward = forward
    return groups


def bits(groups: list[Group], corrections: nn.ModuleList | None = None) -> Tensor:
    """What all codes cost."""
    total = torch.zeros(())
    for index, (logits, codes) in enumerate(groups):
        corrected = logits if corrections is None else corrections[index](logits, codes)
        total = total + information(codes, corrected).sum()
    return total


def main() -> None:
    """Train both corrections side by side, on the same crops, and validate them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    state = load_state(options.state)
    codec = TrainableCodec(config_from_dict(state.settings["network"]))
    load_parameters(codec, state, averaged=True)
    codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = training_images(options.images, STAGE_DEFAULTS["graft"])
    sampler = CropSampler(images, CROP, BATCH, 1)
    ways: dict[str, nn.ModuleList] = {}
    for way in ("alone", "neighbours"):
        ways[way] = nn.ModuleList(
            Correction(logits.shape[1], sees_neighbours=way == "neighbours")
            for logits, _ in coded_groups(codec, sampler.batch(0))
        )
    optimizer = torch.optim.Adam(
        [p for way in ways.values() for p in way.parameters()], lr=LEARNING_RATE
    )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, options.steps)
    for step in range(options.steps):
        groups = coded_groups(codec, sampler.batch(step))
        before = bits(groups)
        loss = sum((bits(groups, way) / before for way in ways.values()), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    totals = dict.fromkeys(("before", *ways), 0.0)
    with torch.no_grad():
        for crop in validation_batch(options.validation, 256):
            groups = coded_groups(codec, crop)
            totals["before"] += float(bits(groups))
            for name, corrections in ways.items():
                totals[name] += float(bits(groups, corrections))
    for name in ways:
        print(f"{name:11} {100 * (totals[name] / totals['before'] - 1):+.2f} %")


if __name__ == "__main__":
    main()
