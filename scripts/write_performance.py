"""Writes `docs/PERFORMANCE.md` from what the benchmarks measured.

python benchmarks/speed.py --json measured/speed.json
python benchmarks/paired.py BEFORE --json measured/paired.json
python scripts/write_performance.py --bench measured/speed.json [--paired measured/paired.json]
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
model computes in 8-bit integers where the processor has VNNI: those are faster than the product.
"""

START = """\
## Start

Seconds from process start to exit.
"""

PARTS = """\
## Where the time goes

Shares of the time of one call, all iterations.
"""

LINEAR = """\
## Growth with the picture

The largest distance of a time from the line through the origin that fits best.
"""

OTHERS = """\
## Beside other codecs

Seconds to encode and to decode with Pillow: JPEG quality 90, progressive and optimised; WebP
quality 90, method 6; AVIF quality 75, speed 6. A neural codec is slower by orders of magnitude.
"""

PAIRED = """\
## Beside an earlier commit

`benchmarks/paired.py`: commit {before} and this one in turn, each in a process of its own, weights
`{weights}`, {same}. Medians, and the median of the ratios of neighbouring runs.
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
    head = ["", *names, *(f"rate of {name}" for name in shared), "encode MP/s", "peak MiB"]
    lines = [
        [
            megapixels(row),
            *(f"{row['seconds'][name]:.2f}" for name in names),
            *(f"{row['share_of_matrix_rate'][name]:.0%}" for name in shared),
            f"{row['pixels'] / 1e6 / row['seconds']['encode']:.2f}",
            f"{row['peak_bytes'] / 2**20:.0f}",
        ]
        for row in rows
    ]
    return table(head, lines)


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


def paired(result: dict[str, Any]) -> str:
    """This commit beside another."""
    rows = result["rows"]
    same = "the same files" if all(row["same"] for row in rows) else "other files"
    text = PAIRED.format(before=result["before"], weights=result["weights"], same=same) + "\n"
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


def main() -> None:
    """Read, format, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--paired", type=Path)
    options = parser.parse_args()
    bench = json.loads(options.bench.read_text())
    rows = bench["warm"]
    text = INTRODUCTION.format(machine=bench["machine"]) + "\n" + warm(rows)
    start = [[name, f"{seconds:.2f}"] for name, seconds in bench["start"].items()]
    text += START + "\n" + table(["", "seconds"], start)
    text += PARTS + "\n" + parts(rows)
    if all(value is not None for fit in bench["fit"].values() for value in fit.values()):
        names = list(next(iter(bench["fit"].values())))
        lines = [
            [f"{threads} threads", *(f"{fit[name]:.0%}" for name in names)]
            for threads, fit in bench["fit"].items()
        ]
        text += LINEAR + "\n" + table(["", *names], lines)
    text += OTHERS + "\n" + others(bench["others"])
    if options.paired is not None:
        text += paired(json.loads(options.paired.read_text()))
    OUTPUT.write_text(text.rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
