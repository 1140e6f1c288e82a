"""`rnncodec info`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rnnconv_codec.cli.options import input_argument
from rnnconv_codec.cli.report import count, file_size, whole_and_part
from rnnconv_codec.cli.streams import read_input
from rnnconv_codec.container import FileInfo, inspect
from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights, load_model_file, name_of_model

_EPILOG = """\b
Example:
  rnncodec info photo.rnc
  rnncodec info photo.rnc --json
  rnncodec info --model
"""


@click.command(epilog=_EPILOG)
@input_argument("FILE", required=False)
@click.option(
    "--model",
    metavar="[NAME|PATH]",
    is_flag=False,
    flag_value=DEFAULT_WEIGHTS,
    help="Describe weights instead of a file.  [default without a value: compact-mse]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def info(source: Path | None, model: str | None, as_json: bool) -> None:
    """Describe an .rnc FILE: size, model, metadata and the rate after each iteration.

    - stands for standard input. With --model and without FILE, describe weights: their size and
    training, and the multiply-adds per pixel and iteration that encoding and decoding take,
    counted while a small picture is coded.
    """
    if (source is None) == (model is None):
        raise click.UsageError("either FILE or --model is needed")
    if source is not None:
        _describe_file(source, as_json=as_json)
    if model is not None:
        _describe_model(model, as_json=as_json)


def _describe_file(source: Path, *, as_json: bool) -> None:
    found = inspect(read_input(source))
    if as_json:
        click.echo(json.dumps(_as_dict(source, found), indent=2))
        return
    metadata = ", ".join(
        f"{name} {count(size, 'byte')}" for name, size in found.metadata_bytes.items()
    )
    iterations = whole_and_part(found)
    if found.is_cut:
        iterations += f" of {found.declared_iterations}, the file is cut"
    click.echo(f"file        {source}")
    click.echo(f"version     {found.version}")
    transparency = " with transparency" if "alpha" in found.metadata_bytes else ""
    click.echo(f"picture     {found.width}x{found.height} {found.mode.name}{transparency}")
    click.echo(f"size        {file_size(found.file_bytes, found.bpp)}")
    click.echo(f"model       {name_of_model(bytes.fromhex(found.model_id))}")
    click.echo(f"metadata    {metadata or 'none'}")
    click.echo(f"iterations  {iterations}")
    click.echo()
    click.echo("iteration  segment bytes     bpp so far")
    for number, (size, bpp) in enumerate(
        zip(found.segment_bytes, found.cumulative_bpp, strict=True), 1
    ):
        click.echo(f"{number:9d}  {size:13d}  {bpp:13.3f}")
    if found.partial_bytes is not None:
        bpp = found.bpp_of(found.decodable_bytes)
        click.echo(f"{'a part':>9}  {found.partial_bytes:13d}  {bpp:13.3f}")


def _as_dict(source: Path, found: FileInfo) -> dict[str, object]:
    return {
        "file": str(source),
        "version": found.version,
        "width": found.width,
        "height": found.height,
        "mode": found.mode.name,
        "iterations": found.iterations,
        "declared_iterations": found.declared_iterations,
        "is_cut": found.is_cut,
        "model_id": found.model_id,
        "file_bytes": found.file_bytes,
        "bpp": found.bpp,
        "segment_bytes": list(found.segment_bytes),
        "partial_bytes": found.partial_bytes,
        "cumulative_bpp": list(found.cumulative_bpp),
        "metadata_bytes": found.metadata_bytes,
    }


def _describe_model(name_or_path: str, *, as_json: bool) -> None:
    from rnnconv_codec.codec import Codec
    from rnnconv_codec.complexity import count_multiply_adds

    path = find_weights(name_or_path)
    model = load_model_file(path)
    cost = count_multiply_adds(Codec(model))
    parameters = sum(tensor.numel() for tensor in model.tensors.values())
    file_bytes = path.stat().st_size
    if as_json:
        found = {
            "name": model.name,
            "path": str(path),
            "model_id": model.model_id.hex(),
            "preset": model.config.preset,
            "iterations": model.config.iterations,
            "parameters": parameters,
            "file_bytes": file_bytes,
            "training": model.training,
            "multiply_adds": {
                way: {"total": counted.total, "parts": counted.parts}
                for way, counted in (("encode", cost.encode), ("decode", cost.decode))
            },
        }
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"weights     {model.name}")
    click.echo(f"file        {path}, {count(file_bytes, 'byte')}")
    click.echo(f"model       {model.model_id.hex()}")
    click.echo(f"preset      {model.config.preset}")
    click.echo(f"iterations  {model.config.iterations}")
    click.echo(f"parameters  {parameters}")
    click.echo()
    click.echo(_training_history(model.training))
    if weight := model.training.get("ms_ssim_weight"):
        click.echo(f"share of MS-SSIM in the distortion: {weight:g}")
    click.echo()
    ways = (cost.encode, cost.decode)
    rows = [
        (part, [way.parts.get(part, 0) for way in ways])
        for part in cost.encode.parts | cost.decode.parts
    ]
    click.echo("multiply-adds per pixel and iteration")
    click.echo(f"{'part':20}  {'encode':>8}  {'decode':>8}")
    for part, (encode, decode) in [*rows, ("total", [way.total for way in ways])]:
        click.echo(f"{part:20}  {encode:8.0f}  {decode:8.0f}")


def _training_history(training: Mapping[str, Any]) -> str:
    """A line per stage that the weights file tells of."""
    stages = training.get("stages")
    if not stages:
        return "training stages: not told"
    lines = [f"{'training stage':20}  {'steps':>8}  {'minutes':>8}"]
    lines += [
        f"{stage['stage']:20}  {stage['step']:8d}  {stage['seconds'] / 60:8.1f}" for stage in stages
    ]
    return "\n".join(lines)
