"""The lines of result that the commands print."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.cli.streams import OUTPUT_NAME, STREAM
from rnnconv_codec.container import FileInfo


def count(number: int, noun: str) -> str:
    """`number` and its noun: "1 iteration", "2 iterations"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def one_line(message: str) -> str:
    """The message without line breaks."""
    return " ".join(message.split())


def print_result(output: Path, info: FileInfo, *, detail: str, seconds: float | None) -> None:
    """One line: name, size of the picture, detail, and time taken.

    On standard output, unless that is where the file went: then on standard error.
    """
    parts = [f"{info.width}x{info.height}", detail]
    if seconds is not None:
        parts.append(f"{seconds:.2f} s")
    name = OUTPUT_NAME if output == STREAM else output
    click.echo(f"{name}: {', '.join(parts)}", err=output == STREAM)


def file_size(file_bytes: int, bpp: float) -> str:
    """Size of a file: "24576 bytes, 0.500 bpp"."""
    return f"{count(file_bytes, 'byte')}, {bpp:.3f} bpp"
