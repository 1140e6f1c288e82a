"""The `rnncodec` command. Nothing else in the package depends on this part of it."""

from __future__ import annotations

import sys

from rnnconv_codec.cli.group import INTERRUPTED_STATUS, cli
from rnnconv_codec.memory import own_process


def main() -> None:
    """Run `rnncodec` with the arguments of the process, and leave the process."""
    own_process()
    try:
        cli.main(prog_name="rnncodec")
    except KeyboardInterrupt:  # outside of a command: while arguments are parsed
        sys.exit(INTERRUPTED_STATUS)
