"""How large the inputs of a network's convolutions become: what its 8-bit arithmetic needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.compact import CompactNetwork
from rnnconv_codec.networks.config import CompactConfig
from rnnconv_codec.networks.int8 import INPUT_SCALE
from rnnconv_codec.training.images import CropSampler, load_images
from rnnconv_codec.training.model import TrainableCodec, code_batch
from rnnconv_codec.training.post_filter import shown
from rnnconv_codec.weights import ModelFile

CROP_SIZE = 256
CROPS = 48
"""Enough that some are extreme: values beyond the largest seen here are cut off."""

SEED = 1


def calibrated(codec: TrainableCodec, folder: Path) -> TrainableCodec:
    """A finished codec with the scales that let much of it run in 8 bits.

    Args:
        codec: of the compact preset.
        folder: photographs.

    Raises:
        TrainingError: the preset has no 8-bit arithmetic, or there are no images large enough.
    """
    network = codec.network
    if not isinstance(network, CompactNetwork):
        raise TrainingError(f"preset {codec.config.preset} has no 8-bit arithmetic to calibrate")
    sampler = CropSampler(load_images(folder, CROP_SIZE), CROP_SIZE, 1, SEED)
    with torch.inference_mode(), _measured(network) as largest:
        for index in range(CROPS):
            shown(codec, code_batch(codec, sampler.batch(index)))
    result = TrainableCodec(dataclasses.replace(network.config, int8=True, int8_decoder=True))
    scales = {f"network.{name}.input_scale": scale for name, scale in largest.items()}
    result.load_state_dict({**codec.state_dict(), **scales})
    return result


def uncalibrated(model: ModelFile) -> ModelFile:
    """Weights with 8-bit arithmetic without it, all in float32: what they are compared with."""
    if not isinstance(model.config, CompactConfig):
        return model
    return dataclasses.replace(
        model,
        config=dataclasses.replace(model.config, int8=False, int8_decoder=False),
        tensors={
            name: tensor
            for name, tensor in model.tensors.items()
            if not name.endswith(f".{INPUT_SCALE}")
        },
    )


@contextmanager
def _measured(network: CompactNetwork) -> Iterator[dict[str, Tensor]]:
    """While active, the largest inputs of each convolution, (iterations, channels).

    What never runs, as the recurrent convolutions in the first iteration, counts as 1.
    """
    iterations = network.config.iterations
    seen: dict[str, Tensor] = {}
    current = 0

    def knowing_iteration(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            nonlocal current
            current = arguments[-1]
            return call(*arguments)

        return wrapper

    def seeing(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest = inputs[0].abs().amax((0, 2, 3))
            row = seen[name][current]
            torch.maximum(row, largest, out=row)

        return see

    hooks = []
    for name, convolution in network.ranged_convolutions():
        seen[name] = torch.zeros(iterations, convolution.in_channels)
        hooks.append(convolution.register_forward_pre_hook(seeing(name)))
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.remove)
        for name in ("encode_iteration", "synthesise", "show"):
            setattr(network, name, knowing_iteration(getattr(network, name)))
            stack.callback(delattr, network, name)
        yield seen
    for scale in seen.values():
        scale[scale == 0] = 1
