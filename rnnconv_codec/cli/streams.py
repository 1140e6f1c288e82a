"""`-` for standard input and output."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from rnnconv_codec.errors import InputFileError, OutputFileError
from rnnconv_codec.files import atomic_write, check_output, read_file

STREAM = Path("-")
"""The name that stands for standard input or output; a file of this name is `./-`."""

INPUT_NAME = "standard input"
OUTPUT_NAME = "standard output"


class FileOrStream(click.Path):
    """The type of arguments that name a file or `-`."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """The path that is named."""
        path = Path(value)
        # `./-` is the same Path as `-`, but means the file.
        return path.absolute() if path == STREAM and os.fspath(value) != str(STREAM) else path


def read_input(source: Path) -> bytes:
    """The content of a file or of standard input.

    Raises:
        InputFileError: it cannot be read.
    """
    if source != STREAM:
        return read_file(source)
    try:
        return sys.stdin.buffer.read()
    except OSError as error:  # a folder as standard input
        raise InputFileError(f"cannot read {INPUT_NAME}: {error.strerror}") from error


def name_of(source: Path) -> str:
    """What messages call an input."""
    return INPUT_NAME if source == STREAM else str(source)


def check_target(output: Path, *, force: bool) -> None:
    """Check, before any costly work, that `write_output` has a chance to succeed.

    Raises:
        OutputFileError: see `files.check_output`.
        click.UsageError: standard output is a terminal.
    """
    if output != STREAM:
        check_output(output, force=force)
    elif sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: use -o OUT, a pipe or > FILE")


def write_output(output: Path, data: bytes, *, force: bool) -> None:
    """Write a complete file, or all of it to standard output.

    Raises:
        OutputFileError: it cannot be written.
    """
    if output != STREAM:
        atomic_write(output, data, force=force)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has what it wanted; click ends the command
        raise
    except OSError as error:
        raise OutputFileError(f"cannot write {OUTPUT_NAME}: {error.strerror}") from error
