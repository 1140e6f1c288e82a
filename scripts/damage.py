"""Damages files in every way that is quick to try, and looks at what the decoder makes of them.

    python scripts/damage.py [--changes 10000] [--values 255] [--seed 1]

Two small colour files with ICC, EXIF, XMP and transparency, one of whole iterations and one that
ends inside an iteration: every beginning, every single byte with `--values` other values, and
`--changes` random changes of several bytes. A damaged file may give the right picture, the picture
so far with a notice, or an error. Whatever else it gives is counted as wrong, as a crash or as a
hang, and leaves this script with status 1. The model is the small one of the tests.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms
from skimage import data

from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect
from rnnconv_codec.errors import RnncodecError, RnncodecWarning, TruncatedFileWarning
from rnnconv_codec.targets import truncate

WEIGHTS = Path(__file__).resolve().parent.parent / "tests" / "golden" / "rate-aware.safetensors"

PICTURE_BOX = (150, 30, 197, 63)
"""Of `astronaut`: 47x33, no side a multiple of 16."""

CUT_BYTES = 24
"""By which the second file is shorter than the first: within the last segment."""

HANG_SECONDS = 10

MOST_CHANGED_BYTES = 16

GOOD = ("right", "so far", "error")
BAD = ("wrong", "crash", "hang")

ICC_DATE = slice(24, 36)
"""Of its making, in an ICC profile's header: the one thing here that changes from run to run."""

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@dataclass(frozen=True)
class Subject:
    """A sound file, and what may come of it.

    Attributes:
        name: for the table.
        content: of the file.
        right: what it decodes to, see `appearance`.
        so_far: the same for its beginnings of whole iterations.
    """

    name: str
    content: bytes
    right: bytes
    so_far: frozenset[bytes]


def appearance(image: Image.Image) -> bytes:
    """Everything of a picture that a user would see changed: mode, size, pixels, metadata."""
    metadata = [image.info.get(key) for key in ("icc_profile", "exif", "xmp")]
    return repr((image.mode, image.size, metadata)).encode() + image.tobytes()


def subjects(codec: Codec) -> list[Subject]:
    """The files to damage."""
    picture = Image.fromarray(data.astronaut()).crop(PICTURE_BOX)
    alpha = np.linspace(0, 255, picture.width * picture.height).astype(np.uint8)
    picture.putalpha(Image.fromarray(alpha.reshape(picture.height, picture.width)))
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[ICC_DATE] = bytes(ICC_DATE.stop - ICC_DATE.start)
    picture.info = {
        "icc_profile": bytes(profile),
        "exif": exif.tobytes(),
        "xmp": XMP,
    }
    whole = codec.encode(picture)
    iterations = inspect(whole).iterations
    starts = [truncate(whole, iterations=count) for count in range(1, iterations + 1)]
    seen = [appearance(codec.decode(start)) for start in starts]
    cut = truncate(whole, size=len(whole) - CUT_BYTES)
    return [
        Subject("whole iterations", whole, seen[-1], frozenset(seen[:-1])),
        Subject("a partial iteration", cut, appearance(codec.decode(cut)), frozenset(seen[:-1])),
    ]


def outcome(codec: Codec, subject: Subject, damaged: bytes) -> str:
    """What comes of a damaged file: one of `GOOD` or `BAD`."""
    start = time.monotonic()
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always", RnncodecWarning)
        try:
            seen = appearance(codec.decode(damaged))
        except RnncodecError:
            seen = b""
        except Exception:
            return "crash"
    if time.monotonic() - start > HANG_SECONDS:
        return "hang"
    if not seen:
        return "error"
    if seen == subject.right:
        return "right"
    is_told = any(notice.category is TruncatedFileWarning for notice in notices)
    return "so far" if is_told and seen in subject.so_far else "wrong"


def beginnings(content: bytes) -> Iterator[bytes]:
    """The file cut at every byte."""
    return (content[:length] for length in range(len(content)))


def single_changes(content: bytes, values: int, seed: int) -> Iterator[bytes]:
    """The file with one byte changed, for every byte to this many other values."""
    chance = random.Random(seed)
    for place, byte in enumerate(content):
        for flip in chance.sample(range(1, 256), values):
            yield content[:place] + bytes([byte ^ flip]) + content[place + 1 :]


def random_changes(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The file with several bytes changed, or a run of them removed, repeated or moved."""
    chance = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(content)
        length = chance.randint(2, MOST_CHANGED_BYTES)
        place = chance.randrange(len(content) - length)
        run = content[place : place + length]
        match chance.randrange(5):
            case 0:
                for spot in chance.sample(range(len(content)), length):
                    damaged[spot] ^= chance.randrange(1, 256)
            case 1:
                damaged[place : place + length] = chance.randbytes(length)
            case 2:
                del damaged[place : place + length]
            case 3:
                damaged[place:place] = run
            case _:
                del damaged[place : place + length]
                target = chance.randrange(len(damaged))
                damaged[target:target] = run
        yield bytes(damaged)


def count(codec: Codec, subject: Subject, damaged: Iterable[bytes]) -> Counter[str]:
    """How often each outcome came."""
    return Counter(outcome(codec, subject, content) for content in damaged)


def main() -> int:
    """Damage, count, print a table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--values", type=int, default=255, choices=range(1, 256), metavar="1..255")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec = Codec.load(WEIGHTS)
    print("| file | damage | files | " + " | ".join((*GOOD, *BAD)) + " |")
    print("| --- | --- " + "| ---: " * (1 + len(GOOD) + len(BAD)) + "|")
    is_bad = False
    for subject in subjects(codec):
        content = subject.content
        for damage, damaged in (
            ("every beginning", beginnings(content)),
            ("every byte", single_changes(content, options.values, options.seed)),
            ("several bytes", random_changes(content, options.changes, options.seed)),
        ):
            found = count(codec, subject, damaged)
            cells = [f"{found[name]}" for name in (*GOOD, *BAD)]
            label = f"{subject.name}, {len(content)} bytes"
            print(f"| {label} | {damage} | {found.total()} | {' | '.join(cells)} |", flush=True)
            is_bad |= any(found[name] for name in BAD)
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
