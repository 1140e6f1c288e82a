"""How much faster is this checkout than another one? Both are run in turn, so noise hits both.

    git worktree add /tmp/before COMMIT
    python benchmarks/paired.py /tmp/before [--weights FILE] [--before-weights FILE] \
        [--megapixels 0.4] [--threads 1,2] [--without-vnni]

Each run is a process of its own that encodes a photograph of scikit-image and decodes it again,
once to warm up and then timed. Printed are medians, and the median of the ratios of neighbouring
runs. `--before-weights` are for a checkout that does not know those of today. `--without-vnni`
keeps both to the instructions of processors with AVX2 only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speed import photograph

HERE = Path(__file__).resolve().parent.parent

AVX2_ONLY = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Environment that keeps oneDNN, PyTorch's own loops and MKL to AVX2."""


def measure(weights: Path, megapixels: float, threads: int) -> dict[str, Any]:
    """Seconds of an encode and a decode in this process, after a first of each."""
    import torch

    from rnnconv_codec.codec import Codec

    torch.set_num_threads(threads)
    codec = Codec.load(weights)
    picture = photograph(megapixels)
    data = codec.encode(picture)
    codec.decode(data)
    found: dict[str, Any] = {"file": hashlib.sha256(data).hexdigest()}
    for name, work in (
        ("encode", lambda: codec.encode(picture)),
        ("decode", lambda: codec.decode(data)),
        ("decode 1", lambda: codec.decode(data, iterations=1)),
    ):
        start = time.perf_counter()
        work()
        found[name] = time.perf_counter() - start
    return found


def run(checkout: Path, arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """`measure` with the package of a checkout, in a process with these variables."""
    output = subprocess.run(
        [sys.executable, __file__, "--one", *arguments],
        env={**os.environ, **environment, "PYTHONPATH": str(checkout)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def main() -> None:
    """Measure both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", nargs="?", type=Path)
    parser.add_argument("--weights", type=Path, default=HERE / "weights/compact-mse.safetensors")
    parser.add_argument("--before-weights", type=Path, help="default: those of --weights")
    parser.add_argument("--megapixels", default="0.4")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--without-vnni", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        weights, megapixels, threads = options.one
        print(json.dumps(measure(Path(weights), float(megapixels), int(threads))))
        return
    before_weights = options.before_weights or options.weights
    environment = AVX2_ONLY if options.without_vnni else {}
    rows: list[dict[str, Any]] = []
    for megapixels in options.megapixels.split(","):
        for threads in options.threads.split(","):
            pairs = [
                (
                    run(options.before, [str(before_weights), megapixels, threads], environment),
                    run(HERE, [str(options.weights), megapixels, threads], environment),
                )
                for _ in range(options.pairs)
            ]
            same = all(before["file"] == now["file"] for before, now in pairs)
            print(f"{megapixels} MP, {threads} threads, {'the same' if same else 'ANOTHER'} file")
            for name in ("encode", "decode", "decode 1"):
                times = [(before[name], now[name]) for before, now in pairs]
                first, last = (statistics.median(column) for column in zip(*times, strict=True))
                ratio = statistics.median(b / n for b, n in times)
                print(f"  {name:9} {first:7.3f} s -> {last:7.3f} s, {ratio:.2f} times as fast")
                row = {"megapixels": float(megapixels), "threads": int(threads), "name": name}
                rows.append({**row, "before": first, "now": last, "ratio": ratio, "same": same})
    if options.json is not None:
        commit = ["git", "-C", str(options.before), "rev-parse", "--short", "HEAD"]
        before = subprocess.run(commit, check=True, stdout=subprocess.PIPE, text=True).stdout
        result = {
            "before": before.strip(),
            "before_weights": before_weights.stem,
            "weights": options.weights.stem,
            "without_vnni": options.without_vnni,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
