"""The lines of result that the commands print."""

from __future__ import annotations

from pathlib import Path

import click

from rnnconv_codec.cli.streams import OUTPUT_NAME, STREAM
from rnnconv_codec.container import FileInfo


def count(number: int, noun: str) -> str:
    """`number` and its noun: "1 iteration", "2 iterations"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def whole_and_part(info: FileInfo) -> str:
    """The whole iterations of a file, and whether there is a part of the next: "3 and a part"."""
    return f"{info.iterations}{'' if info.partial_bytes is None else ' and a part'}"


def one_line(message: str) -> str:
    """The message without line breaks."""
    return " ".join(message.split())


def encoded_detail(info: FileInfo) -> str:
    """Iterations and size of a file: "3 and a part of 4 iterations, 24576 bytes, 0.500 bpp"."""
    declared = count(info.declared_iterations, "iteration")
    if info.partial_bytes is not None:
        declared = f"{whole_and_part(info)} of {declared}"
    return f"{declared}, {file_size(info.file_bytes, info.bpp)}"


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
