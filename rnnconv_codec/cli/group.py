"""The top-level command: lazy subcommands, errors and notices as single lines."""

from __future__ import annotations

import errno
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn, TextIO

import click

from rnnconv_codec import __version__
from rnnconv_codec.cli.report import one_line
from rnnconv_codec.cli.streams import OUTPUT_NAME
from rnnconv_codec.errors import (
    OUT_OF_MEMORY,
    RnncodecError,
    RnncodecWarning,
    is_out_of_memory,
)

FAILED_STATUS = 1
INTERRUPTED_STATUS = 130
"""What a shell reports for a command that Ctrl-C ended: 128 plus the number of the signal."""

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""What writing lines to a file may end with; that of named files has exceptions of its own."""

_ENDING_SIGNALS = ("SIGTERM", "SIGHUP")
"""Besides SIGINT; SIGHUP, of a terminal that is closed, is not known everywhere."""

# Name -> (module, attribute, line of help). The help is here, and a module is imported only when
# its command runs, because `rnncodec --help` must not wait for what the commands import.
_COMMANDS = {
    "encode": ("rnnconv_codec.cli.encode", "encode", "Compress images into .rnc files."),
    "decode": ("rnnconv_codec.cli.decode", "decode", "Turn .rnc files back into images."),
    "info": ("rnnconv_codec.cli.info", "info", "Describe an .rnc file, or weights."),
    "truncate": (
        "rnnconv_codec.cli.truncate",
        "truncate_command",
        "Make an .rnc file smaller by dropping its end.",
    ),
    "compare": (
        "rnnconv_codec.cli.compare",
        "compare",
        "Show an image at several rates beside JPEG.",
    ),
    "weights": ("rnnconv_codec.cli.weights", "weights", "List and verify the installed weights."),
    "train": ("rnnconv_codec.cli.train", "train", "Train a model, one stage at a time."),
    "export": (
        "rnnconv_codec.cli.export",
        "export",
        "Make a weights file of a training state.",
    ),
    "eval": (
        "rnnconv_codec.cli.eval",
        "eval_command",
        "Measure rate and quality beside other codecs.",
    ),
}

_EPILOG = """\b
Example:
  rnncodec encode photo.png          writes photo.rnc
  rnncodec decode photo.rnc -o again.png

Exit status: 0 done, 1 bad input or file, 2 wrong usage, 130 interrupted.
"""


class RnncodecGroup(click.Group):
    """A group whose commands are imported when used and whose errors are one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order in which they are used."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name; None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, text = _COMMANDS[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        command.short_help = text
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line; a full disk behind standard output is an error like others."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in _FULL_DISK:
                raise
            _print_error(f"cannot write {OUTPUT_NAME}: {error.strerror}")
            sys.exit(FAILED_STATUS)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors and notices become lines on standard error."""
        with warnings.catch_warnings():
            # Python's default would print a notice only once, however many images have it.
            warnings.simplefilter("always", RnncodecWarning)
            warnings.showwarning = _show_warning
            try:
                with _ended_as_by_interrupt():
                    return super().invoke(ctx)
            except RnncodecError as error:
                _fail(ctx, str(error), error.exit_status)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                _fail(ctx, OUT_OF_MEMORY)
            except KeyboardInterrupt:
                ctx.exit(INTERRUPTED_STATUS)


@contextmanager
def _ended_as_by_interrupt() -> Iterator[None]:
    """Let what ends the process end it as Ctrl-C does: what it began is cleaned up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # which alone may set handlers
        yield
        return
    numbers = [getattr(signal, name) for name in _ENDING_SIGNALS if hasattr(signal, name)]
    # One that is ignored stays so: `nohup`.
    ours = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _fail(ctx: click.Context, message: str, status: int = FAILED_STATUS) -> NoReturn:
    _print_error(message)
    ctx.exit(status)


def _print_error(message: str) -> None:
    click.echo(f"rnncodec: error: {one_line(message)}", err=True)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    # Other warnings are for programmers: libraries' deprecations and the like.
    if issubclass(category, RnncodecWarning):
        click.echo(f"rnncodec: notice: {one_line(str(message))}", err=True)


@click.group(
    cls=RnncodecGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="rnncodec")
def cli() -> None:
    """A progressive neural image codec: every prefix of a file is a picture."""
