"""Speed and memory of the codec on an ordinary CPU: warm, cold, by part, beside other codecs.

    python benchmarks/speed.py [--megapixels 0.4,3,12] [--threads 1,2] [--runs 3] [--json FILE]

Warm times are taken in a process of their own per size and number of threads, after a first call,
and are medians. Beside each stands the rate of multiply-adds as a share of that of a 1024x1024
float32 matrix product, measured in the same process right before and after. Cold times are those
of whole `rnncodec` commands, one run each. Nothing else may run. Pictures are photographs of
scikit-image, mirrored and repeated to the size.
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
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image, features

ASPECT = 1.5
"""Width over height."""

FEWER_ITERATIONS = (1, 4)
"""Measured besides all."""

BATCH = 24
BATCH_MEGAPIXELS = 0.4
"""A folder of photographs as large as those of Kodak."""

SMALL = 0.1
"""Megapixels of the picture by which start-up is measured."""

PROGRAM = (sys.executable, "-m", "rnnconv_codec")

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
    from rnnconv_codec.images import image_bytes
    from rnnconv_codec.memory import own_process

    own_process()
    torch.set_num_threads(threads)
    codec = Codec.load()
    picture = photograph(megapixels)
    pixels = picture.width * picture.height
    data = codec.encode(picture)
    cost = count_multiply_adds(codec)
    png = image_bytes(picture, "PNG")
    files = {
        "read PNG": median_seconds(lambda: Image.open(io.BytesIO(png)).load(), runs),
        "write PNG": median_seconds(lambda: image_bytes(picture, "PNG"), runs),
    }
    rate_before = matrix_rate()
    seconds = {}
    counts = (*FEWER_ITERATIONS, codec.iterations)
    for count in counts:
        seconds[f"encode {count}"] = median_seconds(
            partial(codec.encode, picture, iterations=count), runs
        )
    for count in counts:
        seconds[f"decode {count}"] = median_seconds(
            partial(codec.decode, data, iterations=count), runs
        )
    rate = (rate_before + matrix_rate()) / 2
    done = {
        f"{way} {codec.iterations}": of_way.total * pixels * codec.iterations
        for way, of_way in (("encode", cost.encode), ("decode", cost.decode))
    }
    return {
        "pixels": pixels,
        "threads": threads,
        "iterations": codec.iterations,
        "seconds": seconds,
        "file_seconds": files,
        "growth": {way: growth(seconds, way) for way in ("encode", "decode")},
        "share_of_matrix_rate": {name: done[name] / seconds[name] / rate for name in done},
        "matrix_multiply_adds_per_second": rate,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "parts": {
            "encode": shares(codec, lambda: codec.encode(picture)),
            "decode": shares(codec, lambda: codec.decode(data)),
        },
    }


def growth(seconds: dict[str, float], way: str) -> dict[str, float]:
    """The line that fits the times of 1, 4 and all iterations best.

    Returns:
        Seconds before the first iteration, and of each of them; and the largest distance from the
        line as a share of the time.
    """
    points = [
        (int(name.split()[1]), took) for name, took in seconds.items() if name.startswith(way)
    ]
    counts, times = np.array(points, float).T
    each, before = np.polyfit(counts, times, 1)
    residual = np.abs(before + each * counts - times) / times
    return {"before": float(before), "each": float(each), "residual": float(residual.max())}


def measure_start_once() -> dict[str, float]:
    """The steps of a first encoding, in a process that has done nothing yet."""
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    def step(name: str) -> None:
        nonlocal started
        seconds[name] = time.perf_counter() - started
        started = time.perf_counter()

    from rnnconv_codec.memory import collected_later, own_process

    own_process()
    with collected_later():
        import torch  # noqa: F401

        step("import torch")
        from rnnconv_codec.codec import Codec

        step("the other imports")
    codec = Codec.load()
    step("weights")
    picture = photograph(SMALL)
    step("")
    codec.encode(picture)
    step("first encoding")
    codec.encode(picture)
    step("second encoding")
    del seconds[""]
    return seconds


# --- whole commands, start-up and other codecs -----------------------------------------------


def run_command(arguments: tuple[str, ...]) -> tuple[float, resource.struct_rusage]:
    """Seconds from process start to exit, and what it and its processes used of the machine."""
    start = time.perf_counter()
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments} ended with status {process.returncode}")
    return time.perf_counter() - start, usage


def measure_cold(megapixels: float, threads: int, iterations: int) -> dict[str, Any]:
    """Whole commands, from a PNG to a file of 1, 4 and all iterations, and from that to a PNG."""
    found: dict[str, Any] = {"megapixels": megapixels, "threads": threads, "commands": {}}
    with tempfile.TemporaryDirectory() as name:
        source, encoded, decoded = (Path(name) / file for file in ("a.png", "a.rnc", "b.png"))
        photograph(megapixels).save(source)
        for way, arguments in (
            ("encode", (str(source), "-o", str(encoded))),
            ("decode", (str(encoded), "-o", str(decoded))),
        ):
            for count in (*FEWER_ITERATIONS, iterations):
                options = ("--iterations", str(count), "--threads", str(threads))
                command = (*PROGRAM, way, *arguments, *options, "--overwrite", "-q")
                seconds, usage = run_command(command)
                found["commands"][f"{way} {count}"] = {
                    "seconds": seconds,
                    "peak_bytes": 1024 * usage.ru_maxrss,
                }
    return found


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


def measure_batch() -> dict[str, Any]:
    """Folders, with a process for each core."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    found: dict[str, Any] = {"pictures": BATCH, "processes": cores, "commands": {}}
    with tempfile.TemporaryDirectory() as name:
        source, encoded, decoded = (Path(name) / folder for folder in ("a", "b", "c"))
        source.mkdir()
        picture = photograph(BATCH_MEGAPIXELS)
        for number in range(BATCH):
            picture.save(source / f"{number}.png")
        found["pixels"] = picture.width * picture.height
        for way, (before, after) in {
            "encode": (source, encoded),
            "decode": (encoded, decoded),
        }.items():
            options = ("--output-dir", str(after), "--jobs", str(cores), "-q", "-r")
            seconds, usage = run_command((*PROGRAM, way, str(before), *options))
            found["commands"][way] = {
                "seconds": seconds,
                "share_of_cores": (usage.ru_utime + usage.ru_stime) / seconds / cores,
            }
    return found


def measure_start(runs: int) -> dict[str, float]:
    """Median seconds from process start to exit."""
    with tempfile.TemporaryDirectory() as name:
        source, encoded, decoded = (Path(name) / file for file in ("a.png", "a.rnc", "b.png"))
        photograph(SMALL).save(source)
        python = (sys.executable, "-c")
        commands: dict[str, tuple[str, ...]] = {
            "import torch": (*python, "import torch"),
            "import rnnconv_codec": (*python, "import rnnconv_codec"),
            f"encode {SMALL} MP": (
                *(*PROGRAM, "encode", str(source), "-o", str(encoded), "--overwrite", "-q"),
            ),
            f"decode {SMALL} MP": (
                *(*PROGRAM, "decode", str(encoded), "-o", str(decoded), "--overwrite", "-q"),
            ),
        }
        found: dict[str, float] = {}
        for label, command in commands.items():
            run_command(command)  # the disk's cache is warm from here on
            found[label] = statistics.median(run_command(command)[0] for _ in range(runs))
        return found


def measure_start_parts(runs: int) -> dict[str, float]:
    """Median seconds of the steps of a first encoding."""
    steps = [in_a_process("--start") for _ in range(runs)]
    return {name: statistics.median(step[name] for step in steps) for name in steps[0]}


# --- all of it -------------------------------------------------------------------------------


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


def in_a_process(*arguments: str) -> dict[str, Any]:
    """What this program prints with these arguments, in a fresh process."""
    command = [sys.executable, __file__, *arguments]
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
    parser.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        megapixels, threads, runs = options.one
        print(json.dumps(measure_warm(float(megapixels), int(threads), int(runs))))
        return
    if options.start:
        print(json.dumps(measure_start_once()))
        return
    sizes = [float(text) for text in options.megapixels.split(",")]
    rows: list[dict[str, Any]] = []
    for threads in (int(text) for text in options.threads.split(",")):
        here = [in_a_process("--one", str(size), str(threads), str(options.runs)) for size in sizes]
        for row in here:
            show(row)
        rows += here
    cold = [measure_cold(row["pixels"] / MEGA, row["threads"], row["iterations"]) for row in rows]
    for of_size in cold:
        listed = (
            f"{name} {of_command['seconds']:.2f} s {of_command['peak_bytes'] / 2**20:.0f} MiB"
            for name, of_command in of_size["commands"].items()
        )
        print(f"cold, {of_size['megapixels']:.2f} MP, {of_size['threads']} threads: ", *listed)
    batch = measure_batch()
    for way, of_way in batch["commands"].items():
        print(
            f"{way} of {batch['pictures']} pictures: {of_way['seconds']:.2f} s, "
            f"{of_way['share_of_cores']:.0%} of {batch['processes']} cores"
        )
    start, steps = measure_start(options.runs), measure_start_parts(options.runs)
    for title, found in (("start to exit", start), ("first encoding", steps)):
        print(f"{title}: " + ", ".join(f"{name} {took:.2f} s" for name, took in found.items()))
    others = {f"{size:g} MP": measure_others(photograph(size), options.runs) for size in sizes}
    for label, by_codec in others.items():
        listed = (f"{n} {t['encode']:.3f} / {t['decode']:.3f} s" for n, t in by_codec.items())
        print(f"{label}, Pillow, encode / decode: " + ", ".join(listed))
    if options.json is not None:
        result = {
            "machine": machine_name(),
            "warm": rows,
            "cold": cold,
            "batch": batch,
            "start": start,
            "steps": steps,
            "others": others,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
