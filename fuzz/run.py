"""Fuzzes the container parser or the whole decoder with atheris, until a crash or a time limit.

    python -m fuzz.run container|decoder [CORPUS ...] [-max_total_time=60 and the like]

What is found goes to the first folder of CORPUS; with -merge=1, what the others have beyond it.
`make fuzz` runs both targets in turn.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import atheris

# Measured are the bytecode of this package and of the image formats of the alpha chunk. All that
# is imported here would be instrumented; torch and numpy are far too much.
_INSTRUMENTED = ["rnnconv_codec", "PIL.ImageFile", "PIL.PngImagePlugin", "PIL.WebPImagePlugin"]

with atheris.instrument_imports(include=_INSTRUMENTED):
    from fuzz.checks import CHECKS, WEIGHTS
    from fuzz.mutator import Mutator
    from rnnconv_codec.codec import Codec
    from rnnconv_codec.weights import model_id_of

FUZZ = Path(__file__).resolve().parent

TIMEOUT_SECONDS = 10
"""A file that takes longer is a hang."""

RSS_LIMIT_MB = 1024
"""The process with PyTorch and the small model has 400 MB."""

MAX_FILE_BYTES = 4096


def main() -> None:
    """Fuzz; libFuzzer ends the process."""
    name, *arguments = sys.argv[1:]
    options = [
        f"-timeout={TIMEOUT_SECONDS}",
        f"-rss_limit_mb={RSS_LIMIT_MB}",
        f"-max_len={MAX_FILE_BYTES}",
        f"-dict={FUZZ / 'rnc.dict'}",
        "-print_final_stats=1",
    ]
    import torch

    torch.set_num_threads(1)
    Codec.load(WEIGHTS)  # what is imported late is no leak of the first file
    # Looked up when it is called: Fuzz puts the working function in the place of a stub.
    mutator = Mutator(model_id_of(WEIGHTS), lambda data, size: bytes(atheris.Mutate(data, size)))
    # libFuzzer starts itself anew to merge corpora (-merge=1), by this in a shell.
    command = shlex.join([sys.executable, "-m", "fuzz.run", name])
    atheris.Setup(
        [command, *options, *arguments],
        CHECKS[name],
        custom_mutator=mutator.change,
        custom_crossover=mutator.cross,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
