"""Progress bars on a terminal, and nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def iteration_progress(text: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function of (iterations done, total), or None if nobody would see the bar."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    # The bar goes away at the end: what stays is the line with the result.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield show


class FileProgress:
    """Progress over many files: shows it, if anybody can see it, and lines above it."""

    def __init__(self, text: str, files: int, bar: Progress | None) -> None:
        self._bar = bar
        self._task = None if bar is None else bar.add_task(text, total=files, rate="")
        self._megapixels = 0.0

    def advance(self, megapixels: float) -> None:
        """Another file has ended; it had this many megapixels."""
        if self._bar is None or self._task is None:
            return
        self._megapixels += megapixels
        elapsed = self._bar.tasks[0].elapsed
        rate = f"{self._megapixels / elapsed:.2f} MP/s" if elapsed else ""
        self._bar.update(self._task, advance=1, rate=rate)

    def print(self, line: str) -> None:
        """A line on standard error."""
        if self._bar is None:
            click.echo(line, err=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def file_progress(text: str, files: int, *, shown: bool) -> Iterator[FileProgress]:
    """Progress over this many files, with megapixels per second and the time that is left."""
    if not shown or not sys.stderr.isatty():
        yield FileProgress(text, files, None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # Not redirected: what is written to standard output must not appear on standard error.
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        yield FileProgress(text, files, bar)
