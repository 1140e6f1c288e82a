"""Pictures through the whole codec."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

import rnnconv_codec
from rnnconv_codec import container
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import Container, Header, PixelMode, read_container, write_container
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.errors import (
    CodeSegmentError,
    ContainerError,
    ImageSizeError,
    IterationsError,
    ModelMismatchError,
    TruncatedFileWarning,
    WeightsFormatError,
    WeightsNotFoundError,
)
from rnnconv_codec.metrics import psnr
from rnnconv_codec.networks.config import TodericiConfig
from rnnconv_codec.networks.recurrent import State
from rnnconv_codec.networks.stored_network import LARGEST_WEIGHT
from rnnconv_codec.training.export import weights_tensors
from rnnconv_codec.training.model import TrainableCodec
from rnnconv_codec.weights import ModelFile, load_model_file, save_model_file

Photograph = Callable[[str], Image.Image]

SIZES = [
    (1, 1),
    (1, 97),
    (97, 1),
    (2, 2),
    (15, 16),
    (16, 16),
    (17, 3),
    (33, 31),
    (64, 100),
    (151, 67),
]
GOLDEN = Path(__file__).parent / "golden"


def pixels(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(image)


@pytest.mark.parametrize("size", SIZES)
def test_every_iteration_decodes_to_what_the_encoder_computed(
    tiny_codec: Codec, photograph: Photograph, size: tuple[int, int]
) -> None:
    picture = photograph("coffee").crop((100, 80, 100 + size[0], 80 + size[1]))

    steps = list(tiny_codec.encode_iterations(picture))
    data = tiny_codec.pack(picture, [step.segment for step in steps])

    for count, step in enumerate(steps, 1):
        decoded = tiny_codec.decode(data, iterations=count)
        assert decoded.size == size and decoded.mode == "RGB"
        assert np.array_equal(pixels(decoded), pixels(step.picture))


def test_decoded_codes_are_the_encoded_codes(tiny_codec: Codec, photograph: Photograph) -> None:
    picture = photograph("chelsea").crop((100, 50, 231, 137))
    steps = list(tiny_codec.encode_iterations(picture))

    decoded = tiny_codec.decode_codes(tiny_codec.pack(picture, [s.segment for s in steps]))

    for step, codes in zip(steps, decoded, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(step.codes, codes, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_the_oracle_writes_and_reads_the_same_file(
    tiny_codec: Codec, tiny_model: ModelFile, photograph: Photograph, dtype: torch.dtype
) -> None:
    picture = photograph("rocket").crop((200, 100, 300, 160))
    data = tiny_codec.encode(picture)

    oracle = Codec(tiny_model, context_dtype=dtype)

    assert oracle.encode(picture) == data
    for ours, theirs in zip(tiny_codec.decode_codes(data), oracle.decode_codes(data), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_more_iterations_are_better_and_larger(tiny_codec: Codec, photograph: Photograph) -> None:
    picture = photograph("astronaut").crop((100, 0, 356, 256))

    steps = list(tiny_codec.encode_iterations(picture))

    qualities = [psnr(step.picture, picture) for step in steps]
    assert qualities == sorted(qualities)
    assert qualities[-1] > 20
    assert all(len(step.segment) > 50 for step in steps)


def test_the_caller_of_an_iteration_is_not_in_inference_mode(
    tiny_codec: Codec, photograph: Photograph
) -> None:
    picture = photograph("astronaut").crop((0, 0, 50, 70))

    for first, second in zip(
        tiny_codec.encode_iterations(picture), tiny_codec.encode_iterations(picture), strict=True
    ):
        assert not torch.is_inference_mode_enabled()
        assert first.picture.tobytes() == second.picture.tobytes()
    assert not torch.is_inference_mode_enabled()


def test_truncating_equals_encoding_with_fewer_iterations(
    tiny_codec: Codec, photograph: Photograph
) -> None:
    picture = photograph("astronaut").crop((0, 0, 50, 70))
    whole = tiny_codec.encode(picture)

    for count in range(1, tiny_codec.iterations + 1):
        cut = rnnconv_codec.truncate(whole, iterations=count)
        assert cut == tiny_codec.encode(picture, iterations=count)


def test_grey_stays_grey(tiny_codec: Codec, photograph: Photograph) -> None:
    grey = photograph("coffee").crop((0, 0, 80, 48)).convert("L")

    decoded = tiny_codec.decode(tiny_codec.encode(grey))

    assert decoded.mode == "L" and decoded.size == (80, 48)
    assert psnr(decoded, grey) > 20


@pytest.fixture(scope="module", params=["", "rate-aware-", "post-filter-", "int8-"])
def golden(request: pytest.FixtureRequest, tiny_codec: Codec) -> tuple[Codec, str]:
    """The small model of a network, and the prefix of its golden files."""
    prefix: str = request.param
    return (Codec.load(GOLDEN / f"{prefix[:-1]}.safetensors") if prefix else tiny_codec), prefix


@pytest.mark.parametrize("name", ["colour", "grey"])
def test_golden_files_decode_as_they_did(golden: tuple[Codec, str], name: str) -> None:
    codec, prefix = golden
    label = prefix + name
    data = (GOLDEN / f"{label}-v1.rnc").read_bytes()
    expected = json.loads((GOLDEN / f"{label}-v1.codes.json").read_text())

    codes = [
        [np.packbits(grid.numpy().ravel() > 0).tobytes().hex() for grid in grids]
        for grids in codec.decode_codes(data)
    ]
    decoded = pixels(codec.decode(data)).astype(int)

    assert codes == expected
    with Image.open(GOLDEN / f"{label}-v1.png") as picture:
        assert np.abs(decoded - pixels(picture)).max() <= most_levels(prefix)


def most_levels(prefix: str) -> int:
    """The networks are floating point: another machine may round a level differently.

    If it rounds what becomes 8 bits, a few samples differ by two.
    """
    return 2 if prefix == "int8-" else 1


def test_a_golden_file_with_a_partial_iteration_decodes_as_it_did(
    golden: tuple[Codec, str],
) -> None:
    codec, prefix = golden
    data = (GOLDEN / f"{prefix}part-v1.rnc").read_bytes()
    expected = json.loads((GOLDEN / f"{prefix}part-v1.codes.json").read_text())
    whole = (GOLDEN / f"{prefix}colour-v1.rnc").read_bytes()

    # Expected values of codes are multiples of 2^-15.
    last = codec.decode_codes(data)[-1]
    codes = [(grid.double() * 2**15).int().ravel().tolist() for grid in last]
    decoded = pixels(codec.decode(data)).astype(int)

    assert data == rnnconv_codec.truncate(whole, size=len(data))
    assert codes == expected
    with Image.open(GOLDEN / f"{prefix}part-v1.png") as picture:
        assert np.abs(decoded - pixels(picture)).max() <= most_levels(prefix)


@pytest.mark.parametrize(("words", "filtered_as"), [(1, 1), (55, 2)])
def test_a_part_with_few_codes_is_filtered_as_the_iteration_before(
    words: int, filtered_as: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = Codec.load(GOLDEN / "post-filter.safetensors")
    data = (GOLDEN / "post-filter-colour-v1.rnc").read_bytes()
    cut = container.truncate(data, iterations=2, partial_bytes=WORD_BYTES * words)
    asked: list[int] = []
    show = codec.network.show

    def noted(state: State, reconstruction: Tensor, iteration: int) -> Tensor:
        asked.append(iteration)
        return show(state, reconstruction, iteration)

    monkeypatch.setattr(codec.network, "show", noted)
    decoded = codec.decode(cut)
    part = codec.decode_parts(data)(WORD_BYTES * words)

    assert asked == [filtered_as, filtered_as]
    assert part.tobytes() == decoded.tobytes()


def test_parts_of_the_last_iteration_show_what_the_cut_file_shows(
    tiny_codec: Codec, photograph: Photograph
) -> None:
    data = tiny_codec.encode(photograph("coffee").crop((100, 100, 170, 150)))
    show = tiny_codec.decode_parts(data)
    for length in (40, 0, 40, 80):
        cut = container.truncate(data, iterations=2, partial_bytes=length)
        assert show(length).tobytes() == tiny_codec.decode(cut).tobytes()


# --- files that are not right ----------------------------------------------------------------


@pytest.fixture(scope="module")
def small_file(tiny_codec: Codec) -> bytes:
    """A file of 24x20 pixels."""
    rng = np.random.default_rng(5)
    smooth = rng.integers(0, 255, (5, 6, 3), np.uint8)
    return tiny_codec.encode(Image.fromarray(smooth).resize((24, 20)))


def test_a_cut_at_any_length_is_the_picture_so_far_or_an_error(
    tiny_codec: Codec, small_file: bytes
) -> None:
    whole = [
        tiny_codec.decode(small_file, iterations=count).tobytes()
        for count in range(1, tiny_codec.iterations + 1)
    ]
    outcomes: set[int] = set()
    for length in range(len(small_file)):
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            try:
                picture = tiny_codec.decode(small_file[:length]).tobytes()
            except ContainerError:
                outcomes.add(0)
                continue
        assert [notice.category for notice in notices] == [TruncatedFileWarning]
        outcomes.add(1 + whole.index(picture))
    assert outcomes == {0, 1, 2}


def test_a_flipped_byte_is_never_a_wrong_picture_without_a_word(
    tiny_codec: Codec, small_file: bytes
) -> None:
    right = {
        tiny_codec.decode(small_file, iterations=count).tobytes()
        for count in range(1, tiny_codec.iterations + 1)
    }
    for position in range(len(small_file)):
        damaged = bytearray(small_file)
        damaged[position] ^= 0xFF
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            try:
                picture = tiny_codec.decode(bytes(damaged)).tobytes()
            except ContainerError:
                continue
        assert [notice.category for notice in notices] == [TruncatedFileWarning]
        assert picture in right


def with_header(data: bytes, **changes: object) -> bytes:
    container = read_container(data)
    header = Header(**{**vars(container.header), **changes})
    return write_container(Container(header, container.segments, container.metadata))


def test_another_model_is_an_error_that_names_both(tiny_codec: Codec, small_file: bytes) -> None:
    other = with_header(small_file, model_id=b"\x01" * 8)

    with pytest.raises(ModelMismatchError) as error:
        tiny_codec.decode(other)

    assert "0101010101010101" in str(error.value)
    assert tiny_codec.model_id.hex() in str(error.value)


def test_a_larger_picture_than_allowed_is_refused_before_decoding(
    tiny_codec: Codec, small_file: bytes
) -> None:
    huge = with_header(small_file, width=60_000, height=60_000)

    for decode in (tiny_codec.decode, tiny_codec.decode_codes, tiny_codec.decode_parts):
        with pytest.raises(ImageSizeError):
            decode(huge)
        with pytest.raises(ImageSizeError):
            decode(small_file, max_pixels=24 * 20 - 1)


def test_the_library_has_the_limit_too(
    tiny_weights: Path, tiny_codec: Codec, small_file: bytes
) -> None:
    limit, weights = 24 * 20, tiny_weights
    picture = rnnconv_codec.decode(small_file, weights=weights, max_pixels=limit)
    with pytest.raises(ImageSizeError):
        rnnconv_codec.decode(small_file, weights=weights, max_pixels=limit - 1)
    for options in ({}, {"iterations": 1}, {"size": 10_000}, {"psnr": 5.0}):
        target: dict[str, Any] = dict(options)
        assert rnnconv_codec.encode(picture, weights=weights, max_pixels=limit, **target)
        with pytest.raises(ImageSizeError):
            rnnconv_codec.encode(picture, weights=weights, max_pixels=limit - 1, **target)
    with pytest.raises(ImageSizeError):
        tiny_codec.encode(picture, max_pixels=limit - 1)


def test_an_image_above_the_limit_is_refused_before_it_is_loaded(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("its pixels were loaded")

    stream = io.BytesIO()
    Image.new("L", (200, 100)).save(stream, "PNG")
    image = Image.open(stream)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(ImageSizeError):
        rnnconv_codec.encode(image, weights=tiny_weights, max_pixels=19_999)


def test_more_iterations_than_the_model_has_are_refused(
    tiny_codec: Codec, small_file: bytes
) -> None:
    container = read_container(small_file)
    header = Header(24, 20, PixelMode.RGB, 5, tiny_codec.model_id)
    segments = container.segments + container.segments[:2]

    with pytest.raises(ModelMismatchError):
        tiny_codec.decode(write_container(Container(header, segments)))


def test_a_segment_of_nonsense_is_an_error_or_valid_codes(
    tiny_codec: Codec, small_file: bytes
) -> None:
    container = read_container(small_file)
    rng = np.random.default_rng(0)
    for length in (0, 1, 7, 100):
        segments = (rng.bytes(length), *container.segments[1:])
        try:
            picture = tiny_codec.decode(write_container(Container(container.header, segments)))
        except CodeSegmentError:
            continue
        assert picture.size == (24, 20)


@pytest.mark.parametrize("iterations", [0, -1, 4])
def test_iterations_out_of_range_are_refused(
    tiny_codec: Codec, small_file: bytes, iterations: int
) -> None:
    with pytest.raises(IterationsError):
        tiny_codec.decode(small_file, iterations=iterations)
    with pytest.raises(IterationsError):
        tiny_codec.encode(Image.new("RGB", (8, 8)), iterations=iterations)


# --- weights ---------------------------------------------------------------------------------


def test_missing_weights_are_an_error_that_lists_the_installed_ones() -> None:
    with pytest.raises(WeightsNotFoundError, match="installed are"):
        Codec.load("no-such-weights")


def test_a_file_that_is_no_weights_file_is_refused(tmp_path: Path, tiny_weights: Path) -> None:
    good = tiny_weights.read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"hello, this is not a weights file at all",
        "cut": good[: len(good) // 2],
        "length": b"\xff" * 8 + good[8:],
        "header": good[:40],
    }.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WeightsFormatError):
            Codec.load(path)


def described_otherwise(path: Path, changes: dict[str, object]) -> Path:
    """The weights file with other entries in its description."""
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    description = {**json.loads(header["__metadata__"]["rnncodec"]), **changes}
    header["__metadata__"]["rnncodec"] = json.dumps(description)
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[start:])
    return path


@pytest.mark.parametrize("change", ["drop", "nan", "infinite", "huge", "shape", "extra"])
def test_unfitting_network_tensors_are_refused(
    tmp_path: Path, tiny_model: ModelFile, change: str
) -> None:
    name = "network.synthesis.weight"
    tensors = dict(tiny_model.tensors)
    if change == "drop":
        del tensors[name]
    elif change == "nan":
        tensors[name] = tensors[name] * float("nan")
    elif change in ("infinite", "huge"):
        tensors[name] = torch.full_like(
            tensors[name], {"infinite": -math.inf, "huge": 3e38}[change]
        )
    elif change == "shape":
        tensors[name] = tensors[name][:5]
    else:
        tensors["network.other"] = torch.zeros(1)
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tensors, {})

    with pytest.raises(WeightsFormatError):
        Codec.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-30])
def test_scales_by_which_cannot_be_divided_are_refused(
    tmp_path: Path, tiny_model: ModelFile, value: float
) -> None:
    name = "network.fine_state_scale"
    scales = tiny_model.tensors[name].clone()
    scales[3] = value
    tensors = {**tiny_model.tensors, name: scales}
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tensors, {})

    with pytest.raises(WeightsFormatError, match="scales below"):
        Codec.load(tmp_path / "w.safetensors")


def test_numbers_at_the_limit_still_give_a_picture(
    tmp_path: Path, tiny_model: ModelFile, small_file: bytes
) -> None:
    """The reason of the limit: no infinity comes of them. Signs are kept, sizes are the largest."""
    tensors = {
        name: torch.where(tensor < 0, -LARGEST_WEIGHT, LARGEST_WEIGHT)
        if name.startswith("network.") and not name.endswith("_scale")
        else tensor
        for name, tensor in tiny_model.tensors.items()
    }
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tensors, {})
    codec = Codec.load(tmp_path / "w.safetensors")
    codes = [[torch.ones(1, grid.channels, 2, 2) for grid in codec.config.grids]] * 2
    codes = [[coarse[:, :, :1, :1], fine] for coarse, fine in codes]
    state = None
    with torch.inference_mode():
        for index, grids in enumerate(codes):
            state = codec.network.decode_iteration(grids, state, index)
        assert state is not None
        assert torch.isfinite(codec.network.synthesise(state, 1)).all()


@pytest.mark.parametrize("version", [math.inf, math.nan, 1.0, "1", True, None, 0, -1, 2, 10**30])
def test_weights_of_another_version_are_refused(
    tmp_path: Path, tiny_model: ModelFile, version: object
) -> None:
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tiny_model.tensors, {})
    path = described_otherwise(tmp_path / "w.safetensors", {"version": version})

    with pytest.raises(WeightsFormatError, match="version"):
        load_model_file(path)


@pytest.mark.parametrize(
    "training",
    [
        {"stages": 1},
        {"stages": [1]},
        {"stages": [{"stage": "joint"}]},
        {"stages": [{"stage": "\x1b[2J", "step": 1, "seconds": 1}]},
        {"ms_ssim_weight": "much"},
        [1],
    ],
)
def test_a_training_history_that_cannot_be_shown_is_refused(
    tmp_path: Path, tiny_model: ModelFile, training: object
) -> None:
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tiny_model.tensors, {})
    path = described_otherwise(tmp_path / "w.safetensors", {"training": training})

    with pytest.raises(WeightsFormatError, match="damaged"):
        load_model_file(path)


def test_toderici_saves_loads_encodes_and_decodes(tmp_path: Path, photograph: Photograph) -> None:
    torch.manual_seed(0)
    config = TodericiConfig(
        iterations=2,
        stem_channels=8,
        encoder_channels=(16, 16, 16),
        decoder_channels=(16, 16, 16, 16),
        decoder_input_channels=16,
    )
    path = tmp_path / "toderici.safetensors"
    save_model_file(path, config, weights_tensors(TrainableCodec(config)), {})
    codec = Codec(load_model_file(path))
    picture = photograph("astronaut").crop((0, 0, 45, 70))

    steps = list(codec.encode_iterations(picture))
    data = codec.encode(picture)

    for count, step in enumerate(steps, 1):
        assert codec.decode(data, iterations=count).tobytes() == step.picture.tobytes()
