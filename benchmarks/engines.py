"""Where decoding without torch pays: cold `rnncodec decode` with each engine, by size.

    python benchmarks/engines.py [--megapixels 0.01,0.1,0.25,0.5,0.75,1] [--runs 5] [--json FILE]

Wall time from process start to exit, runs of both engines in turn, medians; beside it the time of
`import torch`. Of them come `LIGHT_PIXELS` and `LIGHT_FILES` of `rnnconv_codec/engines.py`. Nothing
else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from speed import photograph

import rnnconv_codec
from rnnconv_codec.engines import ENGINE_VARIABLE, LIGHT, TORCH


def seconds(arguments: tuple[str, ...], engine: str) -> float:
    """Wall time of one Python process."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, env={**os.environ, ENGINE_VARIABLE: engine}
    )
    return time.perf_counter() - start


def measure(megapixels: float, runs: int) -> dict[str, float]:
    """Medians of a cold decode with each engine."""
    with tempfile.TemporaryDirectory() as name:
        encoded, decoded = Path(name) / "a.rnc", Path(name) / "a.png"
        encoded.write_bytes(rnnconv_codec.encode(photograph(megapixels)))
        command = ("decode", str(encoded), "-o", str(decoded), "--overwrite", "-q")
        times: dict[str, list[float]] = {LIGHT: [], TORCH: []}
        for _ in range(runs):
            for engine, found in times.items():
                found.append(seconds(("-m", "rnnconv_codec", *command), engine))
    return {engine: statistics.median(found) for engine, found in times.items()}


def main() -> None:
    """Measure, print, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", default="0.01,0.1,0.25,0.5,0.75,1")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    imports = [seconds(("-c", "import torch"), TORCH) for _ in range(options.runs)]
    print(f"import torch: {statistics.median(imports):.2f} s")
    rows = {size: measure(float(size), options.runs) for size in options.megapixels.split(",")}
    for size, row in rows.items():
        print(f"{size} MP: without torch {row[LIGHT]:.2f} s, with torch {row[TORCH]:.2f} s")
    if options.json is not None:
        result = {"import torch": statistics.median(imports), "decode": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
