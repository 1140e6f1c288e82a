"""Speed and memory of the codec on an ordinary CPU: warm, cold, by part, beside other codecs.

    python benchmarks/speed.py [--megapixels 0.4,3,12] [--threads 1,2] [--runs 3] [--json FILE]

Warm times are taken in a process of their own per size and number of threads, after a first call,
and are medians. Beside each stands the rate of multiply-adds as a share of that of a 1024x1024
float32 matrix product, measured in the same process right before and after. Nothing else may
run. Pictures are photographs of scikit-image, mirrored and repeated to the size.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image, features

ASPECT = 1.5
"""Width over height."""

DECODED_ITERATIONS = (1, 4)
"""Besides all."""

MATRIX_SIDE = 1024
MATRIX_RUNS = 20

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("jpg", {"format": "JPEG", "quality": 90, "progressive": True, "optimize": True}),
    "WebP": ("webp", {"format": "WEBP", "quality": 90, "method": 6}),
    "AVIF": ("avif", {"format": "AVIF", "quality": 75, "speed": 6}),
}
"""By name: what `PIL.features` calls it, and the options of `Image.save`."""

MEGA = 1e6


def photograph(megapixels: float) -> Image.Image:
    """A picture of about this size."""
    from skimage import data

    height = round((megapixels * MEGA / ASPECT) ** 0.5)
    tile = data.chelsea()
    pad = [
        (0, max(0, side - have))
        for side, have in zip((height, round(ASPECT * height)), tile.shape, strict=False)
    ]
    whole = np.pad(tile, [*pad, (0, 0)], mode="symmetric")
    return Image.fromarray(whole[:height, : round(ASPECT * height)])


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Median wall time of some calls."""
    seconds: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


# --- in a process of its own -----------------------------------------------------------------


def matrix_rate() -> float:
    """Multiply-adds per second of a matrix product with the threads of now."""
    import torch

    left, right = torch.rand(2, MATRIX_SIDE, MATRIX_SIDE).unbind()
    left @ right
    return MATRIX_SIDE**3 / median_seconds(lambda: left @ right, MATRIX_RUNS)


@contextmanager
def timed_parts(codec: Any) -> Iterator[dict[str, float]]:
    """While active, seconds by part are added up; a part inside another counts for itself only."""
    from rnnconv_codec import codec as codec_module
    from rnnconv_codec import complexity
    from rnnconv_codec.entropy import segments
    from rnnconv_codec.entropy.range_coder import SegmentEncoder
    from rnnconv_codec.entropy.segments import SegmentCoder

    seconds: dict[str, float] = {}
    running: list[list[float]] = []

    def timed(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            inner = [0.0]
            running.append(inner)
            start = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                took = time.perf_counter() - start
                running.pop()
                seconds[part] = seconds.get(part, 0.0) + took - inner[0]
                if running:
                    running[-1][0] += took

        return wrapper

    places = [
        (segments, "encode_group", "range coder"),
        (SegmentEncoder, "finish", "range coder"),
        (segments, "decode_group", "range coder"),
        (SegmentCoder, "encode", complexity.CONTEXT_MODEL),
        (SegmentCoder, "decode", complexity.CONTEXT_MODEL),
        (codec_module, "_to_tensor", "pixels"),
        (codec_module, "_to_image", "pixels"),
        (codec_module, "read_container", "container"),
        (codec_module, "write_container", "container"),
    ]
    with ExitStack() as stack:
        for owner, name, part in places:
            stack.enter_context(mock.patch.object(owner, name, timed(part, getattr(owner, name))))
        for part, module in complexity.modules_by_part(codec.network):
            stack.enter_context(mock.patch.object(module, "forward", timed(part, module.forward)))
        yield seconds


def shares(codec: Any, work: Callable[[], object]) -> dict[str, float]:
    """Share of each part in the time of a call."""
    with timed_parts(codec) as seconds:
        start = time.perf_counter()
        work()
        total = time.perf_counter() - start
    parts = {part: took / total for part, took in seconds.items()}
    return {**parts, "the rest": 1 - sum(parts.values())}


def measure_warm(megapixels: float, threads: int, runs: int) -> dict[str, Any]:
    """Everything that is measured in one process."""
    import torch

    from rnnconv_codec.codec import Codec
    from rnnconv_codec.complexity import count_multiply_adds
    from rnnconv_codec.memory import own_process

    own_process()
    torch.set_num_threads(threads)
    start = time.perf_counter()
    codec = Codec.load()
    loading = time.perf_counter() - start
    picture = photograph(megapixels)
    pixels = picture.width * picture.height
    start = time.perf_counter()
    data = codec.encode(picture)
    first_call = time.perf_counter() - start
    cost = count_multiply_adds(codec)
    rate_before = matrix_rate()
    seconds = {"encode": median_seconds(lambda: codec.encode(picture), runs)}
    for count in (*DECODED_ITERATIONS, codec.iterations):
        seconds[f"decode {count}"] = median_seconds(
            lambda count=count: codec.decode(data, iterations=count),  # type: ignore[misc]
            runs,
        )
    rate = (rate_before + matrix_rate()) / 2
    whole = f"decode {codec.iterations}"
    done = {
        "encode": cost.encode.total * pixels * codec.iterations,
        whole: cost.decode.total * pixels * codec.iterations,
    }
    return {
        "pixels": pixels,
        "threads": threads,
        "iterations": codec.iterations,
        "seconds": seconds,
        "share_of_matrix_rate": {name: done[name] / seconds[name] / rate for name in done},
        "matrix_multiply_adds_per_second": rate,
        "loading_seconds": loading,
        "first_encode_seconds": first_call,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "parts": {
            "encode": shares(codec, lambda: codec.encode(picture)),
            "decode": shares(codec, lambda: codec.decode(data)),
        },
    }


# --- other codecs and start-up ---------------------------------------------------------------


def measure_others(picture: Image.Image, runs: int) -> dict[str, dict[str, float]]:
    """Seconds to encode and decode a picture with Pillow's codecs, warm."""
    found: dict[str, dict[str, float]] = {}
    for name, (feature, options) in OTHERS.items():
        if not features.check(feature):
            continue

        def encode(options: dict[str, Any] = options) -> bytes:
            stream = io.BytesIO()
            picture.save(stream, **options)
            return stream.getvalue()

        data = encode()
        found[name] = {
            "encode": median_seconds(encode, runs),
            "decode": median_seconds(lambda data=data: Image.open(io.BytesIO(data)).load(), runs),  # type: ignore[misc]
        }
    return found


def measure_start(runs: int) -> dict[str, float]:
    """Seconds from process start to exit."""
    with tempfile.TemporaryDirectory() as name:
        source, encoded, decoded = (Path(name) / file for file in ("a.png", "a.rnc", "b.png"))
        photograph(0.1).save(source)
        module = ("-m", "rnnconv_codec")
        commands = {
            "import torch": ("-c", "import torch"),
            "import rnnconv_codec": ("-c", "import rnnconv_codec"),
            "encode 0.1 MP": (*module, "encode", str(source), "-o", str(encoded), "--force", "-q"),
            "decode 0.1 MP": (*module, "decode", str(encoded), "-o", str(decoded), "--force", "-q"),
        }

        def run(arguments: tuple[str, ...]) -> None:
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

        found: dict[str, float] = {}
        for label, arguments in commands.items():
            run(arguments)  # the disk's cache is warm from here on
            found[label] = median_seconds(lambda arguments=arguments: run(arguments), runs)  # type: ignore[misc]
        return found


# --- all of it -------------------------------------------------------------------------------


def linearity(rows: list[dict[str, Any]], name: str) -> float | None:
    """Largest distance of a time from the line through the origin that fits best, as a share."""
    if len(rows) < 2:
        return None
    pixels = np.array([row["pixels"] for row in rows], float)
    seconds = np.array([row["seconds"][name] for row in rows])
    slope = float(np.mean(seconds / pixels))
    return float(np.abs(seconds / (slope * pixels) - 1).max())


def machine_name() -> str:
    """The processor, how many cores there are, and what computes on them."""
    import torch

    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"{processor} ({capability}), {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    )


def in_a_process(megapixels: float, threads: int, runs: int) -> dict[str, Any]:
    """`measure_warm` with the memory of a fresh process."""
    command = [sys.executable, __file__, "--one", str(megapixels), str(threads), str(runs)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output)
    return found


def show(row: dict[str, Any]) -> None:
    """Print what was measured in one process."""
    print(
        f"{row['pixels'] / MEGA:.2f} MP, {row['threads']} threads, "
        f"peak {row['peak_bytes'] / 2**20:.0f} MiB, matrix product "
        f"{row['matrix_multiply_adds_per_second'] / 1e9:.1f} G multiply-adds/s"
    )
    for name, seconds in row["seconds"].items():
        share = row["share_of_matrix_rate"].get(name)
        rate = "" if share is None else f", {share:.0%} of the matrix product's rate"
        print(f"  {name:10} {seconds:7.2f} s  {row['pixels'] / MEGA / seconds:6.3f} MP/s{rate}")
    for way, parts in row["parts"].items():
        listed = sorted(parts.items(), key=lambda item: -item[1])
        print(f"  {way}: " + ", ".join(f"{part} {share:.0%}" for part, share in listed))
    sys.stdout.flush()


def main() -> None:
    """Measure, print, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", default="0.4,3,12")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        megapixels, threads, runs = options.one
        print(json.dumps(measure_warm(float(megapixels), int(threads), int(runs))))
        return
    sizes = [float(text) for text in options.megapixels.split(",")]
    rows: list[dict[str, Any]] = []
    fits: dict[str, dict[str, float | None]] = {}
    for threads in (int(text) for text in options.threads.split(",")):
        here = [in_a_process(size, threads, options.runs) for size in sizes]
        for row in here:
            show(row)
        rows += here
        names = here[0]["seconds"]
        fits[str(threads)] = {name: linearity(here, name) for name in names}
        print(f"farthest from linear in pixels, {threads} threads: {fits[str(threads)]}")
    start = measure_start(options.runs)
    print("start to exit: " + ", ".join(f"{name} {took:.2f} s" for name, took in start.items()))
    others = {f"{size:g} MP": measure_others(photograph(size), options.runs) for size in sizes}
    for label, found in others.items():
        listed = (f"{n} {t['encode']:.3f} / {t['decode']:.3f} s" for n, t in found.items())
        print(f"{label}, Pillow, encode / decode: " + ", ".join(listed))
    if options.json is not None:
        result = {
            "machine": machine_name(),
            "warm": rows,
            "fit": fits,
            "start": start,
            "others": others,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
