"""Writes `docs/PERFORMANCE.md` from what the benchmarks measured.

python benchmarks/speed.py --json measured/speed.json
python benchmarks/paired.py BEFORE --json measured/paired.json
python benchmarks/paired.py BEFORE --without-vnni --json measured/paired-avx2.json
python benchmarks/growth.py --json measured/growth.json
python benchmarks/engines.py --json measured/engines.json
python benchmarks/int8_cost.py DEV --json measured/int8.json
python scripts/write_performance.py --bench measured/speed.json [--growth measured/growth.json] \
    [--paired measured/paired.json] [--paired measured/paired-avx2.json] \
    [--engines measured/engines.json] [--int8 measured/int8.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "PERFORMANCE.md"

INTRODUCTION = """\
# Performance

Written by `scripts/write_performance.py` from `make bench` (`benchmarks/speed.py`), on

> {machine}

with nothing else running, weights `compact-mse`. Compare ratios rather than seconds: other machines
are slower or faster, and so is this one from day to day.

## Warm

Seconds in a process that has the model loaded, medians. Rates are multiply-adds per second as a
share of those of a 1024x1024 float32 matrix product, measured right before and after. The context
model, the filters and parts of the encoder compute in 8-bit integers, four at a time where the
processor has VNNI and two where it has AVX2: that is how more than 100 % can be.
"""

COLD = """\
## Cold

Whole commands, `rnncodec encode` from a PNG and `rnncodec decode` to one with so many iterations,
from process start to exit, one run each: seconds / peak memory in MiB.
"""

FILES = """\
Of this, reading and writing the PNG takes, in seconds:
"""

BATCH = """\
## Folders

`--jobs {processes}` with a folder of {pictures} pictures of {megapixels:.1f} megapixels, the start
of the program included; and the share of the cores' time that it computes.
"""

START = """\
## Start

Seconds from process start to exit.
"""

STEPS = """\
And the steps of a process that encodes the same picture, in seconds; a second encoding in the same
process shows what the first one takes for itself.
"""

PARTS = """\
## Where the time goes

Shares of the time of one call, all iterations. The range coder runs on one core however many there
are, and nothing beside it, as the codes of a group tell the context model about the next one.
"""

LINEAR = """\
## Growth with the picture

`benchmarks/growth.py`: the largest distance of a time from the line through the origin that fits
0.4, 3 and 12 megapixels best. The sizes are timed in turn, {rounds} rounds; the shortest counts.
"""

GROWTH = """\
## Growth with the iterations

The line that fits the times of 1, 4 and {iterations} iterations best: seconds of an iteration,
seconds that come once, and the largest distance of a time from it. (The encoder need not decode its
last iteration, which is less than nothing that comes once.)
"""

OTHERS = """\
## Beside other codecs

Seconds to encode and to decode with Pillow: JPEG quality 90, progressive and optimised; WebP
quality 90, method 6; AVIF quality 75, speed 6. A neural codec is slower by orders of magnitude.
"""

PAIRED = """\
## Beside an earlier commit

`benchmarks/paired.py`: commit {before} with weights `{before_weights}` and this one with
`{weights}` in turn, each in a process of its own; {same}. Medians, and the median of the ratios
of neighbouring runs.
"""

PAIRED_AVX2 = """\
### Without VNNI

The same with `--without-vnni`: both kept to AVX2.
"""

ENGINES = """\
## Small pictures without PyTorch

`benchmarks/engines.py`: `rnncodec decode` from process start to exit, seconds, medians of runs in
turn.
"""

ENGINE_NAMES = {"light": "NumPy", "torch": "PyTorch"}
"""Columns of that table, by the names in the measurement."""

INT8 = """\
## What 8 bits cost

`benchmarks/int8_cost.py`: {images} photographs of `dev`, {side}x{side} pixels, coded with these
weights and with the same ones in float32: BD-rate {bd_rate:+.2f} %.
"""

TRIED = """\
## What was tried

Kept, with what it brought when it came (0.4 megapixels, one thread; scratch scripts with the
timer of `benchmarks/paired.py`):

- The context model in 8-bit integers, exactly (VNNI).
- Filters, fine encoder and analysis in 8 bits, and the smaller half of the synthesis: encoding
  took 1.20 s where it was 1.56, decoding 0.85 and 1.04. Which steps matters: in proportion to
  each channel's largest value +0.14 % BD-rate for the in-loop filter, the same for all channels
  +0.39 %, their geometric mean +0.09 %. The coarse encoder in 8 bits cost 0.3 % and is left in
  float32; so is the larger half of the synthesis (with 24 of its 160 channels in float32 the
  error was half a level, with 80 it is a twentieth).
- The decoder's products of codes in 8 bits: decoding 0.61 s where it was 0.69, encoding 0.98 and
  1.06. Codes are bytes as they are, so that only weights are rounded; but each of the 192 and 96
  codes of a cell adds its error to the state, in every iteration. Coefficients in bytes instead of
  codes cost 3 % BD-rate, made by an 8-bit product 27 %; codes with one step for the whole kernel
  2 %, without a bias that is exact where nothing is coded 1.8 %; with both 0.01 % (five squares of
  `dev`).
- The gates of the fine decoder cell in 8 bits: 0.55 s and 0.91; no cost that could be measured,
  where that of the candidate in place of the gates is 3.6 %.
- Sure codes are not coded (`docs/FORMAT.md`): range decoding 0.056 s where it was 0.170.
- Codes in classes, eight to a symbol: 0.031 s where it was 0.055, for 0.2 % in rate. The range
  coder's time went into a model for each symbol: 25 ns, of an alphabet of two or of four. Now the
  coder is a third of it, and the rest puts codes in order.
- 8-bit integers without VNNI, too: with AVX2 alone encoding takes 1.30 s where it took 1.99,
  decoding 0.84 and 1.32. There, products are added in pairs, in 16 bits, which saturate; so no two
  neighbouring weights may be too large. Those of the networks are rounded in steps that see to it
  (no cost in rate that could be measured), codes are bytes of 7 bits, and weights of the context
  model, which are what they are, are cut in two. That oneDNN pairs neighbours is tried out for
  every shape. Processors with and without VNNI now write the same bytes (`scripts/machines.py`).
- Halos only where something looks beyond a cell, and larger strips where they take little memory:
  encoding 12 megapixels takes 1.10 times as long by pixel as 0.4, where it took 1.27.
- No garbage collection while torch is imported, nor of what it made: encoding 0.1 megapixels takes
  1.9 s from start to exit where it took 2.3.
- glibc told to keep freed blocks, in the command's processes: decoding one iteration of 12
  megapixels 0.44 s a megapixel where it took 0.47, nothing at 0.4 megapixels.
- Weights folded: from the fine codes to the gates of the fine cell there is one product.
- Cells of one 1x1 convolution after another go through them a thousand at a time: the products
  themselves run a fifth faster when their operands are in the second cache.
- asinh, tanh and conversions to bytes by formulas that torch vectorises: float32 to uint8 takes
  six times as long as to int8.

Lost:

- bfloat16 convolutions: twice as fast as float32, but 8 bits are four times as fast, on more
  processors.
- ONNX Runtime 1.32 for small pictures: the convolutions of an iteration at 384x272, in one graph,
  take 23.0 / 12.3 ms with 1 / 2 threads, as matrix products of NumPy 25.7 / 14.6. Over eight
  iterations that is 20 ms, less than the import costs, for 78 MB. No whole decoder was built on
  it.
- `torch.compile` of the decoder's step at 0.4 megapixels: 21.0 ms, eager 21.9; the first call
  takes 19 s. AOTInductor: 24.5 ms, eager 22.4.
- Codes of the next iteration in a thread beside the decoder's network: at 0.4 megapixels 0.50 to
  0.53 s where it is 0.49 with both cores on one after the other.
- Other calls of the range coder: Bernoulli, Binomial and lazy models take as long or longer for
  the same bytes.
- Huge pages: nothing.
- Strips of shown pictures four times as large as those of the residual loop: no faster than twice
  as large, and more memory.
- More of the synthesis in 8 bits: with 56 of 160 channels in float32 in place of 80, 0.14 % BD-rate
  for 3 % of the time; with 40, 0.3 %.
- Symbols of codes with different probabilities: two to a symbol for 0.055 s where it was 0.074;
  products of three probabilities are below the coder's 24 bits.
- Symbols of four codes of a class in place of eight: 10 ms in place of 7.5, for the same bytes.
- An ANS coder in place of the range coder, with the same models: 7.2 ms in place of 8.4.
- All logits of a grid in one convolution in place of one per group, 8-bit convolutions with
  addition and clipping fused: some 3 ms of 660, estimated, not built.
"""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose first column is text and the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


def megapixels(row: dict[str, Any]) -> str:
    """Size and threads of what was measured in one process."""
    return f"{row['pixels'] / 1e6:.1f} MP, {row['threads']} thread{'s'[: row['threads'] - 1]}"


def warm(rows: list[dict[str, Any]]) -> str:
    """Times, rates and memory."""
    names = list(rows[0]["seconds"])
    shared = list(rows[0]["share_of_matrix_rate"])
    head = ["", *names, *(f"rate of {name}" for name in shared), "peak MiB"]
    lines = [
        [
            megapixels(row),
            *(f"{row['seconds'][name]:.2f}" for name in names),
            *(f"{row['share_of_matrix_rate'][name]:.0%}" for name in shared),
            f"{row['peak_bytes'] / 2**20:.0f}",
        ]
        for row in rows
    ]
    speeds = [
        [megapixels(row), *(f"{row['pixels'] / 1e6 / row['seconds'][name]:.2f}" for name in names)]
        for row in rows
    ]
    return table(head, lines) + "Megapixels per second:\n\n" + table(["", *names], speeds)


def cold(rows: list[dict[str, Any]], warm_rows: list[dict[str, Any]]) -> str:
    """Whole commands, and the files among what they do."""
    names = list(rows[0]["commands"])
    lines = [
        [
            megapixels(warm_row),
            *(
                f"{row['commands'][name]['seconds']:.2f} / "
                f"{row['commands'][name]['peak_bytes'] / 2**20:.0f}"
                for name in names
            ),
        ]
        for row, warm_row in zip(rows, warm_rows, strict=True)
    ]
    # One core does it, however many there are.
    once = [row for row in warm_rows if row["threads"] == warm_rows[0]["threads"]]
    files = [
        [f"{row['pixels'] / 1e6:.1f} MP", *(f"{took:.2f}" for took in row["file_seconds"].values())]
        for row in once
    ]
    text = COLD + "\n" + table(["", *names], lines)
    return text + FILES + "\n" + table(["", *once[0]["file_seconds"]], files)


def batch(result: dict[str, Any]) -> str:
    """Folders."""
    megapixels = result["pixels"] / 1e6
    lines = [
        [
            way,
            f"{found['seconds']:.1f}",
            f"{result['pictures'] * megapixels / found['seconds']:.2f}",
            f"{found['share_of_cores']:.0%}",
        ]
        for way, found in result["commands"].items()
    ]
    text = BATCH.format(megapixels=megapixels, **result)
    return text + "\n" + table(["", "seconds", "MP/s", "cores"], lines)


def growth(rows: list[dict[str, Any]]) -> str:
    """Times by iterations."""
    ways = list(rows[0]["growth"])
    head = [f"{way}: {what}" for way in ways for what in ("each", "once", "distance")]
    lines = [
        [
            megapixels(row),
            *(
                text
                for way in ways
                for fit in (row["growth"][way],)
                for text in (
                    f"{fit['each']:.3f}",
                    f"{fit['before']:.2f}",
                    f"{fit['residual']:.0%}",
                )
            ),
        ]
        for row in rows
    ]
    text = GROWTH.format(iterations=rows[0]["iterations"])
    return text + "\n" + table(["", *head], lines)


def parts(rows: list[dict[str, Any]]) -> str:
    """Shares by part, one column per size, threads and way."""
    names = dict.fromkeys(
        name for row in rows for way in ("encode", "decode") for name in row["parts"][way]
    )
    text = ""
    for way in ("encode", "decode"):
        lines = [
            [name, *(f"{row['parts'][way].get(name, 0):.0%}" for row in rows)]
            for name in names
            if any(name in row["parts"][way] for row in rows)
        ]
        text += table([way, *map(megapixels, rows)], lines)
    return text


def others(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Pillow's codecs."""
    names = list(next(iter(found.values())))
    lines = [
        [size, *(f"{took[name]['encode']:.3f} / {took[name]['decode']:.3f}" for name in names)]
        for size, took in found.items()
    ]
    return table(["", *names], lines)


def linearity(result: dict[str, Any]) -> str:
    """How far from linear in pixels, by threads and work."""
    names = list(next(iter(result["fit"].values())))
    lines = [
        [f"{threads} threads", *(f"{fit[name]:.0%}" for name in names)]
        for threads, fit in result["fit"].items()
    ]
    return LINEAR.format(rounds=result["rounds"]) + "\n" + table(["", *names], lines)


def paired(result: dict[str, Any]) -> str:
    """This commit beside another."""
    rows = result["rows"]
    same = "the same files" if all(row["same"] for row in rows) else "other files"
    text = (PAIRED_AVX2 if result["without_vnni"] else PAIRED).format(same=same, **result) + "\n"
    lines = [
        [
            f"{row['megapixels']:g} MP, {row['threads']} threads, {row['name']}",
            f"{row['before']:.2f}",
            f"{row['now']:.2f}",
            f"{row['ratio']:.2f}",
        ]
        for row in rows
    ]
    return text + table(["", "before", "now", "times as fast"], lines)


def engines(result: dict[str, Any]) -> str:
    """NumPy beside torch."""
    lines = [
        [f"{megapixels} MP", *(f"{row[name]:.2f}" for name in ENGINE_NAMES)]
        for megapixels, row in result["decode"].items()
    ]
    return ENGINES + "\n" + table(["", *ENGINE_NAMES.values()], lines)


def main() -> None:
    """Read, format, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--growth", type=Path)
    parser.add_argument("--paired", type=Path, action="append", default=[])
    parser.add_argument("--engines", type=Path)
    parser.add_argument("--int8", type=Path)
    options = parser.parse_args()
    bench = json.loads(options.bench.read_text())
    rows = bench["warm"]
    text = INTRODUCTION.format(machine=bench["machine"]) + "\n" + warm(rows)
    text += cold(bench["cold"], rows)
    text += batch(bench["batch"])
    start = [[name, f"{seconds:.2f}"] for name, seconds in bench["start"].items()]
    text += START + "\n" + table(["", "seconds"], start)
    steps = [[name, f"{seconds:.2f}"] for name, seconds in bench["steps"].items()]
    text += STEPS + "\n" + table(["", "seconds"], steps)
    text += PARTS + "\n" + parts(rows)
    if options.growth is not None:
        text += linearity(json.loads(options.growth.read_text()))
    text += growth(rows)
    text += OTHERS + "\n" + others(bench["others"])
    comparisons = [json.loads(path.read_text()) for path in options.paired]
    for result in sorted(comparisons, key=lambda result: result["without_vnni"]):
        text += paired(result)
    if options.engines is not None:
        text += engines(json.loads(options.engines.read_text()))
    if options.int8 is not None:
        text += INT8.format(**json.loads(options.int8.read_text())) + "\n"
    text += TRIED
    OUTPUT.write_text(text.rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
