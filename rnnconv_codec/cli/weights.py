"""`rnncodec weights`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from rnnconv_codec.verification import WeightsReport, report_on_weights
from rnnconv_codec.weights import find_weights, list_weights

_EPILOG = """\b
Examples:
  rnncodec weights
  rnncodec weights --no-verify --json
  rnncodec weights mine.safetensors
"""


@click.command("weights", epilog=_EPILOG)
@click.argument("names", metavar="[NAME|PATH]...", nargs=-1)
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Load each file and check it, or only list them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array instead of a table.")
def weights(names: tuple[str, ...], verify: bool, as_json: bool) -> None:
    """List the installed weights, or those named, and verify them.

    The model id is the beginning of the SHA-256 of the file, so equal ids are equal files.
    Verified are the whole SHA-256 against the record of the installed package, the shapes of all
    tensors, and that the context model computes exactly. The exit status is 1 if a file is faulty.
    """
    paths = [find_weights(name) for name in names] if names else list_weights()
    reports = [report_on_weights(path, verify=verify) for path in paths]
    if as_json:
        click.echo(json.dumps([_as_dict(report) for report in reports], indent=2))
    else:
        _print_table(reports)
    if any(report.fault is not None for report in reports):
        raise click.exceptions.Exit(1)


def _as_dict(report: WeightsReport) -> dict[str, object]:
    return asdict(report) | {"path": str(report.path)}


def _print_table(reports: list[WeightsReport]) -> None:
    width = max([len("weights"), *(len(report.name) for report in reports)])
    click.echo(f"{'weights':{width}}  model id          preset    iterations      MB  state")
    for report in reports:
        state = "ok" if report.is_verified else "not verified"
        click.echo(
            f"{report.name:{width}}  {report.model_id}  {report.preset or '?':8}  "
            f"{report.iterations or '?':>10}  {report.file_bytes / 1e6:6.1f}  "
            f"{state if report.fault is None else report.fault}"
        )
