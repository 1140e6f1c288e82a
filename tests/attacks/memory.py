"""Measures the memory that decoding takes, of hostile files and of sound ones of equal size.

    python tests/attacks/memory.py [--weights compact-mse]

Prints JSON: the bytes by which the peak of the process rose while each file was decoded. Needs
Linux and its C library, which can be told to forget an earlier peak and to give back free memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import sys
import warnings
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER.parent / "golden"

BYTES_PER_PIXEL = 320
"""Decoding takes at most so many bytes for a pixel that the header declares, see SECURITY.md."""

FIXED_BYTES = 80 << 20
"""And so many for any picture: Pillow may take 64 MB for texts in the PNG of an alpha plane."""

FILE_MULTIPLE = 4
"""And the file so many times over: payloads are copied once or twice."""

SIDES = (512, 1024)
"""Of the square pictures that are compared."""

_PEAK = "VmHWM:"
_RESET_PEAK = "5"


def peak_bytes() -> int:
    """The largest resident size of this process since `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith(_PEAK)]
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Let the peak be what the process has now, and what is free belong to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def main() -> int:
    """Decode each file and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=str(GOLDEN / "rate-aware.safetensors"))
    options = parser.parse_args()

    import torch

    from fuzz.chunks import Chunk, join, split
    from rnnconv_codec.codec import Codec
    from rnnconv_codec.errors import RnncodecError

    torch.set_num_threads(1)
    codec = Codec.load(options.weights)

    def growth(data: bytes) -> int:
        forget_peak()
        before = peak_bytes()
        with warnings.catch_warnings(), contextlib.suppress(RnncodecError):
            warnings.simplefilter("ignore")
            codec.decode(data)
        return peak_bytes() - before

    found: dict[str, int] = {}
    growth(codec.encode(Image.new("RGB", (64, 64))))  # what is imported or made once
    for path in sorted(FOLDER.glob("*.rnc")):
        found[path.stem] = growth(path.read_bytes())
    for side in SIDES:
        picture = Image.radial_gradient("L").resize((side, side)).convert("RGB")
        sound = codec.encode(picture)
        first, *iterations = split(sound)[0]
        found[f"sound {side}"] = growth(sound)
        found[f"no codes {side}"] = growth(join([first, *[Chunk(2, b"")] * len(iterations)]))
    json.dump(found, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
