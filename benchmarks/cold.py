"""Wall time of whole `rnncodec` commands, process start to exit, on one picture.

    python benchmarks/cold.py PICTURE [--runs 5] [--json FILE]

Takes the command of the environment that runs it. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image


def seconds(*arguments: str) -> float:
    """Wall time of one command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "rnnconv_codec", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        encoded, decoded, shorter = (Path(name) / file for file in ("a.rnc", "a.png", "b.rnc"))
        encode = ("encode", str(options.picture), "-o", str(encoded), "--overwrite", "-q")
        decode = ("decode", str(encoded), "-o", str(decoded), "--overwrite", "-q")
        truncate = ("truncate", str(encoded), "--bpp", "0.5", "-o", str(shorter), "--overwrite")
        times = {
            "encode": [seconds(*encode) for _ in range(options.runs)],
            "decode": [seconds(*decode) for _ in range(options.runs)],
            "info": [seconds("info", str(encoded), "--json") for _ in range(options.runs)],
            "truncate": [seconds(*truncate) for _ in range(options.runs)],
            "help": [seconds("--help") for _ in range(options.runs)],
            "version": [seconds("--version") for _ in range(options.runs)],
        }
    with Image.open(options.picture) as picture:
        size = picture.size
    result = {
        "picture": options.picture.name,
        "pixels": size[0] * size[1],
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "median_seconds": {name: statistics.median(values) for name, values in times.items()},
        "seconds": times,
    }
    print(json.dumps(result["median_seconds"]))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
