"""Whatever the arguments are: done, or one clear error; never a traceback, never half a file."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnconv_codec.cli.group import cli
from rnnconv_codec.container import MODEL_ID_BYTES, Container, Header, PixelMode, write_container
from rnnconv_codec.errors import ArgumentError
from rnnconv_codec.targets import Target, truncate

NAME = "in.rnc"

FILE = write_container(
    Container(
        Header(40, 30, PixelMode.RGB, 3, bytes(MODEL_ID_BYTES)),
        (bytes(40), bytes(200), bytes(400)),
    )
)
"""Of a model that is not installed: decoding it is an error, too."""

numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["0", "1", "2", "3", "4", "-1", "1e400", "nan", "40k", "1.5M", ".k", "1_0", "²"]
    ),
)
# A NUL cannot be in an argument, nor can a surrogate.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
values = st.one_of(numbers, texts)
# Without --threads, which would hold for all tests that follow.
options = st.sampled_from(
    [
        *("--iterations", "--bpp", "--size", "--format", "--background", "--strip", "--weights"),
        *("--max-pixels", "--json", "--quiet", "--model", "--overwrite", "-o", "-q"),
    ]
)
# Not the names of folders and streams, which would be other inputs.
inputs = st.sampled_from([NAME, NAME, NAME, "missing.rnc"])


def check(result: Result) -> None:
    """Done, or an error of one line for each input; a wrong call has lines on how to call it."""
    assert result.exit_code in (0, 1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    if result.exit_code == 1:
        assert lines
        assert all(line.startswith("rnncodec: error: ") for line in lines)
    elif result.exit_code == 2:
        assert lines[-1].startswith(("rnncodec: error: ", "Error: ")) or "Error: " in result.stderr


def run(arguments: list[str]) -> tuple[Result, dict[str, bytes]]:
    """Run in a folder with `FILE`; also the files that are there afterwards."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path(NAME).write_bytes(FILE)
            result = CliRunner().invoke(cli, arguments)
            files = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
        finally:
            os.chdir(before)
    return result, files


@given(
    st.sampled_from(["info", "truncate", "decode"]),
    inputs,
    st.lists(st.tuples(options, values), max_size=4),
)
@settings(deadline=None)
def test_no_arguments_give_a_traceback_or_half_a_file(
    command: str, source: str, given_options: list[tuple[str, str]]
) -> None:
    # An output elsewhere than in the folder is not for a test to write.
    plain = [(name, value.replace("/", "") or "x") for name, value in given_options]
    arguments = [command, source, *(word for pair in plain for word in pair)]
    result, files = run(arguments)
    check(result)
    assert files.pop(NAME) == FILE or result.exit_code == 0
    if result.exit_code != 0:
        assert files == {}


@given(values)
@settings(deadline=None)
def test_a_size_is_met_or_refused(size: str) -> None:
    result, files = run(["truncate", NAME, "--size", size, "-o", "out.rnc"])
    check(result)
    assert ("out.rnc" in files) == (result.exit_code == 0)
    if result.exit_code == 0:
        factor = {"k": 1000, "m": 1_000_000}.get(size[-1].lower(), 1)
        assert len(files["out.rnc"]) <= float(size.lower().rstrip("km")) * factor


bounds = st.none() | st.integers() | st.floats()


@given(
    st.fixed_dictionaries(dict.fromkeys(("iterations", "bpp", "size", "psnr", "ms_ssim"), bounds))
)
def test_a_target_is_sound_or_an_argument_error(bound: dict[str, Any]) -> None:
    try:
        target = Target(**bound)
    except ArgumentError:
        return
    assert sum(value is not None for value in bound.values()) <= 1
    for name, value in bound.items():
        if value is not None and name != "iterations":
            assert math.isfinite(value)
            assert value > 0
    assert target.is_quality == (bound["psnr"] is not None or bound["ms_ssim"] is not None)


@given(st.one_of(st.integers(), st.floats()), st.sampled_from(["iterations", "bpp", "size"]))
@example(1e308, "bpp")
def test_the_library_cuts_or_refuses(value: float, name: str) -> None:
    bound: dict[str, Any] = {name: value}
    try:
        shorter = truncate(FILE, **bound)
    except ArgumentError:
        return
    assert len(shorter) <= len(FILE)
    if name == "size":
        assert len(shorter) <= value
