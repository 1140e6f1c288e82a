"""Pictures through the whole codec."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rnnconv_codec
from rnnconv_codec import container
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import Container, Header, PixelMode, read_container, write_container
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


@pytest.fixture(scope="module", params=["", "rate-aware-"], ids=["first", "rate-aware"])
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
    # The networks are floating point: another machine may round a level differently.
    with Image.open(GOLDEN / f"{label}-v1.png") as picture:
        assert np.abs(decoded - pixels(picture)).max() <= 1


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
        assert np.abs(decoded - pixels(picture)).max() <= 1


def test_parts_of_the_last_iteration_show_what_the_cut_file_shows(
    tiny_codec: Codec, photograph: Photograph
) -> None:
    data = tiny_codec.encode(photograph("coffee").crop((100, 100, 170, 150)))
    show = tiny_codec.decode_parts(data)
    for length in (40, 0, 40, 80):
        cut = container.truncate(data, iterations=2, partial_bytes=length)
        assert show(length).tobytes() == tiny_codec.decode(cut).tobytes()


RUN_UNDER_OTHER_SETTINGS = """
import hashlib, sys, torch
from pathlib import Path
from rnnconv_codec import container
from rnnconv_codec.codec import Codec
torch.set_num_threads(int(sys.argv[1]))
torch.backends.mkldnn.enabled = sys.argv[2] == "on"
codec = Codec.load(sys.argv[3])
data = Path(sys.argv[4]).read_bytes()
codes = b"".join(grid.numpy().tobytes() for grids in codec.decode_codes(data) for grid in grids)
print(hashlib.sha256(codes).hexdigest(), codec.decode(data).tobytes().hex())
"""


@pytest.mark.parametrize("label", ["colour", "part"])
def test_codes_do_not_depend_on_threads_or_onednn(tiny_weights: Path, label: str) -> None:
    file = GOLDEN / f"{label}-v1.rnc"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", RUN_UNDER_OTHER_SETTINGS, threads, onednn, tiny_weights, file],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for threads, onednn in (("1", "on"), ("2", "on"), ("1", "off"))
    ]

    codes = {output[0] for output in outputs}
    pictures = [np.frombuffer(bytes.fromhex(output[1]), np.uint8).astype(int) for output in outputs]

    assert len(codes) == 1
    assert all(np.abs(picture - pictures[0]).max() <= 1 for picture in pictures)


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

    with pytest.raises(ImageSizeError):
        tiny_codec.decode(huge)
    with pytest.raises(ImageSizeError):
        tiny_codec.decode(small_file, max_pixels=24 * 20 - 1)


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


@pytest.mark.parametrize("change", ["drop", "nan", "shape", "extra"])
def test_unfitting_network_tensors_are_refused(
    tmp_path: Path, tiny_model: ModelFile, change: str
) -> None:
    name = "network.synthesis.weight"
    tensors = dict(tiny_model.tensors)
    if change == "drop":
        del tensors[name]
    elif change == "nan":
        tensors[name] = tensors[name] * float("nan")
    elif change == "shape":
        tensors[name] = tensors[name][:5]
    else:
        tensors["network.other"] = torch.zeros(1)
    save_model_file(tmp_path / "w.safetensors", tiny_model.config, tensors, {})

    with pytest.raises(WeightsFormatError):
        Codec.load(tmp_path / "w.safetensors")


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
