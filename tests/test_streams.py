"""`-` is standard input and output, in every command, with the same bytes as files have."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from skimage import data

from rnnconv_codec.cli.group import cli

MODEL = ("--threads", "1", "--weights")


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    runner = CliRunner(catch_exceptions=False)
    return runner.invoke(cli, [str(argument) for argument in arguments], input=stdin)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path) -> Path:
    """A working folder with a photograph and its encoded file."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(data.coffee()[100:140, 200:260]).save(tmp_path / "coffee.png")
    assert run("encode", "coffee.png", *MODEL, tiny_weights).exit_code == 0
    return tmp_path


@pytest.mark.parametrize("output", [(), ("-o", "-")])
def test_encoding_a_stream_gives_the_bytes_of_the_file(
    output: tuple[str, ...], folder: Path, tiny_weights: Path
) -> None:
    picture = (folder / "coffee.png").read_bytes()
    result = run("encode", "-", *output, *MODEL, tiny_weights, stdin=picture)
    assert result.exit_code == 0
    assert result.stdout_bytes == (folder / "coffee.rnc").read_bytes()
    assert result.stderr.startswith("standard output: 60x40, 3 iterations, ")


def test_a_stream_can_go_to_a_file_and_a_file_to_a_stream(folder: Path, tiny_weights: Path) -> None:
    encoded = (folder / "coffee.rnc").read_bytes()
    to_file = run("decode", "-", "-o", "a.png", *MODEL, tiny_weights, stdin=encoded)
    to_stream = run("decode", "coffee.rnc", "-o", "-", *MODEL, tiny_weights)
    assert (to_file.exit_code, to_stream.exit_code) == (0, 0)
    assert to_file.stdout.startswith("a.png: 60x40")
    assert (folder / "a.png").read_bytes() == to_stream.stdout_bytes


def test_a_decoded_stream_is_a_png_or_what_is_asked_for(folder: Path, tiny_weights: Path) -> None:
    encoded = (folder / "coffee.rnc").read_bytes()
    for options, expected in (((), "PNG"), (("--format", "webp"), "WEBP")):
        result = run("decode", "-", "-q", *options, *MODEL, tiny_weights, stdin=encoded)
        assert result.stderr == ""
        with Image.open(io.BytesIO(result.stdout_bytes)) as image:
            assert (image.format, image.size) == (expected, (60, 40))


def test_truncate_and_info_take_streams(folder: Path) -> None:
    encoded = (folder / "coffee.rnc").read_bytes()
    run("truncate", "coffee.rnc", "--iterations", "2", "-o", "two.rnc")
    cut = run("truncate", "-", "--iterations", "2", stdin=encoded)
    assert cut.stdout_bytes == (folder / "two.rnc").read_bytes()
    assert cut.stderr.startswith("standard output: 60x40, 2 iterations")
    assert json.loads(run("info", "-", "--json", stdin=encoded).stdout)["iterations"] == 3


def test_a_file_with_the_name_of_the_stream_can_be_reached(folder: Path) -> None:
    (folder / "-").write_bytes((folder / "coffee.rnc").read_bytes())
    assert "60x40" in run("info", "./-", stdin=b"nothing").stdout


@pytest.mark.parametrize("command", ["encode", "decode", "info", "truncate"])
def test_an_empty_stream_is_an_error_and_nothing_is_written(command: str) -> None:
    iterations = ("--iterations", "1") if command == "truncate" else ()
    result = run(command, "-", *iterations, stdin=b"")
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    assert result.stderr.startswith("rnncodec: error: ")
    assert result.stderr.count("\n") == 1


def test_a_terminal_is_not_flooded_with_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rnnconv_codec.cli.streams as streams

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(streams, "sys", type("fake", (), {"stdout": Terminal()}))
    result = run("truncate", "coffee.rnc", "--iterations", "1", "-o", "-")
    assert result.exit_code == 2
    assert "terminal" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="pipes as in a POSIX shell")
def test_commands_work_in_a_shell_pipe(folder: Path, tiny_weights: Path) -> None:
    rnncodec = f"'{sys.executable}' -m rnnconv_codec"
    model = f"--threads 1 --weights '{tiny_weights}'"
    script = (
        f"cat coffee.png | {rnncodec} encode -q {model} - | tee piped.rnc"
        f" | {rnncodec} truncate -q - --iterations 2 | {rnncodec} decode -q {model} - > piped.png"
    )
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (folder / "piped.rnc").read_bytes() == (folder / "coffee.rnc").read_bytes()
    run("decode", "coffee.rnc", "--iterations", "2", "-o", "two.png", *MODEL, tiny_weights)
    assert (folder / "piped.png").read_bytes() == (folder / "two.png").read_bytes()


NO_SPACE = "rnncodec: error: cannot write standard output: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        "truncate coffee.rnc --iterations 1 -o -",
        "truncate coffee.rnc --iterations 1 -o one.rnc",
        "info coffee.rnc",
        "weights",
        "--help",
    ],
)
def test_a_full_disk_behind_standard_output_is_a_clear_error(arguments: str, folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rnnconv_codec", *arguments.split()],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, NO_SPACE)
