"""Configurations of the networks: frozen dataclasses that travel with the weights as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rnnconv_codec.errors import WeightsFormatError

SIZE_MULTIPLE = 16
"""Networks take images whose sides are multiples of this; the codec pads to it."""

FINE_STRIDE = 8
"""Pixels per cell of the fine grid of the compact network."""

SYNTHESIS_CHANNELS = 3 * FINE_STRIDE**2
"""Outputs of its synthesis: an 8x8 block of colour pixels per cell of the fine grid."""

POST_FILTER_STRIDE = 4
"""Pixels per cell of the post-filter's own grid, along each axis.

Coarser, its convolutions are cheap but each sees a block as a whole; finer, they see pixels, but
a multiply-add of few channels takes longer on a CPU.
"""

MAX_CHANNELS = 4096
"""No layer may be wider: a guard against absurd configurations in a weights file."""

MAX_MODEL_ITERATIONS = 64
"""No model may have more iterations: the same guard."""


def round_up(rows: int) -> int:
    """The next multiple of `SIZE_MULTIPLE`."""
    return -(-rows // SIZE_MULTIPLE) * SIZE_MULTIPLE


@dataclass(frozen=True)
class CodeGrid:
    """One grid of binary codes.

    Attributes:
        channels: codes per cell and iteration.
        stride: pixels per cell along each axis.
    """

    channels: int
    stride: int


@dataclass(frozen=True)
class ContextModelConfig:
    """Sizes of the context model (DESIGN, section 3).

    Attributes:
        hidden_channels: channels of its running state and of every hidden layer.
        groups: channel groups coded one after the other inside an iteration.
        hidden_layers: 3x3 layers between the running state and the logits.
        from_finer: whether a grid sees the earlier iterations of the next finer grid.
    """

    hidden_channels: int = 96
    groups: int = 4
    hidden_layers: int = 2
    from_finer: bool = True


@dataclass(frozen=True)
class CompactConfig:
    """The two-grid network that ships with weights (DESIGN, section 2).

    Attributes:
        iterations: T.
        analysis_channels: coefficients per cell of the fine grid.
        coarse_inputs: the lowest of them, which the coarse grid takes over.
        coarse_codes: codes per cell of the coarse grid and iteration.
        fine_codes: codes per cell of the fine grid and iteration.
        coarse_decoder_channels: state of the decoder's cell on the coarse grid.
        fine_decoder_channels: state of the decoder's cell on the fine grid.
        fine_decoder_kernel: of that cell's input convolution.
        loop_filter_channels: hidden channels of the in-loop filter; 0 is no filter.
        rate_aware: whether the logit of a code takes part in its decision.
        post_filter_channels: of the filter of shown pictures; 0 is no filter.
        post_filter_blocks: its residual blocks.
        int8: whether filters and encoder are computed in 8-bit integers (`networks.prepared`).
        int8_decoder: whether what the decoder's cells make of codes is, and, with `int8`, the fine
            one's gates of its state.
        context: sizes of the context model.
    """

    iterations: int = 8
    analysis_channels: int = 128
    coarse_inputs: int = 24
    coarse_codes: int = 192
    fine_codes: int = 96
    coarse_decoder_channels: int = 112
    fine_decoder_channels: int = 160
    fine_decoder_kernel: int = 1
    loop_filter_channels: int = 128
    rate_aware: bool = True
    post_filter_channels: int = 0
    post_filter_blocks: int = 0
    int8: bool = False
    int8_decoder: bool = False
    context: ContextModelConfig = field(default_factory=ContextModelConfig)

    preset = "compact"

    @property
    def coarse_coefficients(self) -> int:
        """Channels of the coarse analysis: a 2x2 block of each of its inputs."""
        return 4 * self.coarse_inputs

    @property
    def fine_coefficients(self) -> int:
        """Channels of the fine analysis that are coded on the 1/8 grid."""
        return self.analysis_channels - self.coarse_inputs

    @property
    def grids(self) -> tuple[CodeGrid, ...]:
        """The code grids, coarsest first, in the order in which they are coded."""
        coarse = CodeGrid(self.coarse_codes, 2 * FINE_STRIDE)
        return (coarse, CodeGrid(self.fine_codes, FINE_STRIDE))


@dataclass(frozen=True)
class TodericiConfig:
    """The GRU one-shot network in the paper's sizes (Toderici et al. 2017, figure 1)."""

    iterations: int = 16
    stem_channels: int = 64
    encoder_channels: tuple[int, int, int] = (256, 512, 512)
    codes: int = 32
    decoder_channels: tuple[int, int, int, int] = (512, 512, 256, 128)
    decoder_input_channels: int = 512
    context: ContextModelConfig = field(default_factory=ContextModelConfig)

    preset = "toderici"

    @property
    def grids(self) -> tuple[CodeGrid, ...]:
        """One grid of codes, a cell per 16x16 pixels."""
        return (CodeGrid(self.codes, 16),)


NetworkConfig = CompactConfig | TodericiConfig

PRESETS: dict[str, type[CompactConfig] | type[TodericiConfig]] = {
    "compact": CompactConfig,
    "toderici": TodericiConfig,
}


FIRST_COMPACT: dict[str, Any] = {
    "fine_decoder_kernel": 3,
    "loop_filter_channels": 0,
    "rate_aware": False,
}
"""What a configuration means that was saved before these fields were there."""

FIRST_CONTEXT: dict[str, Any] = {"hidden_layers": 1, "from_finer": False}
"""The same for its context model."""

OPTIONAL_PARTS = ("loop_filter_channels", "post_filter_channels", "post_filter_blocks")
"""Sizes that may be 0: the part is left out then."""


SWITCHES = ("rate_aware", "int8", "int8_decoder", "from_finer")
"""Fields that are true or false."""


def config_to_dict(config: NetworkConfig) -> dict[str, Any]:
    """The configuration as plain JSON types, with its preset's name."""
    return {"preset": config.preset, **asdict(config)}


def config_from_dict(fields: Mapping[str, Any]) -> NetworkConfig:
    """The inverse of `config_to_dict`.

    Raises:
        WeightsFormatError: unknown preset or field, or a size out of range.
    """
    values = dict(fields)
    preset = values.pop("preset", None)
    if preset not in PRESETS:
        raise WeightsFormatError(f"unknown preset {preset!r} in the configuration")
    try:
        context = ContextModelConfig(**{**FIRST_CONTEXT, **values.pop("context", {})})
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        if preset == CompactConfig.preset:
            values = {**FIRST_COMPACT, **values}
        config = PRESETS[preset](context=context, **values)
        _check_sizes(config)
    except (TypeError, AttributeError) as error:
        raise WeightsFormatError(f"bad configuration of preset {preset}: {error}") from error
    return config


def _check_sizes(config: NetworkConfig) -> None:
    sizes: list[tuple[str, Any]] = []
    fields = {**asdict(config), **asdict(config.context)}
    for name in SWITCHES:
        if not isinstance(fields.get(name, False), bool):
            raise WeightsFormatError(f"configuration: {name} is {fields[name]!r}")
    for name, value in fields.items():
        if name not in ("context", *SWITCHES):
            entries = value if isinstance(value, tuple) else (value,)
            sizes.extend((name, entry) for entry in entries)
    for name, size in sizes:
        limit = MAX_MODEL_ITERATIONS if name == "iterations" else MAX_CHANNELS
        least = 0 if name in OPTIONAL_PARTS else 1
        if not isinstance(size, int) or isinstance(size, bool) or not least <= size <= limit:
            raise WeightsFormatError(f"configuration: {name} is {size!r}, not in {least}..{limit}")
    if isinstance(config, CompactConfig):
        _check_widths(config)
    else:
        _check_layers(config.encoder_channels, config.decoder_channels)
    for channels in (*(g.channels for g in config.grids), config.context.hidden_channels):
        if channels % config.context.groups:
            raise WeightsFormatError(
                f"configuration: {channels} channels do not divide into "
                f"{config.context.groups} groups"
            )


def _check_widths(config: CompactConfig) -> None:
    """The decoder's states must have room for the coefficients, its kernel a centre."""
    if config.fine_decoder_kernel % 2 == 0:
        raise WeightsFormatError("configuration: fine_decoder_kernel is even")
    if config.coarse_inputs >= config.analysis_channels:
        raise WeightsFormatError("configuration: coarse_inputs leave no fine coefficients")
    for decoder, coefficients in (
        ("coarse_decoder_channels", config.coarse_coefficients),
        ("fine_decoder_channels", config.analysis_channels),
    ):
        if getattr(config, decoder) < coefficients:
            raise WeightsFormatError(
                f"configuration: {decoder} is below the {coefficients} coefficients it holds"
            )


def _check_layers(encoder: Sequence[int], decoder: Sequence[int]) -> None:
    """Three encoder and four decoder cells, the latter's states fit for depth-to-space."""
    if len(encoder) != 3 or len(decoder) != 4:
        raise WeightsFormatError("configuration: 3 encoder and 4 decoder cells are needed")
    if any(width % 4 for width in decoder):
        raise WeightsFormatError("configuration: depth-to-space needs multiples of 4 channels")
