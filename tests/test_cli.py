"""The `rnncodec` command: results, notices, errors and exit statuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageCms
from skimage import data

from rnnconv_codec import __version__
from rnnconv_codec.cli import group, main
from rnnconv_codec.cli.group import INTERRUPTED_STATUS, cli
from rnnconv_codec.cli.progress import iteration_progress
from rnnconv_codec.container import (
    Container,
    Header,
    Metadata,
    PixelMode,
    inspect,
    read_container,
    truncate,
    write_container,
)
from rnnconv_codec.errors import ConversionWarning

SEGMENTS = (b"coarse", b"finer codes", b"the finest codes of all")
COMMANDS = ("encode", "decode", "info", "truncate", "compare", "weights", "train", "eval")
LIGHT_COMMANDS = (
    ("--help",),
    ("--version",),
    ("encode", "--help"),
    ("decode", "--help"),
    ("info", "photo.rnc"),
    ("info", "photo.rnc", "--json"),
    ("truncate", "photo.rnc", "--iterations", "1"),
    ("weights", "--no-verify"),
)


def rnc_file(metadata: Metadata | None = None) -> bytes:
    """A well-formed file whose segments no model has written."""
    header = Header(40, 30, PixelMode.RGB, len(SEGMENTS), bytes(range(8)))
    return write_container(Container(header, SEGMENTS, metadata or Metadata()))


def run(*arguments: str | Path) -> Result:
    """Run a command in this process; what it raises beyond its errors fails the test."""
    return CliRunner(catch_exceptions=False).invoke(cli, [str(argument) for argument in arguments])


def run_process(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rnnconv_codec", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a well-formed file and a photograph."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.rnc").write_bytes(rnc_file())
    Image.fromarray(data.coffee()[100:165, 200:301]).save(tmp_path / "coffee.png")
    return tmp_path


# --- help and start-up -----------------------------------------------------------------------


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"  {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.stdout


@pytest.mark.parametrize("command", ["encode", "decode", "info", "truncate", "eval"])
def test_help_shows_an_example(command: str) -> None:
    assert f"rnncodec {command} " in run(command, "--help").stdout.split("Example")[1]


def test_help_gives_ranges_and_defaults() -> None:
    text = " ".join(run("encode", "--help").stdout.split())
    assert "[default: compact-mse]" in text
    assert "[1<=x<=256]" in text


def test_version_is_the_package_version() -> None:
    assert run("--version").stdout == f"rnncodec, version {__version__}\n"


@pytest.mark.parametrize("arguments", LIGHT_COMMANDS, ids=" ".join)
def test_what_needs_no_model_imports_no_torch(arguments: tuple[str, ...], folder: Path) -> None:
    script = (
        "import sys\n"
        "from rnnconv_codec.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "False\n"


def test_the_module_runs_like_the_command(folder: Path) -> None:
    done = run_process("info", "photo.rnc", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "40x30" in done.stdout


# --- info ------------------------------------------------------------------------------------


def test_info_tells_size_model_and_rates(folder: Path) -> None:
    content = rnc_file(Metadata(exif=bytes(20), icc=b"x"))
    (folder / "with.rnc").write_bytes(content)
    result = run("info", "with.rnc")
    assert result.exit_code == 0
    assert "40x30 RGB" in result.stdout
    assert "0001020304050607" in result.stdout
    assert "icc 1 byte, exif 20 bytes" in result.stdout
    assert f"{len(content)} bytes, {len(content) * 8 / 1200:.3f} bpp" in result.stdout
    last = result.stdout.splitlines()[-1].split()
    assert last == ["3", str(len(SEGMENTS[2])), f"{len(content) * 8 / 1200:.3f}"]


def test_info_as_json_has_what_inspect_has(folder: Path) -> None:
    found = inspect(rnc_file())
    parsed = json.loads(run("info", "photo.rnc", "--json").stdout)
    assert parsed == {
        "file": "photo.rnc",
        "version": found.version,
        "width": 40,
        "height": 30,
        "mode": "RGB",
        "iterations": 3,
        "declared_iterations": 3,
        "is_cut": False,
        "model_id": "0001020304050607",
        "file_bytes": found.file_bytes,
        "bpp": found.bpp,
        "segment_bytes": list(found.segment_bytes),
        "partial_bytes": None,
        "cumulative_bpp": list(found.cumulative_bpp),
        "metadata_bytes": {},
    }


def test_info_says_that_a_file_is_cut(folder: Path) -> None:
    (folder / "cut.rnc").write_bytes(rnc_file()[:-1])
    assert "2 of 3, the file is cut" in run("info", "cut.rnc").stdout
    assert json.loads(run("info", "cut.rnc", "--json").stdout)["is_cut"] is True


def test_info_shows_a_partial_iteration(folder: Path) -> None:
    data = truncate(rnc_file(), iterations=2, partial_bytes=1)
    (folder / "part.rnc").write_bytes(data)
    result = run("info", "part.rnc")
    assert "iterations  2 and a part\n" in result.stdout
    last = result.stdout.splitlines()[-1].split()
    assert last == ["a", "part", "1", f"{len(data) * 8 / 1200:.3f}"]
    parsed = json.loads(run("info", "part.rnc", "--json").stdout)
    assert (parsed["iterations"], parsed["declared_iterations"]) == (2, 3)
    assert (parsed["partial_bytes"], parsed["is_cut"]) == (1, False)


# --- truncate --------------------------------------------------------------------------------


def test_truncate_writes_what_the_library_gives(folder: Path) -> None:
    result = run("truncate", "photo.rnc", "--iterations", "2", "-o", "small.rnc")
    assert result.exit_code == 0
    content = (folder / "small.rnc").read_bytes()
    assert content == truncate(rnc_file(), iterations=2)
    expected = f"small.rnc: 40x30, 2 iterations, {len(content)} bytes, "
    assert result.stdout == f"{expected}{len(content) * 8 / 1200:.3f} bpp\n"
    assert result.stderr == ""


def test_truncate_derives_a_name_with_the_iterations(folder: Path) -> None:
    assert run("truncate", "photo.rnc", "--iterations", "1").exit_code == 0
    assert names(folder) == ["coffee.png", "photo.1.rnc", "photo.rnc"]


@pytest.mark.parametrize("iterations", ["0", "-1", "4", "256", "two", "1.5"])
def test_iterations_out_of_range_are_wrong_usage(iterations: str, folder: Path) -> None:
    result = run("truncate", "photo.rnc", "--iterations", iterations, "-o", "out.rnc")
    assert result.exit_code == 2
    assert iterations in result.stderr
    assert not (folder / "out.rnc").exists()


def test_truncate_needs_a_number_of_iterations(folder: Path) -> None:
    assert run("truncate", "photo.rnc", "-o", "out.rnc").exit_code == 2


# --- outputs ---------------------------------------------------------------------------------


def test_an_existing_file_is_kept_without_force(folder: Path) -> None:
    (folder / "out.rnc").write_bytes(b"precious")
    arguments = ("truncate", "photo.rnc", "--iterations", "1", "-o", "out.rnc")
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == "rnncodec: error: out.rnc exists already\n"
    assert (folder / "out.rnc").read_bytes() == b"precious"
    assert run(*arguments, "--force").exit_code == 0
    assert (folder / "out.rnc").read_bytes() == truncate(rnc_file(), iterations=1)


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_an_existing_file_is_found_before_the_work(command: str, folder: Path) -> None:
    (folder / "out.png").write_bytes(b"precious")
    done = run_process(command, "missing", "-o", "out.png", folder=folder)
    assert done.returncode == 1
    assert done.stderr == "rnncodec: error: out.png exists already\n"


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "coffee.png", "-o", "coffee.png"),
        ("encode", "photo.rnc"),
        ("decode", "photo.rnc", "-o", "./photo.rnc"),
        ("decode", "photo.rnc", "-o", "link.png"),
        ("truncate", "photo.rnc", "--iterations", "1", "-o", "photo.rnc"),
        ("truncate", "photo.rnc", "--iterations", "1", "-o", "hard.rnc"),
    ],
    ids=" ".join,
)
def test_input_and_output_may_not_be_one_file(
    arguments: tuple[str, ...], force: tuple[str, ...], folder: Path
) -> None:
    (folder / "link.png").symlink_to("photo.rnc")
    (folder / "hard.rnc").hardlink_to("photo.rnc")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = run(*arguments, *force)
    assert result.exit_code == 2
    assert "same file" in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_quiet_leaves_out_the_result_line(folder: Path) -> None:
    result = run("truncate", "photo.rnc", "--iterations", "1", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (folder / "photo.1.rnc").exists()


# --- errors ----------------------------------------------------------------------------------


def damaged() -> bytes:
    content = bytearray(rnc_file())
    content[-6] ^= 1
    return bytes(content)


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "missing.rnc"),
        ("info", "."),
        ("info", ".."),
        ("info", "empty"),
        ("info", "coffee.png"),
        ("info", "damaged.rnc"),
        ("truncate", "damaged.rnc", "--iterations", "1"),
        ("truncate", "..", "--iterations", "1"),
        ("truncate", "photo.rnc", "--iterations", "1", "-o", "no/such/folder.rnc"),
        ("truncate", "photo.rnc", "--iterations", "1", "-o", "."),
        ("encode", "missing.png"),
        ("encode", ".."),
        ("encode", "empty"),
        ("encode", "damaged.rnc", "-o", "out.rnc"),
        ("encode", "coffee.png", "--weights", "no-such-weights"),
        ("encode", "coffee.png", "--weights", "photo.rnc"),
        ("decode", "missing.rnc"),
        ("decode", "empty"),
        ("decode", "coffee.png", "-o", "out.png"),
        ("decode", "damaged.rnc"),
        ("decode", "photo.rnc", "-o", "out.xyz"),
        ("decode", "photo.rnc", "-o", "out"),
    ],
    ids=" ".join,
)
def test_bad_files_are_one_line_and_status_1(arguments: tuple[str, ...], folder: Path) -> None:
    (folder / "damaged.rnc").write_bytes(damaged())
    (folder / "empty").write_bytes(b"")
    before = names(folder)
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("rnncodec: error: ")
    assert result.stderr.count("\n") == 1
    assert names(folder) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("encode",),
        ("encode", "coffee.png", "extra", "-o", "out.rnc"),
        ("encode", "coffee.png", "-", "--output-dir", "out"),
        ("encode", "coffee.png", "--output-dir", "out", "-o", "out.rnc"),
        ("encode", "coffee.png", "extra", "--overwrite", "--skip-existing"),
        ("encode", "coffee.png", "extra", "--jobs", "0"),
        ("encode", "coffee.png", "--threads", "0"),
        ("encode", "coffee.png", "--threads", "many"),
        ("decode", "photo.rnc", "--iterations", "0"),
        ("info", "photo.rnc", "--nonsense"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_status_2(arguments: tuple[str, ...], folder: Path) -> None:
    before = names(folder)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr
    assert names(folder) == before


def test_a_missing_file_has_no_traceback_in_a_real_process(folder: Path) -> None:
    done = run_process("info", "missing.rnc", folder=folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == ("rnncodec: error: cannot read missing.rnc: No such file or directory\n")


def replace_info(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Let `rnncodec info` do something else."""
    command = click.Command("info", callback=action)

    def get_command(*_: Any) -> click.Command:
        return command

    monkeypatch.setattr(group.RnncodecGroup, "get_command", get_command)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["python", "torch"],
)
def test_too_little_memory_is_a_clear_error(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust() -> None:
        raise error

    replace_info(monkeypatch, exhaust)
    result = run("info")
    assert (result.exit_code, result.stderr) == (1, "rnncodec: error: not enough memory\n")


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    replace_info(monkeypatch, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run("info")


def test_an_interrupt_is_status_130_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    replace_info(monkeypatch, interrupt)
    result = run("info")
    assert (result.exit_code, result.output) == (INTERRUPTED_STATUS, "")


def test_an_interrupt_before_the_command_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == INTERRUPTED_STATUS


@pytest.mark.skipif(os.name != "posix", reason="pipes as in a POSIX shell")
def test_a_closed_pipe_is_quiet(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rnnconv_codec", "info", "photo.rnc"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""


# --- notices and progress --------------------------------------------------------------------


def test_a_notice_is_one_line_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn() -> None:
        for _ in range(2):
            warnings.warn("left\nbehind", ConversionWarning, stacklevel=1)
        warnings.warn("of no interest to users", DeprecationWarning, stacklevel=1)

    replace_info(monkeypatch, warn)
    result = run("info")
    assert result.exit_code == 0
    assert result.stderr == "rnncodec: notice: left behind\n" * 2
    assert result.stdout == ""


class Terminal:
    """Standard error as far as it matters whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("is_terminal", "quiet", "shown"),
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_progress_is_for_terminals_only(
    is_terminal: bool, quiet: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal(is_terminal))
    with iteration_progress("testing", quiet=quiet) as progress:
        assert (progress is not None) == shown
        if progress is not None:
            progress(1, 2)


# --- with a model ----------------------------------------------------------------------------


def encode(weights: Path, *arguments: str | Path) -> Result:
    return run("encode", *arguments, "--weights", weights, "--threads", "1")


def decode(weights: Path, *arguments: str | Path) -> Result:
    return run("decode", *arguments, "--weights", weights, "--threads", "1")


def test_a_photograph_goes_there_and_back(tiny_weights: Path, folder: Path) -> None:
    encoded = encode(tiny_weights, "coffee.png")
    assert (encoded.exit_code, encoded.stderr) == (0, "")
    content = (folder / "coffee.rnc").read_bytes()
    info = inspect(content)
    assert (info.width, info.height) == (101, 65)
    assert encoded.stdout.startswith(f"coffee.rnc: 101x65, {info.iterations} iteration")
    assert f"{len(content)} bytes, {info.bpp:.3f} bpp, " in encoded.stdout
    assert encoded.stdout.endswith(" s\n")

    decoded = decode(tiny_weights, "coffee.rnc", "-o", "again.png")
    assert (decoded.exit_code, decoded.stderr) == (0, "")
    assert f"{info.iterations} of {info.iterations} iteration" in decoded.stdout
    with Image.open(folder / "again.png") as again:
        assert (again.size, again.mode) == ((101, 65), "RGB")


def test_decode_derives_a_png(tiny_weights: Path, folder: Path) -> None:
    assert encode(tiny_weights, "coffee.png", "-o", "cup.rnc", "-q").output == ""
    assert decode(tiny_weights, "cup.rnc", "-q").output == ""
    assert names(folder) == ["coffee.png", "cup.png", "cup.rnc", "photo.rnc"]


def test_truncated_is_the_same_as_encoded_with_fewer(tiny_weights: Path, folder: Path) -> None:
    encode(tiny_weights, "coffee.png")
    encode(tiny_weights, "coffee.png", "--iterations", "1", "-o", "one.rnc")
    run("truncate", "coffee.rnc", "--iterations", "1")
    assert (folder / "coffee.1.rnc").read_bytes() == (folder / "one.rnc").read_bytes()


def test_decoding_fewer_iterations_is_decoding_the_truncated_file(
    tiny_weights: Path, folder: Path
) -> None:
    encode(tiny_weights, "coffee.png")
    run("truncate", "coffee.rnc", "--iterations", "1")
    decode(tiny_weights, "coffee.rnc", "--iterations", "1", "-o", "a.png")
    decode(tiny_weights, "coffee.1.rnc", "-o", "b.png")
    with Image.open(folder / "a.png") as a, Image.open(folder / "b.png") as b:
        assert np.array_equal(np.asarray(a), np.asarray(b))


def test_a_cut_file_gives_a_picture_and_a_notice(tiny_weights: Path, folder: Path) -> None:
    encode(tiny_weights, "coffee.png")
    whole = (folder / "coffee.rnc").read_bytes()
    declared = len(read_container(whole).segments)
    (folder / "cut.rnc").write_bytes(whole[:-1])
    result = decode(tiny_weights, "cut.rnc", "-q")
    assert result.exit_code == 0
    assert result.stderr.startswith("rnncodec: notice: ")
    assert f"{declared - 1} of {declared}" in result.stderr
    assert (folder / "cut.png").exists()


def test_a_damaged_file_gives_no_picture(tiny_weights: Path, folder: Path) -> None:
    encode(tiny_weights, "coffee.png")
    content = bytearray((folder / "coffee.rnc").read_bytes())
    content[-6] ^= 1
    (folder / "bad.rnc").write_bytes(content)
    result = decode(tiny_weights, "bad.rnc")
    assert result.exit_code == 1
    assert result.stderr.startswith("rnncodec: error: ")
    assert not (folder / "bad.png").exists()


def test_a_file_of_another_model_names_both(tiny_weights: Path, folder: Path) -> None:
    encode(tiny_weights, "coffee.png")
    own = inspect((folder / "coffee.rnc").read_bytes()).model_id
    result = decode(tiny_weights, "photo.rnc", "-o", "out.png")
    assert result.exit_code == 1
    assert "0001020304050607" in result.stderr
    assert own in result.stderr
    assert not (folder / "out.png").exists()


def test_more_iterations_than_there_are_is_wrong_usage(tiny_weights: Path, folder: Path) -> None:
    assert encode(tiny_weights, "coffee.png", "--iterations", "255").exit_code == 2
    encode(tiny_weights, "coffee.png", "--iterations", "1")
    result = decode(tiny_weights, "coffee.rnc", "--iterations", "2", "-o", "out.png")
    assert result.exit_code == 2
    assert names(folder) == ["coffee.png", "coffee.rnc", "photo.rnc"]


@pytest.mark.parametrize(
    ("mode", "notices"), [("RGB", 0), ("L", 0), ("P", 0), ("RGBA", 0), ("CMYK", 1), ("I;16", 1)]
)
def test_what_an_image_loses_has_one_notice(
    mode: str, notices: int, tiny_weights: Path, folder: Path
) -> None:
    image = Image.new(mode, (9, 5))  # transparent, where there is an alpha channel
    image.save(folder / "odd.tif")
    result = encode(tiny_weights, "odd.tif", "-q", "--iterations", "1")
    assert result.exit_code == 0
    assert result.stderr.count("rnncodec: notice: ") == result.stderr.count("\n") == notices


@pytest.fixture
def badge(folder: Path) -> Image.Image:
    """A transparent picture with metadata, which is in the folder as badge.png."""
    image = Image.fromarray(data.coffee()[100:148, 200:264]).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(folder / "badge.png", exif=exif, icc_profile=profile)
    return image


def test_transparency_survives_the_round_trip(
    tiny_weights: Path, folder: Path, badge: Image.Image
) -> None:
    assert encode(tiny_weights, "badge.png", "-q").output == ""
    assert "RGB with transparency" in run("info", "badge.rnc").stdout
    assert decode(tiny_weights, "badge.rnc", "-o", "again.webp", "-q").output == ""
    with Image.open(folder / "again.webp") as again:
        assert again.mode == "RGBA"
        assert again.getchannel("A").tobytes() == badge.getchannel("A").tobytes()


@pytest.mark.parametrize(("treatment", "low"), [("drop", 0), ("#ffffff", 150)])
def test_transparency_can_be_dropped_or_blended(
    treatment: str, low: int, tiny_weights: Path, folder: Path, badge: Image.Image
) -> None:
    encode(tiny_weights, "badge.png", "--alpha", treatment)
    decode(tiny_weights, "badge.rnc", "-o", "again.png")
    with Image.open(folder / "again.png") as again:
        assert again.mode == "RGB"
        # The upper rows are transparent, and dark coffee.
        assert (np.asarray(again)[:8].min() > low) == (treatment != "drop")


@pytest.mark.parametrize(("options", "notices"), [((), 1), (("--background", "#000000"), 0)])
def test_a_format_without_transparency_gets_a_background(
    options: tuple[str, ...], notices: int, tiny_weights: Path, folder: Path, badge: Image.Image
) -> None:
    encode(tiny_weights, "badge.png")
    result = decode(tiny_weights, "badge.rnc", "-o", "again.jpg", *options)
    assert result.exit_code == 0
    assert result.stderr.count("notice: JPEG cannot hold transparency") == notices
    with Image.open(folder / "again.jpg") as again:
        assert (np.asarray(again)[:4].mean() > 200) == (notices == 1)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ((), {"icc", "exif", "alpha"}),
        (("--strip", "exif"), {"icc", "alpha"}),
        (("--strip", "exif", "--strip", "icc"), {"alpha"}),
        (("--strip", "all"), {"alpha"}),
    ],
    ids=str,
)
@pytest.mark.usefixtures("badge")
def test_metadata_can_be_left_out(
    options: tuple[str, ...], left: set[str], tiny_weights: Path, folder: Path
) -> None:
    encode(tiny_weights, "badge.png", *options)
    assert set(inspect((folder / "badge.rnc").read_bytes()).metadata_bytes) == left
    encode(tiny_weights, "badge.png", "-o", "whole.rnc")
    decode(tiny_weights, "whole.rnc", *options)
    with Image.open(folder / "whole.png") as again:
        assert ("icc_profile" in again.info, "exif" in again.info) == (
            "icc" in left,
            "exif" in left,
        )


def test_the_format_can_be_named(tiny_weights: Path, folder: Path) -> None:
    encode(tiny_weights, "coffee.png")
    decode(tiny_weights, "coffee.rnc", "--format", "jpeg")
    decode(tiny_weights, "coffee.rnc", "--format", "webp", "-o", "without-ending")
    for name, expected in (("coffee.jpg", "JPEG"), ("without-ending", "WEBP")):
        with Image.open(folder / name) as image:
            assert image.format == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "coffee.png", "--alpha", "nonsense"),
        ("encode", "coffee.png", "--strip", "nonsense"),
        ("decode", "photo.rnc", "--background", "nonsense"),
        ("decode", "photo.rnc", "--format", "nonsense"),
    ],
    ids=" ".join,
)
def test_unknown_treatments_are_wrong_usage(arguments: tuple[str, ...], folder: Path) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "nonsense" in result.stderr
    assert names(folder) == ["coffee.png", "photo.rnc"]


def test_orientation_and_exif_survive_the_round_trip(tiny_weights: Path, folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    exif[0x010F] = "Maker"
    Image.fromarray(data.coffee()[:40, :64]).save(folder / "upright.jpg", exif=exif)
    encode(tiny_weights, "upright.jpg", "--iterations", "1")
    decode(tiny_weights, "upright.rnc", "-o", "again.jpg")
    with Image.open(folder / "again.jpg") as again:
        assert again.size == (40, 64)
        assert again.getexif()[0x0112] == 1
        assert again.getexif()[0x010F] == "Maker"


def test_encoding_in_a_pipe_shows_no_progress(tiny_weights: Path, folder: Path) -> None:
    done = run_process(
        "encode", "coffee.png", "--weights", tiny_weights, "--threads", "1", folder=folder
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


@pytest.fixture
def small_image(folder: Path) -> Path:
    """An image file of so few bytes that its .rnc file is larger."""
    path = folder / "small.webp"
    Image.new("RGB", (16, 16), "teal").save(path, lossless=True)
    return path


def test_a_file_larger_than_its_image_has_a_notice(tiny_weights: Path, small_image: Path) -> None:
    result = encode(tiny_weights, "small.webp", "-q")

    larger = small_image.with_suffix(".rnc").stat().st_size
    assert larger > small_image.stat().st_size
    assert result.exit_code == 0
    assert result.stderr.startswith(
        f"rnncodec: notice: the .rnc file has {larger} bytes, more than the "
        f"{small_image.stat().st_size} of the image file"
    )


def test_a_larger_file_can_be_allowed(tiny_weights: Path, small_image: Path) -> None:
    result = encode(tiny_weights, "small.webp", "-q", "--allow-larger")

    assert (result.exit_code, result.stderr) == (0, "")
    assert small_image.with_suffix(".rnc").stat().st_size > small_image.stat().st_size


def test_a_picture_above_the_limit_is_refused(tiny_weights: Path, folder: Path) -> None:
    encoded = encode(tiny_weights, "coffee.png", "--max-pixels", "6564")
    assert encoded.exit_code == 1
    assert encoded.stderr == (
        "rnncodec: error: coffee.png: 101x65 is 6565 pixels, the limit is 6564\n"
    )
    assert encode(tiny_weights, "coffee.png", "--max-pixels", "6565").exit_code == 0

    decoded = decode(tiny_weights, "coffee.rnc", "-o", "b.png", "--max-pixels", "6564")
    assert decoded.exit_code == 1
    assert "101x65 is 6565 pixels, the limit is 6564" in decoded.stderr
    assert not (folder / "b.png").exists()
    assert decode(tiny_weights, "coffee.rnc", "-o", "b.png", "--max-pixels", "6565").exit_code == 0
