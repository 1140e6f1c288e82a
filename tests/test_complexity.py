"""What a model costs, counted while it runs, and `rnncodec info --model`, which prints it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec, network_tensors
from rnnconv_codec.complexity import CONTEXT_MODEL, count_multiply_adds
from rnnconv_codec.entropy.context_model import ContextModel
from rnnconv_codec.entropy.int8 import int8_operations
from rnnconv_codec.entropy.integer_model import export_context
from rnnconv_codec.entropy.segments import SegmentCoder
from rnnconv_codec.networks.config import ContextModelConfig, NetworkConfig, TodericiConfig
from rnnconv_codec.networks.recurrent import build_network
from rnnconv_codec.networks.strips import Strip
from rnnconv_codec.weights import (
    DEFAULT_WEIGHTS,
    ModelFile,
    find_weights,
    list_weights,
    load_model_file,
)

COMPACT_PARTS = (
    "analysis", "encoder GRUs", "binarizers", "dequantisers", "decoder GRUs", "synthesis",
    CONTEXT_MODEL,
)  # fmt: skip


def info(*arguments: str | Path) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli, ["info", *map(str, arguments)])


@pytest.mark.parametrize("path", list_weights(), ids=lambda path: path.stem)
def test_the_shipped_weights_stay_within_their_bars(path: Path) -> None:
    cost = count_multiply_adds(Codec.load(path))

    assert 10_000 < cost.encode.total <= 26_000
    assert 10_000 < cost.decode.total <= 18_000


def test_parts_are_those_of_the_network_and_add_up(tiny_codec: Codec) -> None:
    cost = count_multiply_adds(tiny_codec)

    assert tuple(cost.encode.parts) == COMPACT_PARTS
    assert tuple(cost.decode.parts) == COMPACT_PARTS[3:]
    picture = Image.new("RGB", (32, 48))
    with FlopCounterMode(display=False, custom_mapping=int8_operations()) as counter:
        tiny_codec.encode(picture)
    per_pixel = counter.get_total_flops() / (2 * 32 * 48 * tiny_codec.iterations)
    assert cost.encode.total == pytest.approx(per_pixel)


def test_the_synthesis_runs_once_per_decoded_picture(tiny_codec: Codec) -> None:
    cost = count_multiply_adds(tiny_codec)
    coarse, fine = (
        tiny_codec.network.get_parameter(f"{name}.weight").numel() / stride**2
        for name, stride in (("coarse_synthesis", 16), ("synthesis", 8))
    )

    assert cost.decode.parts["synthesis"] == pytest.approx(coarse + fine / tiny_codec.iterations)
    assert cost.encode.parts["synthesis"] > cost.decode.parts["synthesis"]


def test_the_context_model_is_all_that_is_not_in_the_network(
    tiny_codec: Codec, tiny_model: ModelFile
) -> None:
    steps = list(tiny_codec.encode_iterations(Image.new("RGB", (32, 32))))
    coder = SegmentCoder(tiny_codec._context, [Strip(0, 32, 32)], 32)
    counter = FlopCounterMode(display=False, custom_mapping=int8_operations())
    with counter, torch.inference_mode():
        for step in steps:
            coder.encode(step.codes, [None] * len(step.codes))
    alone = counter.get_total_flops() / (2 * 32**2 * tiny_codec.iterations)

    cost = count_multiply_adds(tiny_codec)

    assert cost.encode.parts[CONTEXT_MODEL] == pytest.approx(alone)
    assert cost.decode.parts[CONTEXT_MODEL] == pytest.approx(alone)


def with_random_weights(config: NetworkConfig) -> Codec:
    network = build_network(config)
    context = ContextModel(config.grids, config.iterations, config.context)
    tensors = {**network_tensors(network), **export_context(context)}
    return Codec(ModelFile("random", bytes(8), config, {}, tensors))


def test_a_layer_that_is_added_is_counted_under_its_own_name(tiny_codec: Codec) -> None:
    codec = with_random_weights(tiny_codec.config)
    before = count_multiply_adds(codec).encode
    synthesise = codec.network.synthesise
    codec.network.extra_layer = torch.nn.Conv2d(3, 3, 3, padding=1)
    codec.network.synthesise = (  # type: ignore[method-assign]
        lambda state, iteration: codec.network.get_submodule("extra_layer")(
            synthesise(state, iteration)
        )
    )

    after = count_multiply_adds(codec).encode

    # Nobody looks at the picture of the last iteration.
    share = (codec.iterations - 1) / codec.iterations
    assert after.parts["extra layer"] == 3 * 3 * 3 * 3 * share
    assert {**after.parts, "extra layer": 0} == {**before.parts, "extra layer": 0}


def test_the_parts_of_the_other_preset_are_known_too() -> None:
    small = TodericiConfig(
        iterations=2,
        stem_channels=4,
        encoder_channels=(8, 8, 8),
        codes=8,
        decoder_channels=(8, 8, 8, 8),
        decoder_input_channels=8,
        context=ContextModelConfig(hidden_channels=8, groups=4),
    )

    assert tuple(count_multiply_adds(with_random_weights(small)).encode.parts) == COMPACT_PARTS


# --- rnncodec info --model -------------------------------------------------------------------


def test_info_tells_what_weights_are_and_cost(tiny_weights: Path, tiny_model: ModelFile) -> None:
    result = info("--model", tiny_weights)

    assert result.exit_code == 0
    assert f"{tiny_weights.stat().st_size} bytes" in result.stdout
    assert tiny_model.model_id.hex() in result.stdout
    for part in (*COMPACT_PARTS, "total"):
        assert any(line.startswith(f"{part} ") for line in result.stdout.splitlines())


def test_info_without_a_name_describes_the_default_weights() -> None:
    found = json.loads(info("--model", "--json").stdout)
    path = find_weights(DEFAULT_WEIGHTS)
    model = load_model_file(path)

    assert found["name"] == DEFAULT_WEIGHTS
    assert found["path"] == str(path)
    assert found["model_id"] == model.model_id.hex()
    assert (found["preset"], found["iterations"]) == ("compact", model.config.iterations)
    assert found["parameters"] == sum(tensor.numel() for tensor in model.tensors.values())
    assert found["file_bytes"] == path.stat().st_size
    assert found["training"] == model.training
    cost = count_multiply_adds(Codec(model))
    assert found["multiply_adds"]["encode"] == {
        "total": cost.encode.total,
        "parts": cost.encode.parts,
    }
    assert found["multiply_adds"]["decode"]["total"] == cost.decode.total
    assert "joint" in info("--model").stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [((), 2), (("photo.rnc", "--model", "compact-mse"), 2), (("--model", "no-such-weights"), 1)],
    ids=["neither", "both", "unknown"],
)
def test_a_file_or_weights_not_both(arguments: tuple[str, ...], status: int) -> None:
    result = info(*arguments)

    assert result.exit_code == status
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
