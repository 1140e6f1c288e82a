"""Hostile files: each has its own error, and leaves neither a traceback nor a file."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from attacks import make, memory
from attacks.make import FOLDER, SIZE, SOUND, WEIGHTS, Attack, file_name
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rnnconv_codec
from rnnconv_codec import errors, weights
from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.entropy import segments
from rnnconv_codec.entropy.range_coder import SegmentDecoder
from rnnconv_codec.errors import ChecksumError, RnncodecError
from rnnconv_codec.networks.config import NetworkConfig, config_to_dict

ROOT = Path(__file__).resolve().parent.parent

PICTURES = make.rnc_attacks()
HARMLESS = make.harmless_attacks()
REFUSED_BY_ALL = {attack.name for attack in make.container_attacks()}
MODELS = make.weights_attacks()


def named(attack: Attack) -> str:
    return attack.name


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def check_refused(result: Result) -> None:
    """Status 1, one line that says what is wrong, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert [line[:17] for line in lines] == ["rnncodec: error: "]


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The model that the hostile pictures name."""
    return Codec.load(WEIGHTS)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let that model be among the installed weights, and the default."""
    monkeypatch.setattr(weights, "search_folders", lambda: [WEIGHTS.parent])
    monkeypatch.setattr(weights, "DEFAULT_WEIGHTS", WEIGHTS.stem)


# --- the folder ------------------------------------------------------------------------------


def test_the_files_are_what_the_script_makes() -> None:
    made = {file_name(attack): attack.content for attack in (*PICTURES, *MODELS)}
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in ENDINGS}
    assert sorted(kept) == sorted(made)
    assert [name for name in made if kept[name] != made[name]] == []
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == make.readme()


ENDINGS = (".rnc", ".safetensors")


def test_every_exception_of_a_container_and_of_weights_has_an_attack() -> None:
    bases = (errors.ContainerError, errors.WeightsError)
    every = {
        error.__name__
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, bases) and error not in bases
    }
    assert every - {attack.error for attack in (*PICTURES, *MODELS)} == {"WeightsNotFoundError"}


# --- pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", PICTURES, ids=named)
def test_the_library_raises_the_error_of_the_table(codec: Codec, attack: Attack) -> None:
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        if attack.error is None:
            assert codec.decode(attack.content).size == SIZE
        else:
            with pytest.raises(RnncodecError) as caught:
                codec.decode(attack.content)
            assert type(caught.value).__name__ == attack.error
            assert "\n" not in str(caught.value)
    expected = [] if attack.notice is None else [attack.notice]
    assert [notice.category.__name__ for notice in notices] == expected


@pytest.mark.parametrize("attack", PICTURES, ids=named)
@pytest.mark.usefixtures("installed")
@pytest.mark.filterwarnings("ignore::rnnconv_codec.errors.TruncatedFileWarning")
def test_pillow_raises_what_it_raises_for_any_image(attack: Attack) -> None:
    def load() -> Image.Image:
        with Image.open(io.BytesIO(attack.content), formats=["RNC"]) as image:
            image.load()
        return image

    if attack.error is None:
        assert load().size == SIZE
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises((OSError, Image.DecompressionBombError)):
                load()


@pytest.mark.parametrize("attack", PICTURES, ids=named)
def test_decode_is_one_line_and_leaves_no_file(attack: Attack, tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    result = run("decode", "--weights", WEIGHTS, FOLDER / file_name(attack), "-o", output)
    if attack.error is None:
        assert result.exit_code == 0, result.output
        assert output.exists()
    else:
        check_refused(result)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("attack", PICTURES, ids=named)
@pytest.mark.parametrize("command", ["info", "truncate"])
def test_info_and_truncate_refuse_what_the_parser_refuses(
    attack: Attack, command: str, tmp_path: Path
) -> None:
    output = tmp_path / "out.rnc"
    options = ("--iterations", "1", "-o", output) if command == "truncate" else ()
    result = run(command, FOLDER / file_name(attack), *options)
    if attack.name in REFUSED_BY_ALL:
        check_refused(result)
        assert list(tmp_path.iterdir()) == []
    else:  # neither looks at codes, transparency or the model
        assert result.exit_code == 0, result.output
        assert output.exists() == (command == "truncate")


@pytest.mark.parametrize("attack", HARMLESS, ids=named)
@pytest.mark.parametrize("format_name", ["png", "jpeg", "webp", "tiff", "bmp"])
@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_hostile_metadata_become_an_image_file_of_any_format(
    attack: Attack, format_name: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    source = FOLDER / file_name(attack)
    result = run("decode", "--weights", WEIGHTS, source, "--format", format_name, "-o", output)
    assert result.exit_code == 0, result.output
    assert all(line.startswith("rnncodec: notice: ") for line in result.stderr.splitlines())
    with Image.open(output) as image:
        image.load()
        assert image.size == SIZE


def test_a_folder_of_hostile_files_is_reported_file_by_file(tmp_path: Path) -> None:
    result = run("decode", "--weights", WEIGHTS, FOLDER, "-r", "--output-dir", tmp_path)
    assert result.exit_code == 1
    refused = [line for line in result.stderr.splitlines() if line.startswith("rnncodec: error: ")]
    assert len(refused) == len(PICTURES) - len(HARMLESS)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(a.name for a in HARMLESS)


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", MODELS, ids=named)
def test_hostile_weights_raise_the_error_of_the_table(attack: Attack) -> None:
    with pytest.raises(RnncodecError) as caught:
        rnnconv_codec.decode(SOUND, weights=FOLDER / file_name(attack))
    assert type(caught.value).__name__ == attack.error


@pytest.mark.parametrize("attack", MODELS, ids=named)
def test_commands_with_hostile_weights_are_one_line(attack: Attack, tmp_path: Path) -> None:
    path = FOLDER / file_name(attack)
    picture = make.GOLDEN / "rate-aware-colour-v1.rnc"
    check_refused(run("decode", "--weights", path, picture, "-o", tmp_path / "out.png"))
    check_refused(run("info", "--model", path))
    listed = run("weights", path)
    assert listed.exit_code == 1
    assert isinstance(listed.exception, SystemExit)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "config", [make.LEAST_TODERICI, make.LEAST_COMPACT], ids=["gru", "compact"]
)
def test_the_weights_would_do_without_what_is_wrong_with_them(
    config: NetworkConfig, tmp_path: Path
) -> None:
    described = {"kind": "weights", "version": 1, "config": config_to_dict(config)}
    path = tmp_path / "sound.safetensors"
    path.write_bytes(make.weights_file(make.sound_tensors(config), described))
    sound = Codec.load(path)
    assert sound.decode(sound.encode(Image.new("RGB", (20, 30)))).size == (20, 30)


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, make.Tensors, dict[str, Any]]:
    """A path to write to, and the tensors and the description of a sound weights file."""
    described = {
        "kind": "weights",
        "version": 1,
        "config": config_to_dict(make.LEAST_TODERICI),
        "training": {"stages": [{"stage": "joint", "step": 1, "seconds": 1.0}]},
    }
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    return path, make.sound_tensors(make.LEAST_TODERICI), described


def check_loaded_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(errors.WeightsError):
        Codec.load(path)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=200)
def test_changed_bytes_of_a_weights_file_are_refused_or_do_not_matter(
    least: tuple[Path, make.Tensors, dict[str, Any]], changes: list[tuple[int, int]]
) -> None:
    path, tensors, described = least
    content = bytearray(make.weights_file(tensors, described))
    for place, flip in changes:
        content[place] ^= flip
    check_loaded_or_refused(path, bytes(content))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.sampled_from(["kind", "version", "config", "training", "stages", "context", "tensor"]),
    st.sampled_from(["iterations", "codes", "encoder_channels", "groups", "dtype", "shape"]),
    anything,
)
@settings(deadline=None, max_examples=200)
def test_any_other_value_in_a_description_is_refused_or_does_not_matter(
    least: tuple[Path, make.Tensors, dict[str, Any]], place: str, name: str, value: object
) -> None:
    path, tensors, described = least
    described = {**described, "config": dict(described["config"])}
    if place == "stages":
        described["training"] = {"stages": [value], "ms_ssim_weight": value}
    elif place == "config":
        described["config"][name] = value
    elif place == "context":
        described["config"]["context"] = {**described["config"]["context"], name: value}
    elif place != "tensor":
        described[place] = value

    def change(header: dict[str, Any]) -> None:
        if place == "tensor":
            header["network.stem.weight"][name] = value

    check_loaded_or_refused(path, make.weights_file(tensors, described, change))


# --- memory ----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the peak of a process")
def test_decoding_takes_no_more_memory_than_is_stated() -> None:
    done = subprocess.run(
        [sys.executable, memory.__file__],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    growth: dict[str, int] = json.loads(done.stdout)
    assert growth.keys() >= {attack.name for attack in PICTURES}

    for attack in PICTURES:
        # Of pictures that are too large nothing is allocated, whatever their headers say.
        pixels = SIZE[0] * SIZE[1]
        limit = memory.FIXED_BYTES + memory.BYTES_PER_PIXEL * pixels
        assert growth[attack.name] <= limit + memory.FILE_MULTIPLE * len(attack.content)
    for side in memory.SIDES:
        sound, hostile = growth[f"sound {side}"], growth[f"no codes {side}"]
        assert 0 < sound <= memory.BYTES_PER_PIXEL * side * side
        assert hostile <= memory.BYTES_PER_PIXEL * side * side


# --- what is never done ----------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2], ids=["first", "second", "last"])
def test_a_segment_whose_checksum_is_wrong_never_reaches_the_range_decoder(
    codec: Codec, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do those before it: the whole file is checked before anything is decoded."""
    decoded: list[bytes] = []

    class Recorder(SegmentDecoder):
        def __init__(self, segment: bytes) -> None:
            decoded.append(segment)
            super().__init__(segment)

    monkeypatch.setattr(segments, "SegmentDecoder", Recorder)
    codec.decode(SOUND)
    payloads = [chunk.payload for chunk in make.SEGMENTS]
    assert decoded == payloads

    decoded.clear()
    # The bytes of the segment, and of its CRC: neither fits the other.
    start = SOUND.index(payloads[number])
    for place in range(start, start + len(payloads[number]) + 4):
        damaged = bytearray(SOUND)
        damaged[place] ^= 0x10
        for decode in (codec.decode, codec.decode_codes, codec.decode_parts):
            with pytest.raises(ChecksumError):
                decode(bytes(damaged))
    assert decoded == []


UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def unpickling(source: str) -> list[str]:
    """What in a Python source could run code that is in a file."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            names = [called] if called in ("eval", "exec", "compile", "__import__") else []
            if called.split(".")[0] in ("torch", "np", "numpy") and called.endswith(".load"):
                names.append(called)
            if any(keyword.arg == "allow_pickle" for keyword in node.keywords):
                names.append(f"{called}(allow_pickle)")
        for name in names:
            is_loader = name in ("torch.load", "numpy.load", "torch.hub")
            if name.split(".")[0] in UNPICKLERS or is_loader or isinstance(node, ast.Call):
                found.append(f"line {getattr(node, 'lineno', 0)}: {name}")
    return found


@pytest.mark.parametrize(
    "path", sorted((ROOT / "rnnconv_codec").rglob("*.py")), ids=lambda path: path.stem
)
def test_nothing_in_the_package_unpickles(path: Path) -> None:
    assert unpickling(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import torch\ntorch.load(p)",
        "from torch import load",
        "np.load(p, allow_pickle=True)",
        "from numpy import load",
        "read(p, allow_pickle=True)",
        "eval(text)",
        "import marshal as m",
    ],
)
def test_what_unpickles_would_be_found(source: str) -> None:
    assert unpickling(source) != []
