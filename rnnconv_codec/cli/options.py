"""What the commands share: options, output names and the checks made before the work."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from rnnconv_codec.cli.streams import STREAM, FileOrStream
from rnnconv_codec.container import MAX_ITERATIONS
from rnnconv_codec.errors import InputFileError
from rnnconv_codec.files import is_same_file
from rnnconv_codec.targets import Target

RNC_SUFFIX = ".rnc"
MAX_THREADS = 256

OUTPUT_FORMATS = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "tiff": ".tif",
    "bmp": ".bmp",
    "ppm": ".ppm",
    "tga": ".tga",
}
"""The values of `--format`, and the ending that each gives to a derived name."""

STRIP_ALL = "all"

_UNITS = {"": 1, "k": 1000, "m": 1_000_000}

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def combined(
    decorators: Sequence[Callable[[Decorated], Decorated]],
) -> Callable[[Decorated], Decorated]:
    """One decorator that adds the options of several, in their order."""

    def decorate(function: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def input_argument(
    metavar: str = "IN", *, required: bool = True
) -> Callable[[Decorated], Decorated]:
    """The file to read. Whether it is there is checked when it is read: status 1, not 2."""
    return click.argument("source", metavar=metavar, type=FileOrStream(), required=required)


def output_option(default: str) -> Callable[[Decorated], Decorated]:
    """`-o/--output`; `default` says what name is derived without it."""
    return click.option(
        "-o",
        "--output",
        metavar="OUT",
        type=FileOrStream(),
        help=f"File to write, - for standard output.  [default: {default}]",
    )


def iterations_option(text: str) -> Callable[[Decorated], Decorated]:
    """`--iterations N`."""
    return click.option(
        "--iterations",
        metavar="N",
        type=click.IntRange(1, MAX_ITERATIONS),
        help=text,
    )


def _bytes(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """The number of bytes that 40000, 40k or 1.5M says."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+|\d*\.\d+)([km]?)", value.lower())
    size = 0
    if match is not None:
        number, unit = match.groups()
        # Exactly: 1.1M are 1100000 bytes, and not one less.
        size = int(Fraction(number) * _UNITS[unit])
    if size < 1:
        raise click.BadParameter(f"{value!r} is not a size such as 40000, 40k or 1.5M")
    return size


_bound = click.FloatRange(0, min_open=True)


def target_options(text: str, *, qualities: bool = False) -> Callable[[Decorated], Decorated]:
    """`--iterations`, `--bpp` and `--size`, and if asked `--psnr` and `--ms-ssim`."""
    decorators = [
        iterations_option(text),
        click.option(
            "--bpp",
            metavar="B",
            type=_bound,
            help="At most B bits of the .rnc file per pixel.",
        ),
        click.option(
            "--size",
            metavar="BYTES",
            callback=_bytes,
            help="At most so many bytes of the .rnc file, from 1; also 40k or 1.5M.",
        ),
    ]
    if qualities:
        decorators += [
            click.option(
                "--psnr", metavar="DB", type=_bound, help="At least a PSNR of DB decibels."
            ),
            click.option(
                "--ms-ssim",
                metavar="S",
                type=click.FloatRange(0, 1, min_open=True),
                help="At least an MS-SSIM of S; needs the extra eval.",
            ),
        ]
    return combined(decorators)


def target_of(**bounds: Any) -> Target:
    """The target that the options of `target_options` say.

    Raises `click.UsageError` if it is more than one.
    """
    given = [f"--{name.replace('_', '-')}" for name in bounds if bounds[name] is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other")
    return Target(**bounds)


def weights_option(default: str, *, multiple: bool = False) -> Callable[[Decorated], Decorated]:
    """`--weights NAME|PATH`; `default` says which weights are used without it."""
    repeated = " May be repeated." if multiple else ""
    return click.option(
        "--weights",
        metavar="NAME|PATH",
        multiple=multiple,
        help=f"Installed weights, or a .safetensors file.{repeated}  [default: {default}]",
    )


threads_option = click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(1, MAX_THREADS),
    help="CPU threads to compute with.  [default: torch's choice]",
)
force_option = click.option(
    "--overwrite", "--force", "force", is_flag=True, help="Overwrite OUT if it exists."
)
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="No result line and no progress; notices and errors only."
)


strip_option = click.option(
    "--strip",
    type=click.Choice((STRIP_ALL, "exif", "icc", "xmp")),
    multiple=True,
    help="Metadata to leave out; may be given more than once.  [default: none]",
)
alpha_option = click.option(
    "--alpha",
    metavar="lossless|drop|#rrggbb",
    default="lossless",
    show_default=True,
    help="Keep the transparency bit for bit, drop it, or blend with a CSS colour (quote the #).",
)
allow_larger_option = click.option(
    "--allow-larger",
    is_flag=True,
    help="No notice if the .rnc file is larger than the image file.",
)
max_pixels_option = click.option(
    "--max-pixels",
    metavar="N",
    type=click.IntRange(1),
    help="Refuse larger pictures, before any memory is taken for them.  [default: 100000000]",
)
format_option = click.option(
    "--format",
    "format_name",
    type=click.Choice(tuple(OUTPUT_FORMATS)),
    help="Image format of OUT.  [default: what the ending of OUT says]",
)
background_option = click.option(
    "--background",
    metavar="#rrggbb",
    help="Put a transparent picture on this CSS colour.  [default: keep it; where the format has "
    "no transparency, white with a notice]",
)


def stripped_names(strip: tuple[str, ...]) -> tuple[str, ...]:
    """The names of metadata that `--strip` leaves out."""
    from rnnconv_codec.images import STRIPPABLE

    return STRIPPABLE if STRIP_ALL in strip else strip


def derived_output(source: Path, ending: str) -> Path:
    """The path of `source` with `ending` in place of its suffix: the output without `-o`.

    Raises `InputFileError` if `source` has no name to derive one from: a folder such as `..`.
    """
    if source.name in ("", ".."):
        raise InputFileError(f"cannot read {source}: it is a directory")
    return source.with_name(source.stem + ending)


def reject_same_file(source: Path, output: Path) -> None:
    """Raise a usage error if both are one file, however they are spelled; streams never are."""
    if source != STREAM and output != STREAM and is_same_file(source, output):
        raise click.UsageError(f"IN and OUT are the same file: {source}")
