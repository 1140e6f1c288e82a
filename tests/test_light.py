"""Decoding without torch: the same codes, and pixels within a level, as with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rnnconv_codec import engines
from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect, read_container, write_container
from rnnconv_codec.engines import ENGINE_VARIABLE, light_decoder_for
from rnnconv_codec.entropy.probability_table import make_table
from rnnconv_codec.entropy.stored_context import TABLE_NAME
from rnnconv_codec.errors import (
    ArgumentError,
    ImageSizeError,
    IterationsError,
    ModelMismatchError,
    RnncodecError,
    TruncatedFileWarning,
    WeightsError,
)
from rnnconv_codec.light.convolution import Convolution, depth_to_space, space_to_depth
from rnnconv_codec.light.decoder import LightDecoder
from rnnconv_codec.light.shapes import network_shapes
from rnnconv_codec.networks.config import CompactConfig, ContextModelConfig, TodericiConfig
from rnnconv_codec.networks.recurrent import build_network
from rnnconv_codec.networks.stored_network import LARGEST_WEIGHT
from rnnconv_codec.targets import truncate
from rnnconv_codec.weights import (
    ModelFile,
    list_weights,
    load_model_file,
    save_model_file,
)

GOLDEN = Path(__file__).parent / "golden"
COMPATIBILITY = Path(__file__).parent / "compatibility"
SIZES = [(1, 1), (7, 40), (16, 16), (17, 15), (33, 100), (64, 48)]

Photograph = Callable[[str], Image.Image]


def weights_by_id() -> dict[str, Path]:
    paths = [*list_weights(), *GOLDEN.glob("*.safetensors"), *COMPATIBILITY.glob("*.safetensors")]
    return {load_model_file(path).model_id.hex(): path for path in paths}


def files_with_weights() -> list[tuple[Path, Path]]:
    known = weights_by_id()
    files = [*sorted(GOLDEN.glob("*.rnc")), *sorted(COMPATIBILITY.glob("*.rnc"))]
    pairs = [(file, known.get(inspect(file.read_bytes()).model_id)) for file in files]
    return [(file, weights) for file, weights in pairs if weights is not None]


def assert_alike(data: bytes, codec: Codec, light: LightDecoder) -> None:
    """Codes are equal; the pictures have the same mode, size and metadata, and pixels alike."""
    assert_codes_equal(data, codec, light)
    assert_pictures_alike(codec.decode(data), light.decode(data), is_rounded=rounds(codec))


def assert_codes_equal(data: bytes, codec: Codec, light: LightDecoder) -> None:
    for theirs, ours in zip(codec.decode_codes(data), light.decode_codes(data), strict=True):
        for torchs, numpys in zip(theirs, ours, strict=True):
            assert np.array_equal(torchs[0].permute(1, 2, 0).numpy(), numpys)


def rounds(codec: Codec) -> bool:
    """Whether what the filters take is rounded."""
    return isinstance(codec.config, CompactConfig) and codec.config.int8


def assert_pictures_alike(
    expected: Image.Image, found: Image.Image, *, is_rounded: bool = False
) -> None:
    """Alike but for roundings: of pixels, and, `is_rounded`, of what the filters take."""
    assert_are_roundings(difference_of(expected, found), is_rounded=is_rounded)


def difference_of(expected: Image.Image, found: Image.Image) -> NDArray[np.int64]:
    """Levels (n,) between the samples of pictures of the same mode, size and metadata."""
    assert (found.mode, found.size, found.info) == (expected.mode, expected.size, expected.info)
    levels: NDArray[np.int64] = np.asarray(expected).astype(np.int64) - np.asarray(found)
    return np.abs(levels.ravel())


def assert_are_roundings(difference: NDArray[np.int64], *, is_rounded: bool) -> None:
    # A level is 2/255, float32 has seven digits; 8-bit filters have seven bits.
    assert (difference != 0).mean() <= max(0.15 if is_rounded else 0.01, 2 / difference.size)
    assert (difference > 1).mean() <= (2e-4 if is_rounded else 0)
    assert difference.max() <= 2


@pytest.fixture(scope="module")
def tiny_light(tiny_weights: Path) -> LightDecoder:
    return LightDecoder.load(tiny_weights)


@pytest.fixture(scope="module")
def small_file(tiny_codec: Codec, photograph: Photograph) -> bytes:
    """A file of 60x45 pixels."""
    return tiny_codec.encode(photograph("astronaut").crop((200, 60, 260, 105)))


# --- the same as with torch ------------------------------------------------------------------


@pytest.mark.parametrize(("file", "weights"), files_with_weights(), ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.RnncodecWarning")
def test_files_of_every_kind_decode_alike(file: Path, weights: Path) -> None:
    assert_alike(file.read_bytes(), Codec.load(weights), LightDecoder.load(weights))


def test_every_golden_file_is_among_them() -> None:
    tested = {file.name for file, _ in files_with_weights()}

    assert {file.name for file in GOLDEN.glob("*.rnc")} - tested == {"container-v1.rnc"}


@pytest.mark.parametrize("weights", list_weights(), ids=lambda path: path.stem)
def test_shipped_weights_decode_alike(weights: Path, photograph: Photograph) -> None:
    codec, light = Codec.load(weights), LightDecoder.load(weights)
    data = codec.encode(photograph("coffee").crop((100, 100, 197, 181)))

    # Of one iteration this picture has 24 000 samples: too few to see two of 10 000 in.
    differences = []
    for iterations in range(1, codec.iterations + 1):
        shorter = truncate(data, iterations=iterations)
        assert_codes_equal(shorter, codec, light)
        differences.append(difference_of(codec.decode(shorter), light.decode(shorter)))
    assert_are_roundings(np.concatenate(differences), is_rounded=rounds(codec))


def test_weights_with_the_table_of_today_decode_alike(
    tmp_path: Path, tiny_model: ModelFile, photograph: Photograph
) -> None:
    """It leaves sure codes out, which the tables of the weights above do not."""
    tensors = {**tiny_model.tensors, TABLE_NAME: torch.from_numpy(make_table())}
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tensors, {})
    path = tmp_path / "w.safetensors"
    codec, light = Codec.load(path), LightDecoder.load(path)
    data = codec.encode(photograph("astronaut").crop((200, 60, 300, 150)))

    for size in range(inspect(data).cumulative_bytes[0], len(data) + 100, 100):
        assert_alike(truncate(data, size=size), codec, light)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_decodes_alike(
    size: tuple[int, int], tiny_codec: Codec, tiny_light: LightDecoder, photograph: Photograph
) -> None:
    picture = photograph("astronaut").crop((200, 60, 200 + size[0], 60 + size[1]))

    assert_alike(tiny_codec.encode(picture), tiny_codec, tiny_light)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_grey_and_transparent_pictures_decode_alike(
    mode: str, tiny_codec: Codec, tiny_light: LightDecoder, photograph: Photograph
) -> None:
    picture = photograph("astronaut").crop((200, 60, 240, 95))
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture = picture.convert(mode)
    picture.info["xmp"] = b"<x/>"
    data = tiny_codec.encode(picture)

    assert_alike(data, tiny_codec, tiny_light)
    assert tiny_light.decode(data).mode == mode


def test_parts_of_an_iteration_decode_alike(
    tiny_codec: Codec, tiny_light: LightDecoder, photograph: Photograph
) -> None:
    data = tiny_codec.encode(photograph("astronaut").crop((200, 60, 300, 150)))
    sizes = inspect(data).cumulative_bytes

    for size in range(sizes[0], sizes[-1], 40):
        assert_alike(truncate(data, size=size), tiny_codec, tiny_light)


def test_cut_files_decode_alike_with_the_same_notice(
    tiny_codec: Codec, tiny_light: LightDecoder, small_file: bytes
) -> None:
    for end in (inspect(small_file).cumulative_bytes[0], len(small_file) - 1):
        notices = []
        pictures = []
        for decoder in (tiny_codec, tiny_light):
            with pytest.warns(TruncatedFileWarning) as caught:
                pictures.append(decoder.decode(small_file[:end]))
            notices.append([str(warning.message) for warning in caught])
        assert_pictures_alike(*pictures)
        assert notices[0] == notices[1]


def test_progress_counts_the_iterations(tiny_light: LightDecoder, small_file: bytes) -> None:
    seen: list[tuple[int, int]] = []

    tiny_light.decode(small_file, iterations=2, progress=lambda *done: seen.append(done))

    assert seen == [(1, 2), (2, 2)]


def test_few_iterations_decode_alike(
    tiny_codec: Codec, tiny_light: LightDecoder, small_file: bytes
) -> None:
    for iterations in range(1, 4):
        assert_pictures_alike(
            tiny_codec.decode(small_file, iterations=iterations),
            tiny_light.decode(small_file, iterations=iterations),
        )


# --- the same errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (IterationsError, {"iterations": 0}),
        (IterationsError, {"iterations": 9}),
        (ImageSizeError, {"max_pixels": 100}),
    ],
)
def test_wrong_arguments_are_the_same_errors(
    error: type[Exception],
    arguments: dict[str, Any],
    tiny_codec: Codec,
    tiny_light: LightDecoder,
    small_file: bytes,
) -> None:
    with pytest.raises(error) as theirs:
        tiny_codec.decode(small_file, **arguments)
    with pytest.raises(error) as ours:
        tiny_light.decode(small_file, **arguments)

    assert str(ours.value) == str(theirs.value)


def test_a_file_of_another_model_is_the_same_error(small_file: bytes) -> None:
    other = GOLDEN / "post-filter.safetensors"

    with pytest.raises(ModelMismatchError) as theirs:
        Codec.load(other).decode(small_file)
    with pytest.raises(ModelMismatchError) as ours:
        LightDecoder.load(other).decode(small_file)

    assert str(ours.value) == str(theirs.value)


@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.RnncodecWarning")
def test_damaged_files_end_alike(
    tiny_codec: Codec, tiny_light: LightDecoder, small_file: bytes
) -> None:
    """Segments whose checksums are right: what the range coder says of them."""
    container = read_container(small_file)
    random = np.random.default_rng(1)
    for _ in range(20):
        segments = [random.bytes(len(segment)) for segment in container.segments]
        data = write_container(replace(container, segments=tuple(segments)))
        pictures: list[Image.Image] = []
        errors: list[str] = []
        for decoder in (tiny_codec, tiny_light):
            try:
                pictures.append(decoder.decode(data))
            except RnncodecError as error:
                errors.append(repr(error))
        assert len(set(errors)) == len(errors) / 2
        if pictures:
            assert_pictures_alike(*pictures)


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        CompactConfig(),
        CompactConfig(fine_decoder_kernel=3, loop_filter_channels=0, rate_aware=False),
        CompactConfig(iterations=2, post_filter_channels=20, post_filter_blocks=3),
        CompactConfig(coarse_inputs=5, context=ContextModelConfig(from_finer=False)),
    ],
)
def test_the_shapes_are_those_of_the_network(config: CompactConfig) -> None:
    with torch.device("meta"):
        network = build_network(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}

    assert network_shapes(config) == shapes


def test_what_torch_refuses_is_refused(tmp_path: Path, tiny_model: ModelFile) -> None:
    path = tmp_path / "w.safetensors"
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda tensor: tensor[:-1].contiguous(),
        lambda tensor: tensor.to(torch.float16),
        lambda tensor: tensor.to(torch.bfloat16),
        lambda tensor: torch.full_like(tensor, 127),
        torch.zeros_like,
        lambda tensor: tensor * 2.5 * LARGEST_WEIGHT,
    ]
    # Of what there is for each iteration, the first one is enough.
    repeated = re.compile(r"network\..*(binarizers|dequantisers)\.[1-9]")
    names = [name for name in tiny_model.tensors if not repeated.match(name)]
    for index, name in enumerate(names):
        others = {key: value for key, value in tiny_model.tensors.items() if key != name}
        # Each tensor is left out, and changed in two of these ways.
        changed = [
            {**others, name: change(tiny_model.tensors[name])}
            for change in (changes[index % 6], changes[(index // 6 + index + 3) % 6])
        ]
        for tensors in (others, *changed):
            save_model_file(path, tiny_model.config, tensors, {})
            expected = refused(Codec.load, path)
            assert refused(LightDecoder.load, path) == expected, name
            assert expected is not None or tensors is not others


def refused(load: Callable[[Path], object], path: Path) -> str | None:
    try:
        load(path)
    except WeightsError as error:
        return type(error).__name__
    return None


# --- arithmetic ------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 1), (6, 9)])
def test_a_convolution_is_torchs(kernel: int, size: tuple[int, int]) -> None:
    torch.manual_seed(kernel)
    weight, bias = torch.randint(-9, 9, (7, 5, kernel, kernel)).float(), torch.arange(7.0)
    cells = torch.randint(-9, 9, (1, 5, *size)).float()

    found = Convolution(weight.numpy(), bias.numpy())(cells[0].permute(1, 2, 0).numpy())

    expected = torch.nn.functional.conv2d(cells, weight, bias, padding=kernel // 2)
    assert np.array_equal(found, expected[0].permute(1, 2, 0).numpy())


def test_depth_to_space_is_pixel_shuffle_and_has_its_inverse() -> None:
    cells = torch.arange(4 * 3 * 12.0).view(1, 12, 4, 3)

    found = depth_to_space(cells[0].permute(1, 2, 0).numpy(), 2)

    expected = torch.nn.functional.pixel_shuffle(cells, 2)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)
    assert np.array_equal(space_to_depth(found, 2), cells[0].permute(1, 2, 0).numpy())


# --- when it is used -------------------------------------------------------------------------


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not imported torch."""
    monkeypatch.delitem(sys.modules, "torch")


@pytest.mark.usefixtures("without_torch")
def test_small_pictures_are_decoded_without_torch(
    monkeypatch: pytest.MonkeyPatch, small_file: bytes, tiny_weights: Path
) -> None:
    assert light_decoder_for(small_file, tiny_weights, few_files=True) is not None

    monkeypatch.setattr(engines, "LIGHT_PIXELS", 60 * 45 - 1)
    assert light_decoder_for(small_file, tiny_weights, few_files=True) is None


@pytest.mark.usefixtures("without_torch")
def test_many_files_are_decoded_with_torch(small_file: bytes, tiny_weights: Path) -> None:
    assert light_decoder_for(small_file, tiny_weights, few_files=False) is None


def test_torch_is_used_where_it_is_there(small_file: bytes, tiny_weights: Path) -> None:
    assert light_decoder_for(small_file, tiny_weights, few_files=True) is None


def test_the_environment_can_choose(
    monkeypatch: pytest.MonkeyPatch, small_file: bytes, tiny_weights: Path
) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "light")
    assert light_decoder_for(small_file, tiny_weights, few_files=False) is not None

    monkeypatch.setenv(ENGINE_VARIABLE, "fast")
    with pytest.raises(ArgumentError, match="'fast'"):
        light_decoder_for(small_file, tiny_weights, few_files=True)


def test_weights_that_it_does_not_know_are_left_to_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_file: bytes
) -> None:
    monkeypatch.setenv(ENGINE_VARIABLE, "light")
    config = TodericiConfig(iterations=1)
    save_model_file(tmp_path / "w.safetensors", config, {"network.x": torch.zeros(1)}, {})

    assert light_decoder_for(small_file, tmp_path / "w.safetensors", few_files=True) is None


@pytest.mark.parametrize(
    ("arguments", "imports_torch"),
    [
        (("a.rnc", "-o", "a.png"), False),
        (("a.rnc", "-o", "a.jpg", "--threads", "1", "--iterations", "2"), False),
        (("a.rnc", "b.rnc", "--output-dir", "out"), False),
        (("a.rnc", "b.rnc", "c.rnc", "--output-dir", "out"), True),
    ],
    ids=["one", "options", "few", "many"],
)
def test_the_command_imports_torch_only_for_many(
    arguments: tuple[str, ...], imports_torch: bool, tmp_path: Path, small_file: bytes
) -> None:
    for name in ("a.rnc", "b.rnc", "c.rnc"):
        (tmp_path / name).write_bytes(small_file)
    script = (
        "import sys\n"
        "from rnnconv_codec.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    weights = ("--weights", str(GOLDEN / "tiny.safetensors"))

    done = subprocess.run(
        [sys.executable, "-c", script, "decode", *arguments, *weights],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stderr == f"{imports_torch}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("whole.rnc", "-o", "out.png"),
        ("whole.rnc", "-o", "out.ppm", "--iterations", "2", "--strip", "all"),
        ("whole.rnc", "-o", "out.jpg", "--bpp", "2", "--background", "red"),
        ("whole.rnc", "-o", "out.png", "--iterations", "9"),
        ("whole.rnc", "-o", "out.png", "--size", "10"),
        ("whole.rnc", "-o", "out.png", "--max-pixels", "2699"),
        ("whole.rnc", "-o", "out.png", "--weights", "compact-mse"),
        ("whole.rnc", "-o", "out.png", "--weights", "whole.rnc"),
        ("whole.rnc", "-o", "out.png", "--weights", "missing"),
        ("cut.rnc", "-o", "out.png"),
        ("damaged.rnc", "-o", "out.png"),
        ("whole.rnc", "damaged.rnc", "--output-dir", "out", "--json"),
    ],
    ids=" ".join,
)
def test_the_command_says_the_same(
    arguments: tuple[str, ...],
    tmp_path: Path,
    small_file: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damaged = bytearray(small_file)
    damaged[-9] ^= 1
    weights = () if "--weights" in arguments else ("--weights", str(GOLDEN / "tiny.safetensors"))
    said = []
    for engine in ("torch", "light"):
        folder = tmp_path / engine
        folder.mkdir()
        monkeypatch.chdir(folder)
        for name, data in (
            ("whole", small_file),
            ("cut", small_file[:-20]),
            ("damaged", bytes(damaged)),
        ):
            (folder / f"{name}.rnc").write_bytes(data)
        done = CliRunner(catch_exceptions=False).invoke(
            cli, ["decode", *arguments, *weights], env={ENGINE_VARIABLE: engine}
        )
        text = re.sub(r"[\d.]+ s$|\"seconds\": [\d.e-]+", "", done.output, flags=re.MULTILINE)
        text = text.replace(str(folder), "")
        files = sorted(path.name for path in folder.rglob("*") if path.suffix != ".rnc")
        said.append((done.exit_code, text, files))

    assert said[0] == said[1]
