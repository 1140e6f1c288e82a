"""What a model costs: multiply-adds per pixel and iteration, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rnnconv_codec.codec import Codec
from rnnconv_codec.entropy.int8 import int8_operations

COUNTED_SIZE = 32
"""Side of the picture that is coded; a multiple of every stride, so that nothing is padded."""

CONTEXT_MODEL = "context model"

# Attribute of a network -> part that it belongs to, in the order in which data pass.
_PARTS = {
    "stem": "analysis",
    "analysis": "analysis",
    "coarse_analysis": "analysis",
    "encoder": "encoder GRUs",
    "coarse_encoder": "encoder GRUs",
    "fine_encoder": "encoder GRUs",
    "binarizer": "binarizers",
    "coarse_binarizers": "binarizers",
    "fine_binarizers": "binarizers",
    "decoder_input": "dequantisers",
    "coarse_dequantisers": "dequantisers",
    "fine_dequantisers": "dequantisers",
    "decoder": "decoder GRUs",
    "coarse_decoder": "decoder GRUs",
    "fine_decoder": "decoder GRUs",
    "coarse_synthesis": "synthesis",
    "synthesis": "synthesis",
    "loop_filter": "in-loop filter",
    "output": "synthesis",
    "post_filter": "post-filter",
}


@dataclass(frozen=True)
class Cost:
    """Multiply-adds per pixel and iteration, mean over all iterations of the model.

    Those of convolutions; what is done once per sample (gates, tanh, range coding) is not counted.

    Attributes:
        parts: by name, in the order in which data pass.
    """

    parts: dict[str, float]

    @property
    def total(self) -> float:
        """Of all parts."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class ModelCost:
    """What a model costs.

    Attributes:
        encode: all iterations, with the decoder that the encoder runs beside itself.
        decode: all iterations; the synthesis runs once per picture.
    """

    encode: Cost
    decode: Cost


def count_multiply_adds(codec: Codec) -> ModelCost:
    """Code a small picture and count what the convolutions do."""
    picture = Image.linear_gradient("L").resize((COUNTED_SIZE, COUNTED_SIZE)).convert("RGB")
    data = codec.encode(picture)
    # Parts are prepared when they first run; the encoder does not need the last decoder step.
    codec.decode(data)
    return ModelCost(
        encode=_count(codec, lambda: codec.encode(picture)),
        decode=_count(codec, lambda: codec.decode(data)),
    )


def modules_by_part(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a network calls, and the part that each belongs to.

    One that `_PARTS` does not know is a part of its own.
    """
    for attribute, child in network.named_children():
        part = _PARTS.get(attribute, attribute.replace("_", " "))
        for module in child if isinstance(child, nn.ModuleList) else (child,):
            yield part, module


def _count(codec: Codec, run: Callable[[], object]) -> Cost:
    counter = FlopCounterMode(display=False, custom_mapping=int8_operations())
    counts: dict[str, float] = dict.fromkeys(dict.fromkeys(_PARTS.values()), 0)
    with _counted_modules(codec.network, counter, counts), counter:
        run()
    # Convolutions outside of the network's modules are the context model's.
    counts[CONTEXT_MODEL] = counter.get_total_flops() - sum(counts.values())
    # torch counts a multiply-add as two operations.
    share = 1 / (2 * COUNTED_SIZE**2 * codec.iterations)
    return Cost({part: share * count for part, count in counts.items() if count})


@contextmanager
def _counted_modules(
    network: nn.Module, counter: FlopCounterMode, counts: dict[str, float]
) -> Iterator[None]:
    """While active, each call of a part of the network adds its operations to `counts`."""
    started: list[int] = []

    def before(module: nn.Module, inputs: Any) -> None:
        started.append(counter.get_total_flops())

    def after(part: str) -> Callable[[nn.Module, Any, Any], None]:
        def add(module: nn.Module, inputs: Any, output: Any) -> None:
            counts[part] = counts.get(part, 0) + counter.get_total_flops() - started.pop()

        return add

    handles = []
    for part, module in modules_by_part(network):
        handles.append(module.register_forward_pre_hook(before))
        handles.append(module.register_forward_hook(after(part)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
