"""Builds the man pages of `rnncodec` and its commands from their help.

    python scripts/build_man.py --output build/man

Copy them to a folder `man1` of the MANPATH, such as ~/.local/share/man/man1.
"""

from __future__ import annotations

import argparse
import copy
from inspect import cleandoc
from pathlib import Path

import click
from click_man.core import write_man_pages

from rnnconv_codec import __version__
from rnnconv_codec.cli.group import cli


def with_examples(command: click.Command) -> click.Command:
    """The command with its epilog in its help: a man page has no epilog."""
    described = copy.copy(command)
    described.help = f"{cleandoc(command.help or '')}\n\n{command.epilog or ''}"
    return described


def whole_group() -> click.Group:
    """The top-level command with all others loaded, where click-man looks for them."""
    context = click.Context(cli)
    group = click.Group(
        "rnncodec",
        params=cli.params,
        help=with_examples(cli).help,
        short_help="progressive neural image codec",
    )
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None  # it is listed
        group.add_command(with_examples(command), name)
    return group


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/man"), help="folder to write to")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    write_man_pages("rnncodec", whole_group(), version=__version__, target_dir=folder)
    print(f"{len(list(folder.glob('*.1')))} pages in {folder}")


if __name__ == "__main__":
    main()
