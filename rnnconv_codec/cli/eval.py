"""`rnncodec eval`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rnnconv_codec.batch import use_threads
from rnnconv_codec.cli.options import quiet_option, threads_option, weights_option
from rnnconv_codec.cli.report import count
from rnnconv_codec.errors import MissingExtraError

if TYPE_CHECKING:
    from rnnconv_codec.evaluation.results import Results

ANCHOR_KEYS = ("jpeg-420", "jpeg-444", "webp", "jpeg-2000", "avif")
"""Repeated from `evaluation.anchors`, whose import would make `--help` wait; a test compares."""

_EPILOG = """\b
Example:
  rnncodec eval photos/ --json results.json --report report/
  rnncodec eval photos/ --weights compact-mse --weights mine.safetensors --anchors jpeg-420,webp
"""


def _checked_keys(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    given = [key.strip() for key in value.split(",")]
    for key in given:
        if key not in ANCHOR_KEYS:
            raise click.BadParameter(f"{key!r} is not one of {', '.join(ANCHOR_KEYS)}")
    return given


@click.command("eval", epilog=_EPILOG)
@click.argument("paths", metavar="DIR|IMAGE...", nargs=-1, required=True, type=Path)
@weights_option("compact-mse", multiple=True)
@click.option(
    "--anchors",
    metavar="KEY[,KEY...]",
    callback=_checked_keys,
    default=",".join(ANCHOR_KEYS),
    help=f"Codecs to compare with: {', '.join(ANCHOR_KEYS)}.  [default: all]",
)
@click.option("--json", "json_path", metavar="FILE", type=Path, help="Write all points as JSON.")
@click.option("--csv", "csv_path", metavar="FILE", type=Path, help="Write all points as CSV.")
@click.option(
    "--report",
    "report_folder",
    metavar="DIR",
    type=Path,
    help="Write DIR/index.html: plots, tables and pictures in one page.",
)
@click.option(
    "--report-images",
    metavar="N",
    type=click.IntRange(0),
    help="Show pictures of the first N images only: they are most of the page's bytes.  "
    "[default: all]",
)
@click.option(
    "--cache",
    "cache_folder",
    metavar="DIR",
    type=Path,
    help="Folder for the anchors' points.  [default: the user's cache folder]",
)
@click.option("--no-cache", is_flag=True, help="Measure the anchors anew, keep nothing.")
@threads_option
@quiet_option
def eval_command(
    paths: tuple[Path, ...],
    weights: tuple[str, ...],
    anchors: list[str],
    json_path: Path | None,
    csv_path: Path | None,
    report_folder: Path | None,
    report_images: int | None,
    cache_folder: Path | None,
    no_cache: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Measure rate and quality of the codec and of other codecs on the same images.

    Sizes are those of whole files without metadata. Prints bpp, PSNR and MS-SSIM, means over the
    images, per iteration and setting; the BD-rate against each anchor (PCHIP over log rate, range
    of quality that both curves cover; of the mean curves and per image); and what each iteration
    buys. Needs the extra `eval`. Files that are there already are overwritten.
    """
    if no_cache and cache_folder is not None:
        raise click.UsageError("--cache and --no-cache exclude each other")
    if report_images is not None and report_folder is None:
        raise click.UsageError("--report-images goes with --report")
    try:
        from platformdirs import user_cache_path

        from rnnconv_codec.cli.progress import iteration_progress
        from rnnconv_codec.codec import Codec
        from rnnconv_codec.evaluation.anchors import anchors_of
        from rnnconv_codec.evaluation.cache import PointCache
        from rnnconv_codec.evaluation.measure import available, evaluate
        from rnnconv_codec.evaluation.report import ReportWriter
        from rnnconv_codec.files import atomic_write, check_output
        from rnnconv_codec.weights import DEFAULT_WEIGHTS
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"rnncodec eval needs {error.name}: pip install 'rnnconv-codec[eval]'"
        ) from error

    for output in (json_path, csv_path):
        if output is not None:
            check_output(output, force=True)
    use_threads(threads)
    codecs = [Codec.load(name) for name in weights or (DEFAULT_WEIGHTS,)]
    measured_with = available(anchors_of(anchors))
    cache = PointCache(
        None if no_cache else cache_folder or user_cache_path("rnncodec") / "anchors"
    )
    with ExitStack() as stack:
        report = None
        if report_folder is not None:
            report = stack.enter_context(ReportWriter(report_folder, pictures_of=report_images))
        progress = stack.enter_context(iteration_progress("measuring", quiet=quiet))
        results = evaluate(
            codecs,
            measured_with,
            paths,
            cache=cache,
            progress=progress,
            observer=None if report is None else report.add_image,
        )
        if report is not None:
            report.finish(results)
    if json_path is not None:
        atomic_write(json_path, results.to_json().encode(), force=True)
    if csv_path is not None:
        atomic_write(csv_path, results.to_csv().encode(), force=True)
    if not quiet:
        _print(results)


def _print(results: Results) -> None:
    from rich.console import Console
    from rich.table import Table

    from rnnconv_codec.evaluation.tables import bd_rate_table, points_table, slopes_table

    tables = [points_table(measurement) for measurement in results.measurements()]
    tables += [slopes_table(model) for model in results.models]
    if results.anchors:
        tables.append(bd_rate_table(results))
    console = Console()
    for table in tables:
        shown = Table(title=table.title)
        for index, heading in enumerate(table.headings):
            shown.add_column(heading, justify="left" if index < table.names else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(f"Means of {count(len(results.images), 'image')}.")
