"""The tensors of the compact network, by its configuration: what a weights file must have.

The torch network knows them by itself. Here all of them are listed, those of the encoder too, so
that weights are refused without torch if they are with it.
"""

from __future__ import annotations

from rnnconv_codec.networks.config import (
    FINE_STRIDE,
    POST_FILTER_STRIDE,
    SYNTHESIS_CHANNELS,
    CompactConfig,
)
from rnnconv_codec.networks.levels import RANGED_PARTS

Shapes = dict[str, tuple[int, ...]]


def network_shapes(config: CompactConfig) -> Shapes:
    """Shape of each tensor of `networks.compact.CompactNetwork`, by name."""
    coarse, fine = config.coarse_coefficients, config.fine_coefficients
    coarse_states, fine_states = config.coarse_decoder_channels, config.fine_decoder_channels
    iterations = config.iterations
    shapes: Shapes = {
        "log_gain": (iterations,),
        "code_scale": (iterations,),
        "coarse_state_scale": (coarse_states,),
        "fine_state_scale": (fine_states,),
        "analysis.weight": (config.analysis_channels, 3, 16, 16),
        "coarse_analysis.weight": (coarse, config.coarse_inputs, 4, 4),
        **_cell("coarse_encoder", coarse, coarse, 1),
        **_cell("fine_encoder", fine, fine, 1),
        **_cell("coarse_decoder", coarse, coarse_states, 3),
        **_convolution("coarse_synthesis", coarse_states, coarse, 3),
        **_cell("fine_decoder", config.analysis_channels, fine_states, config.fine_decoder_kernel),
        **_convolution("synthesis", fine_states, SYNTHESIS_CHANNELS, 3),
    }
    for name, codes, coefficients in (
        ("coarse", config.coarse_codes, coarse),
        ("fine", config.fine_codes, fine),
    ):
        for index in range(iterations):
            shapes |= _convolution(f"{name}_binarizers.{index}", coefficients, codes, 1)
            shapes |= _convolution(f"{name}_dequantisers.{index}", codes, coefficients, 1)
        if config.rate_aware:
            shapes[f"{name}_rate_gain"] = (iterations, codes)
    if config.loop_filter_channels:
        shapes |= _loop_filter(config)
    if config.post_filter_channels:
        shapes |= _post_filter(config)
    if config.int8:
        shapes |= _input_scales(shapes, iterations)
    return shapes


def _input_scales(shapes: Shapes, iterations: int) -> Shapes:
    """Of the convolutions in 8 bits: see `CompactNetwork.ranged_convolutions`."""
    suffix = ".weight"
    return {
        f"{name.removesuffix(suffix)}.input_scale": (iterations, shape[1])
        for name, shape in shapes.items()
        if name.startswith(RANGED_PARTS) and name.endswith(suffix)
    }


def _convolution(name: str, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> Shapes:
    weight: Shapes = {f"{name}.weight": (outputs, inputs, kernel, kernel)}
    return {**weight, f"{name}.bias": (outputs,)} if bias else weight


def _cell(name: str, inputs: int, hidden: int, kernel: int) -> Shapes:
    return {
        **_convolution(f"{name}.conv_ih", inputs, 3 * hidden, kernel),
        **_convolution(f"{name}.conv_hh", hidden, 2 * hidden, 1),
        **_convolution(f"{name}.conv_u", hidden, hidden, 1),
    }


def _loop_filter(config: CompactConfig) -> Shapes:
    states, hidden = config.fine_decoder_channels, config.loop_filter_channels
    return {
        **_convolution("loop_filter.features", states, hidden, 3, bias=False),
        **_convolution("loop_filter.correction", hidden, SYNTHESIS_CHANNELS, 3, bias=False),
        "loop_filter.bias": (config.iterations, hidden),
        "loop_filter.gain": (config.iterations, SYNTHESIS_CHANNELS),
    }


def _post_filter(config: CompactConfig) -> Shapes:
    channels, states = config.post_filter_channels, config.fine_decoder_channels
    samples = 3 * POST_FILTER_STRIDE**2
    cells = (FINE_STRIDE // POST_FILTER_STRIDE) ** 2
    shapes: Shapes = {
        **_convolution("post_filter.features", states, 2 * channels, 3, bias=False),
        **_convolution("post_filter.spread", 2 * channels, cells * channels, 1, bias=False),
        **_convolution("post_filter.pixels", samples, channels, 3, bias=False),
        **_convolution("post_filter.correction", channels, samples, 3, bias=False),
        "post_filter.feature_bias": (config.iterations, 2 * channels),
        "post_filter.bias": (config.iterations, channels),
        "post_filter.gain": (config.iterations, samples),
    }
    for index in range(config.post_filter_blocks):
        name = f"post_filter.blocks.{index}"
        shapes |= _convolution(f"{name}.first", channels, channels, 3)
        shapes |= _convolution(f"{name}.second", channels, channels, 3, bias=False)
    return shapes
