"""What `encode` and `decode` have in common: one file or stream, or many files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from rnnconv_codec.batch import (
    Conversion,
    Decoding,
    Encoding,
    Report,
    Result,
    Runner,
    ThisProcess,
    convert_files,
    plan_jobs,
)
from rnnconv_codec.cli.options import combined, derived_output, reject_same_file
from rnnconv_codec.cli.progress import FileProgress, file_progress, iteration_progress
from rnnconv_codec.cli.report import count, one_line, print_result
from rnnconv_codec.cli.streams import (
    STREAM,
    FileOrStream,
    check_target,
    name_of,
    read_input,
    write_output,
)
from rnnconv_codec.engines import LIGHT_FILES
from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights, model_id_of

MAX_JOBS = 256

_PIXELS_PER_MEGAPIXEL = 1e6

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class FileOptions:
    """Where inputs come from and outputs go: the values of the options of `file_options`."""

    sources: tuple[Path, ...]
    output: Path | None
    output_dir: Path | None
    recursive: bool
    jobs: int
    dask: str | None
    overwrite: bool
    skip_existing: bool
    as_json: bool
    quiet: bool

    @property
    def is_batch(self) -> bool:
        """Whether the files are reported on together, even if there is but one."""
        asked = self.output_dir is not None or self.recursive or self.skip_existing
        spread = self.jobs > 1 or self.dask is not None
        return asked or spread or self.as_json or len(self.sources) > 1


def file_options(default_output: str) -> Callable[[Decorated], Decorated]:
    """The argument IN... and the options of `FileOptions`."""
    decorators = (
        click.argument(
            "sources",
            metavar="IN...",
            nargs=-1,
            required=True,
            type=FileOrStream(),
        ),
        click.option(
            "-o",
            "--output",
            metavar="OUT",
            type=FileOrStream(),
            help=f"File to write, - for standard output.  [default: {default_output}]",
        ),
        click.option(
            "--output-dir",
            metavar="DIR",
            type=click.Path(path_type=Path),
            help="Folder to write to, made if missing.  [default: beside each IN]",
        ),
        click.option(
            "-r",
            "--recursive",
            is_flag=True,
            help="Take the files in folders among IN, at any depth.",
        ),
        click.option(
            "-j",
            "--jobs",
            metavar="N",
            type=click.IntRange(1, MAX_JOBS),
            default=1,
            show_default=True,
            help="Processes to work with; the threads are divided among them.",
        ),
        click.option(
            "--dask",
            metavar="ADDRESS",
            help="Work on the Dask cluster of this scheduler, such as tcp://host:8786.",
        ),
        click.option("--overwrite", "--force", is_flag=True, help="Overwrite files that exist."),
        click.option("--skip-existing", is_flag=True, help="Leave out what has its output."),
        click.option("--json", "as_json", is_flag=True, help="Print a JSON line per file."),
        click.option(
            "-q",
            "--quiet",
            is_flag=True,
            help="No result line and no progress; notices and errors only.",
        ),
    )
    return combined(decorators)


def convert(
    conversion: Encoding | Decoding,
    options: FileOptions,
    *,
    ending: str,
    suffixes: frozenset[str],
    text: str,
    detail: Callable[[Result], str],
) -> None:
    """Convert one file or stream, or many files.

    Args:
        conversion: what to do to each.
        options: which files.
        ending: of outputs whose name is derived.
        suffixes: of the files to take from folders.
        text: for the progress bar.
        detail: what the result line of one file says.

    Raises:
        RnncodecError: of one file; of many files, failures are reported.
        click.UsageError: options that contradict each other.
        click.exceptions.Exit: with status 1 if one of many files failed.
    """
    if options.is_batch:
        _convert_many(conversion, options, ending=ending, suffixes=suffixes, text=text)
    else:
        _convert_one(
            conversion,
            options.sources[0],
            single_output(options, ending),
            force=options.overwrite,
            quiet=options.quiet,
            text=text,
            detail=detail,
        )


def _convert_one(
    conversion: Conversion,
    source: Path,
    output: Path,
    *,
    force: bool,
    quiet: bool,
    text: str,
    detail: Callable[[Result], str],
) -> None:
    """Convert a file or a stream; errors are raised, as in every command for one file."""
    started = time.perf_counter()
    reject_same_file(source, output)
    check_target(output, force=force)
    data = read_input(source)
    with iteration_progress(text, quiet=quiet) as progress:
        result = conversion.run(data, name_of(source), progress)
    write_output(output, result.data, force=force)
    if not quiet:
        seconds = time.perf_counter() - started
        print_result(output, result.info, detail=detail(result), seconds=seconds)


def single_output(options: FileOptions, ending: str) -> Path:
    """The output of the only input: `-o`, or a derived name; a stream gives a stream."""
    if options.output is not None:
        return options.output
    source = options.sources[0]
    return STREAM if source == STREAM else derived_output(source, ending)


def _convert_many(
    conversion: Encoding | Decoding,
    options: FileOptions,
    *,
    ending: str,
    suffixes: frozenset[str],
    text: str,
) -> None:
    """Convert files with one progress bar, and report failures at the end."""
    _reject_contradictions(options)
    jobs = plan_jobs(
        options.sources,
        ending=ending,
        suffixes=suffixes,
        output_dir=options.output_dir,
        recursive=options.recursive,
    )
    conversion = _for_batch(conversion, options)
    if isinstance(conversion, Decoding):
        few = len(jobs) <= LIGHT_FILES and options.jobs == 1 and options.dask is None
        conversion = replace(conversion, few_files=few)
    runner = _runner(options)
    started = time.perf_counter()
    reports: list[Report] = []
    shown = not options.quiet and not options.as_json
    with file_progress(text, len(jobs), shown=shown) as progress:
        for report in convert_files(
            jobs,
            conversion,
            runner,
            overwrite=options.overwrite,
            skip_existing=options.skip_existing,
        ):
            reports.append(_without_content(report))
            _show(report, progress, as_json=options.as_json)
    failed = [report for report in reports if report.status == "failed"]
    if shown:
        click.echo(_summary(reports, time.perf_counter() - started))
    for report in failed:
        click.echo(f"rnncodec: error: {_failure(report)}", err=True)
    if failed:
        raise click.exceptions.Exit(1)


def _reject_contradictions(options: FileOptions) -> None:
    if options.output is not None:
        raise click.UsageError("-o is for one file: use --output-dir")
    if options.overwrite and options.skip_existing:
        raise click.UsageError("--overwrite and --skip-existing contradict each other")
    if options.jobs > 1 and options.dask is not None:
        raise click.UsageError("--jobs and --dask contradict each other")
    if STREAM in options.sources:
        raise click.UsageError("standard input can only be the only input, with -o or in a pipe")


def _for_batch(conversion: Encoding | Decoding, options: FileOptions) -> Encoding | Decoding:
    """The conversion as other processes and machines can do it."""
    if conversion.weights is not None:
        # Missing weights are one error now, and not one for each file.
        path = find_weights(conversion.weights)
        if Path(conversion.weights).is_file():
            conversion = replace(conversion, weights=str(path.resolve()))
    if options.jobs > 1:
        threads = conversion.threads or _available_cores()
        return replace(conversion, threads=max(1, threads // options.jobs))
    if options.dask is not None and isinstance(conversion, Encoding):
        path = find_weights(conversion.weights or DEFAULT_WEIGHTS)
        return replace(conversion, model_id=model_id_of(path).hex())
    return conversion


def _runner(options: FileOptions) -> Runner:
    if options.dask is not None:
        from rnnconv_codec.cluster import DaskCluster

        return DaskCluster(options.dask)
    if options.jobs == 1:
        return ThisProcess()
    from rnnconv_codec.processes import Processes

    return Processes(options.jobs)


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # a container may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _without_content(report: Report) -> Report:
    """The report without the file it is about, of which there may be thousands."""
    result = report.outcome.result
    if result is None:
        return report
    return replace(report, outcome=replace(report.outcome, result=replace(result, data=b"")))


def _show(report: Report, progress: FileProgress, *, as_json: bool) -> None:
    result = report.outcome.result
    pixels = 0 if result is None else result.info.width * result.info.height
    if as_json:
        click.echo(json.dumps(_as_dict(report)))
    for notice in report.outcome.notices:
        progress.print(f"rnncodec: notice: {_named(report, notice)}")
    progress.advance(pixels / _PIXELS_PER_MEGAPIXEL)


def _as_dict(report: Report) -> dict[str, object]:
    outcome, result = report.outcome, report.outcome.result
    described: dict[str, object] = {
        "input": str(report.job.source),
        "output": str(report.job.output),
        "status": report.status,
    }
    if result is not None:
        described |= {
            "width": result.info.width,
            "height": result.info.height,
            "iterations": result.used.iterations,
            "partial_bytes": result.used.partial_bytes,
            "rnc_bytes": result.rnc_bytes,
            "bpp": result.bpp,
            "seconds": outcome.seconds,
        }
    if outcome.error is not None:
        described["error"] = one_line(outcome.error)
    return described | {"notices": [one_line(notice) for notice in outcome.notices]}


def _failure(report: Report) -> str:
    return _named(report, report.outcome.error or "")


def _named(report: Report, message: str) -> str:
    """The message with the name of its file, once."""
    name = str(report.job.source)
    is_named = message.startswith(name) or f" {name}:" in message
    return one_line(message if is_named else f"{name}: {message}")


def _summary(reports: list[Report], seconds: float) -> str:
    results = [r.outcome.result for r in reports if r.outcome.result is not None]
    pixels = sum(result.info.width * result.info.height for result in results)
    parts = [count(len(results), "file")]
    if results:
        rnc_bytes = sum(result.rnc_bytes for result in results)
        megapixels = pixels / _PIXELS_PER_MEGAPIXEL
        parts += [
            f"{megapixels:.2f} MP",
            f"{count(rnc_bytes, 'byte')} of .rnc, {8 * rnc_bytes / pixels:.3f} bpp",
            f"{seconds:.2f} s, {megapixels / seconds:.2f} MP/s",
        ]
    for status in ("skipped", "failed"):
        number = sum(report.status == status for report in reports)
        if number:
            parts.append(f"{number} {status}")
    return ", ".join(parts)
