"""`rnncodec eval`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from rnnconv_codec.batch import use_threads
from rnnconv_codec.cli.options import quiet_option, threads_option, weights_option

if TYPE_CHECKING:
    from rnnconv_codec.evaluation.measure import Measurement

_EPILOG = """\b
Example:
  rnncodec eval photos/ --json results.json
"""


@click.command("eval", epilog=_EPILOG)
@click.argument("paths", metavar="DIR|IMAGE...", nargs=-1, required=True, type=Path)
@weights_option("compact-mse")
@threads_option
@quiet_option
@click.option("--json", "json_path", type=Path, help="Also write all points to this file.")
def eval_command(
    paths: tuple[Path, ...],
    weights: str | None,
    threads: int | None,
    quiet: bool,
    json_path: Path | None,
) -> None:
    """Measure rate and quality of the codec and of JPEG on the same images.

    Sizes are those of whole files without metadata. Prints bpp, PSNR and MS-SSIM, means over the
    images, per iteration and for progressive, optimised JPEG 4:2:0, and the BD-rate against it
    (PCHIP over log rate, overlapping range of quality, curves of the means). Needs the extra
    `eval`.
    """
    from rnnconv_codec.api import load_codec
    from rnnconv_codec.cli.progress import iteration_progress
    from rnnconv_codec.evaluation.measure import bd_rates, measure_folder
    from rnnconv_codec.files import atomic_write

    use_threads(threads)
    codec = load_codec(weights)
    with iteration_progress("measuring", quiet=quiet) as progress:
        measurements = measure_folder(codec, paths, progress)
    ours, anchor = measurements
    deltas = bd_rates(ours, anchor)
    console = Console(quiet=quiet)
    for measurement in measurements:
        console.print(_table(measurement))
    console.print(
        f"BD-rate of {ours.name} against {anchor.name}: "
        f"{_percent(deltas['psnr'])} in PSNR, {_percent(deltas['ms_ssim'])} in MS-SSIM"
    )
    if json_path is not None:
        result = {
            "model_id": codec.model_id.hex(),
            "bd_rate": {anchor.name: deltas},
            "measurements": [asdict(measurement) for measurement in measurements],
        }
        atomic_write(json_path, (json.dumps(result, indent=1) + "\n").encode(), force=True)


def _percent(delta: float | None) -> str:
    return "no overlap" if delta is None else f"{delta:+.1f} %"


def _table(measurement: Measurement) -> Table:
    table = Table(title=f"{measurement.name}, {len(measurement.images)} images")
    for heading in ("setting", "bpp", "PSNR / dB", "MS-SSIM"):
        table.add_column(heading, justify="right")
    for point in measurement.means:
        table.add_row(
            str(point.setting), f"{point.bpp:.3f}", f"{point.psnr:.2f}", f"{point.ms_ssim:.4f}"
        )
    return table
