"""Encodes and decodes the same pictures as if on other machines, and compares what comes out.

    python scripts/machines.py [--quick] [--python PATH]...

Each setting runs in a process of its own: threads, oneDNN and its instruction sets, those of
PyTorch and MKL, the arithmetic of the context model, the layout of tensors in memory, one core,
decoding with NumPy, and other Pythons with `--python` (such as one with an older PyTorch). Each of
them

- decodes the golden files, whose codes must be those that are pinned in `tests/golden`;
- decodes what the first setting wrote of photographs with the weights in the box: the codes must be
  those that the first setting meant;
- encodes the pictures. Its files may be others, as the choice of a code depends on rounding, but
  the first setting must decode them to the codes that were meant there.

Pixels may differ by the rounding of a level; the largest difference is shown. Codes that differ
leave this script with status 1. `--quick` takes few settings and the golden files only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

GOLDEN_MODELS = {
    "tiny": "",
    "rate-aware": "rate-aware-",
    "post-filter": "post-filter-",
    "int8": "int8-",
}
"""Weights, and what the names of their files begin with."""

GOLDEN_BOX = (150, 30, 247, 93)
"""Of `astronaut`: the picture of the golden files."""

WEIGHTS = ("compact-mse", "compact-msssim")

PHOTOGRAPHS = {
    "astronaut": (100, 0, 356, 256),
    "coffee": (150, 60, 427, 261),
    "chelsea": (100, 50, 290, 210),
}
"""Of scikit-image, and what is taken of them."""

PART_SCALE = 2**15
"""Expected values of codes, of the last grids of a cut file, are multiples of 1 / PART_SCALE."""

Digests = list[str]
"""Of the codes of each iteration."""


@dataclass(frozen=True)
class Setting:
    """How a process computes.

    Attributes:
        name: for the table.
        environment: variables, beside those there are.
        threads: of PyTorch.
        onednn: whether PyTorch may use it.
        context_dtype: arithmetic of the context model.
        channels_last: layout of tensors; False is that of NCHW.
        light: whether NumPy decodes in place of PyTorch.
        before: of the command line, such as taskset.
        python: its interpreter.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    onednn: bool = True
    context_dtype: str = "float32"
    channels_last: bool = True
    light: bool = False
    before: tuple[str, ...] = ()
    python: str = sys.executable


FIRST = Setting("1 thread, nothing forced")
"""What the others are compared with."""

_SLOWEST = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
}

_SLOWEST_NUMPY = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL",
}

SETTINGS = (
    Setting("2 threads", threads=2),
    Setting("4 threads", threads=4),
    Setting("taskset -c 0, 2 threads", before=("taskset", "-c", "0"), threads=2),
    Setting("oneDNN off", onednn=False),
    *(
        Setting(f"oneDNN up to {isa}", {"ONEDNN_MAX_CPU_ISA": isa})
        for isa in ("SSE41", "AVX", "AVX2", "AVX512_CORE")
    ),
    *(Setting(f"ATen {level}", {"ATEN_CPU_CAPABILITY": level}) for level in ("default", "avx2")),
    Setting("MKL up to SSE4.2", {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
    Setting("MKL up to AVX2", {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    Setting("MKL_CBWR=COMPATIBLE", {"MKL_CBWR": "COMPATIBLE"}),
    Setting("oneDNN allowed bfloat16", {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}),
    Setting("context model in float64", context_dtype="float64"),
    Setting("context model in int64", context_dtype="int64"),
    Setting("NCHW in place of channels last", channels_last=False),
    Setting("SSE4.1 everywhere, oneDNN off", _SLOWEST, onednn=False),
    Setting(
        "SSE4.1 everywhere, 4 threads, NCHW, float64",
        _SLOWEST,
        threads=4,
        context_dtype="float64",
        channels_last=False,
    ),
    Setting("NumPy decodes", light=True),
    Setting("NumPy decodes, 2 threads", light=True, threads=2),
    *(
        Setting(f"NumPy decodes, OpenBLAS for {core}", {"OPENBLAS_CORETYPE": core}, light=True)
        for core in ("Prescott", "Nehalem", "Sandybridge", "Haswell")
    ),
    Setting("NumPy decodes, SSE4.2 everywhere", _SLOWEST_NUMPY, light=True),
)

QUICK = (
    *("2 threads", "oneDNN off", "oneDNN up to AVX2", "context model in int64", "NumPy decodes"),
    "SSE4.1 everywhere, 4 threads, NCHW, float64",
)


# --- in the process of a setting -------------------------------------------------------------


def digest(codes: object) -> str:
    """SHA-256 of an iteration's codes as tests/golden has them in JSON."""
    return hashlib.sha256(json.dumps(codes).encode()).hexdigest()


def as_tensors(
    grids: Sequence[torch.Tensor] | Sequence[NDArray[np.float32]],
) -> list[torch.Tensor]:
    """Codes as `Codec.decode_codes` gives them, also of NumPy's (h, w, C)."""
    return [
        grid if isinstance(grid, torch.Tensor) else torch.from_numpy(grid).permute(2, 0, 1)[None]
        for grid in grids
    ]


def digests(iterations: Iterable[list[torch.Tensor]]) -> Digests:
    """The digest of each iteration's codes: (1, C, h, w) per grid."""
    found: Digests = []
    for grids in iterations:
        if all(bool((grid.abs() == 1).all()) for grid in grids):
            bits = [np.packbits(grid.numpy().ravel() > 0) for grid in grids]
            found.append(digest([grid.tobytes().hex() for grid in bits]))
        else:
            found.append(digest([(g.double() * PART_SCALE).int().ravel().tolist() for g in grids]))
    return found


def pictures(weights: str) -> Iterator[tuple[str, Image.Image]]:
    """Label and content of each picture that weights code."""
    if weights in GOLDEN_MODELS:
        picture = Image.fromarray(data.astronaut()).crop(GOLDEN_BOX)
        yield from (("colour", picture), ("grey", picture.convert("L")))
    else:
        for photograph, box in PHOTOGRAPHS.items():
            yield photograph, Image.fromarray(getattr(data, photograph)()).crop(box)


def work(order: dict[str, Any]) -> dict[str, Any]:
    """Encode pictures to the folder `out` and decode files.

    Args:
        order: `setting`; `out`; per name of weights in `encode` nothing more; and in `decode` per
            key the weights and the path of a file, whose pixels go to `out`/KEY.npy.
    """
    setting = order["setting"]
    torch.set_num_threads(setting["threads"])
    torch.backends.mkldnn.set_flags(setting["onednn"])
    if not setting["channels_last"]:
        torch.channels_last = torch.contiguous_format

    from rnnconv_codec.codec import Codec
    from rnnconv_codec.light.decoder import LightDecoder
    from rnnconv_codec.weights import find_weights, load_model_file

    def path_of(weights: str) -> Path:
        is_golden = weights in GOLDEN_MODELS
        return GOLDEN / f"{weights}.safetensors" if is_golden else find_weights(weights)

    @cache
    def codec_of(weights: str) -> Codec:
        dtype = getattr(torch, setting["context_dtype"])
        return Codec(load_model_file(path_of(weights)), context_dtype=dtype)

    @cache
    def decoder_of(weights: str) -> Codec | LightDecoder:
        return LightDecoder.load(path_of(weights)) if setting["light"] else codec_of(weights)

    out = Path(order["out"])
    meant: dict[str, Digests] = {}
    for weights in order["encode"]:
        for label, picture in pictures(weights):
            steps = list(codec_of(weights).encode_iterations(picture))
            encoded = codec_of(weights).pack(picture, [step.segment for step in steps])
            (out / f"{weights}-{label}.rnc").write_bytes(encoded)
            meant[f"{weights}-{label}"] = digests(step.codes for step in steps)
    decoded: dict[str, Digests] = {}
    for key, (weights, path) in order["decode"].items():
        content = Path(path).read_bytes()
        decoder = decoder_of(weights)
        decoded[key] = digests(map(as_tensors, decoder.decode_codes(content)))
        np.save(out / f"{key}.npy", np.asarray(decoder.decode(content)))
    return {"torch": torch.__version__, "meant": meant, "decoded": decoded}


# --- in the first process --------------------------------------------------------------------


def run(
    setting: Setting, out: Path, *, encode: Iterable[str], decode: dict[str, tuple[str, Path]]
) -> dict[str, Any]:
    """`work` in a process of the setting; `out` is made."""
    out.mkdir()
    files = {key: (weights, str(path)) for key, (weights, path) in decode.items()}
    order = {"setting": asdict(setting), "out": str(out), "encode": [*encode], "decode": files}
    done = subprocess.run(
        [*setting.before, setting.python, str(Path(__file__).resolve()), "--work"],
        input=json.dumps(order),
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(setting.threads),
            "MKL_NUM_THREADS": str(setting.threads),
            "OPENBLAS_NUM_THREADS": str(setting.threads),
            "PYTHONPATH": str(ROOT),
            **setting.environment,
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def golden_files() -> tuple[dict[str, tuple[str, Path]], dict[str, Digests]]:
    """By a key the golden files with their weights, and what their codes are."""
    files: dict[str, tuple[str, Path]] = {}
    expected: dict[str, Digests] = {}
    for weights, prefix in GOLDEN_MODELS.items():
        for label in ("colour", "grey", "part"):
            key = f"golden-{weights}-{label}"
            files[key] = (weights, GOLDEN / f"{prefix}{label}-v1.rnc")
            saved = json.loads((GOLDEN / f"{prefix}{label}-v1.codes.json").read_text())
            if label == "part":  # it is the colour file, cut inside its last iteration
                expected[key] = [*expected[f"golden-{weights}-colour"][:-1], digest(saved)]
            else:
                expected[key] = [digest(grids) for grids in saved]
    return files, expected


@dataclass(frozen=True)
class Compared:
    """A setting beside the first one.

    Attributes:
        setting: which one.
        torch: its version.
        exact: files, golden ones and those of the first setting, that it decodes to their codes.
        files: all of these.
        difference: largest of their pixels to those of the first setting, in levels of 0..255.
        identical: files it wrote that are those of the first setting, byte for byte.
        returned: files it wrote that the first setting decodes to the codes that were meant.
        written: all of these.
    """

    setting: Setting
    torch: str
    exact: int
    files: int
    difference: int
    identical: int
    returned: int
    written: int

    @property
    def is_good(self) -> bool:
        """Whether every file decodes to its codes, there and back."""
        return self.exact == self.files and self.returned == self.written


def compare(settings: Iterable[Setting], weights: Iterable[str], folder: Path) -> list[Compared]:
    """Each setting beside the first one; `folder` takes what they write."""
    files, expected = golden_files()
    weights = (*GOLDEN_MODELS, *weights)
    first = run(FIRST, folder / "first", encode=weights, decode={})
    for label, codes in first["meant"].items():
        path = folder / "first" / f"{label}.rnc"
        files[label], expected[label] = (weights_of(label, weights), path), codes
    there = {
        setting.name: (setting, folder / str(index))
        for index, setting in enumerate((FIRST, *settings))
    }
    found = {
        name: run(setting, out, encode=weights, decode=files)
        for name, (setting, out) in there.items()
    }
    here = there[FIRST.name][1]
    # Files of the same bytes are decoded once, as those of the first setting.
    own = {
        f"{out.name}-{label}": (weights_of(label, weights), out / f"{label}.rnc")
        for _, out in there.values()
        for label in first["meant"]
        if out == here or not has_same(f"{label}.rnc", out, here)
    }
    back = run(FIRST, folder / "back", encode=(), decode=own)["decoded"]
    return [
        Compared(
            *(setting, found[name]["torch"]),
            exact=sum(found[name]["decoded"][key] == expected[key] for key in files),
            files=len(files),
            difference=max(largest_difference(out, here, key) for key in files),
            identical=sum(has_same(f"{label}.rnc", out, here) for label in first["meant"]),
            returned=sum(
                back.get(f"{out.name}-{label}", back[f"{here.name}-{label}"]) == codes
                for label, codes in found[name]["meant"].items()
            ),
            written=len(found[name]["meant"]),
        )
        for name, (setting, out) in there.items()
    ]


def has_same(name: str, one: Path, other: Path) -> bool:
    """Whether a file of this name has the same content in two folders."""
    return (one / name).read_bytes() == (other / name).read_bytes()


def weights_of(label: str, weights: Iterable[str]) -> str:
    """The weights that a label begins with."""
    return max((name for name in weights if label.startswith(f"{name}-")), key=len)


def largest_difference(one: Path, other: Path, key: str) -> int:
    """Of the pixels of two decoded pictures."""
    pixels = [np.load(folder / f"{key}.npy").astype(int) for folder in (one, other)]
    return int(np.abs(pixels[0] - pixels[1]).max())


def main() -> int:
    """Compare and print a table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--python", metavar="PATH", action="append", default=[])
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        json.dump(work(json.load(sys.stdin)), sys.stdout)
        return 0
    settings = [s for s in SETTINGS if s.name in QUICK] if options.quick else list(SETTINGS)
    settings += [Setting(f"other Python {n}", python=p) for n, p in enumerate(options.python, 1)]
    with tempfile.TemporaryDirectory() as name:
        rows = compare(settings, () if options.quick else WEIGHTS, Path(name))
    print(
        "| setting | PyTorch | codes as they must be | pixels differ by at most "
        "| own files, the same bytes | own files, codes as meant |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row.setting.name} | {row.torch} | {row.exact} of {row.files} | {row.difference} "
            f"| {row.identical} of {row.written} | {row.returned} of {row.written} |"
        )
    return 0 if all(row.is_good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
