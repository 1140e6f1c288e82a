"""Puts a training state of an older `compact` network into the network of today.

    python scripts/upgrade_state.py OLD.safetensors NEW.safetensors [--rate-gain G --threshold T]

What the older network did not have starts at nothing, so the new state codes exactly as the old
one, but for two things: of the fine decoder cell's 3x3 input convolution only the centre is kept,
and `--rate-gain` and `--threshold` say where rate-aware codes start (0.1 and 0.15 were best on
`dev/` without any training: docs/TRAINING.md). Moments are kept where there are any, so
`rnncodec train joint` goes on from the new state as from any other.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from rnnconv_codec.networks.config import (
    CompactConfig,
    ContextModelConfig,
    config_from_dict,
    config_to_dict,
)
from rnnconv_codec.training.model import TrainableCodec
from rnnconv_codec.training.trainer import load_state, save_state

TODAY = CompactConfig()
KINDS = ("model", "average", "exp_avg", "exp_avg_sq")
"""What a state holds of a parameter."""


def upgraded(config: CompactConfig) -> CompactConfig:
    """The configuration in its sizes, with the parts of today."""
    context = dataclasses.replace(
        config.context,
        hidden_layers=ContextModelConfig().hidden_layers,
        from_finer=ContextModelConfig().from_finer,
    )
    return dataclasses.replace(
        config,
        fine_decoder_kernel=TODAY.fine_decoder_kernel,
        loop_filter_channels=TODAY.loop_filter_channels,
        rate_aware=TODAY.rate_aware,
        context=context,
    )


def main() -> None:
    """Read, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rate-gain", type=float, default=0.0)
    parser.add_argument("--threshold", type=float, default=0.0)
    options = parser.parse_args()
    state = load_state(options.old)
    before = config_from_dict(state.settings["network"])
    if not isinstance(before, CompactConfig):
        raise SystemExit("only the preset compact has older forms")
    config = upgraded(before)
    torch.manual_seed(1)
    tensors: dict[str, Tensor] = {}
    for name, parameter in TrainableCodec(config).named_parameters():
        for kind in KINDS:
            value = state.tensors.get(f"{kind}.{name}")
            if value is not None and value.shape != parameter.shape:
                centre = value.shape[2] // 2
                value = value[:, :, centre : centre + 1, centre : centre + 1]
            if value is None and kind == "model":
                value = parameter.detach()
                print(f"new: {name} {tuple(value.shape)}")
                if name.endswith("rate_gain"):
                    value = torch.full_like(value, options.rate_gain)
            if kind == "model" and "binarizers" in name and name.endswith("bias"):
                assert value is not None
                value = value + options.threshold
            if value is not None:
                assert value.shape == parameter.shape, name
                tensors[f"{kind}.{name}"] = value.contiguous()
    settings = {**state.settings, "network": config_to_dict(config)}
    save_state(options.new, tensors, state.progress, settings)


if __name__ == "__main__":
    main()
