"""Makes the hostile files in this folder, and the README with what each must come to.

    python tests/attacks/make.py

The same bytes each time and everywhere: nothing is random, and what is compressed is compressed
here. The sound files that they are made of are golden ones.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.chunks import (
    HEADER,
    SIGNATURE,
    Chunk,
    PngChunk,
    checked,
    join,
    join_png,
    length_bytes,
    split,
)
from rnnconv_codec.networks.config import (
    CompactConfig,
    ContextModelConfig,
    NetworkConfig,
    TodericiConfig,
    config_to_dict,
)

FOLDER = Path(__file__).resolve().parent
GOLDEN = FOLDER.parent / "golden"

WEIGHTS = GOLDEN / "rate-aware.safetensors"
"""The model that the hostile pictures name."""

SOUND = (GOLDEN / "rate-aware-colour-v1.rnc").read_bytes()
"""A sound file of three iterations."""

MAGIC = SIGNATURE[:-1]
SIZE = (97, 63)
MODEL_ID = bytes.fromhex("468d42d3705f81cc")

ICC, EXIF, XMP, ALPHA, PARTIAL = 0x81, 0x82, 0x83, 0x84, 0x85
UNKNOWN_OPTIONAL, UNKNOWN_NEEDED = 0x99, 0x15


@dataclass(frozen=True)
class Attack:
    """A hostile file.

    Attributes:
        name: of the file.
        fault: what is wrong with it.
        error: name of the exception that decoding with it raises, None for a picture.
        content: of the file.
        notice: name of the warning that comes with the picture, None for none.
    """

    name: str
    fault: str
    error: str | None
    content: bytes
    notice: str | None = None


# --- pictures --------------------------------------------------------------------------------


def header(
    width: int = SIZE[0],
    height: int = SIZE[1],
    mode: int = 0,
    iterations: int = 3,
    model_id: bytes = MODEL_ID,
) -> Chunk:
    """A header chunk, by default that of the sound file."""
    return Chunk(1, HEADER.pack(width, height, mode, iterations, model_id))


SEGMENTS = split(SOUND)[0][1:]
NONE = Chunk(2, b"")


def with_metadata(*chunks: Chunk) -> bytes:
    """The sound file with chunks behind its header."""
    return join([header(), *chunks, *SEGMENTS])


def with_wrong_crc(number: int) -> bytes:
    """The sound file, with metadata, with a bit of the CRC of one of its chunks changed."""
    written = checked([header(), Chunk(XMP, b"<x:xmpmeta/>"), *SEGMENTS])
    chunk = written[number]
    written[number] = chunk[:-1] + bytes([chunk[-1] ^ 1])
    return SIGNATURE + b"".join(written)


def in_order(*numbers: int) -> bytes:
    """The chunks of the sound file in another order, each with the CRC that it has there."""
    written = checked([header(), *SEGMENTS])
    return SIGNATURE + b"".join(written[number] for number in numbers)


def png(*chunks: PngChunk) -> bytes:
    """A PNG of the picture's size and grey, with chunks before those that it needs."""
    return join_png([ihdr(*SIZE), *chunks, PngChunk(b"IDAT", plane()), PngChunk(b"IEND", b"")])


def ihdr(width: int, height: int, colour_type: int = 0) -> PngChunk:
    """The header of a PNG of 8 bits."""
    fields = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return PngChunk(b"IHDR", fields)


def plane() -> bytes:
    """The image data of a black PNG of the picture's size."""
    return zeros((SIZE[0] + 1) * SIZE[1])


def zeros(count: int) -> bytes:
    """So many zeros as a zlib stream: one block of fixed codes, 13 bits for 258 zeros."""
    run, left = divmod(count - 1, 258)
    literal, repeat = "00110000", "11000101" + "00000"
    bits = "1" + "10" + literal * (1 + left) + repeat * run + "0000000"
    bits += "0" * (-len(bits) % 8)
    block = bytes(int(bits[place : place + 8][::-1], 2) for place in range(0, len(bits), 8))
    return b"\x78\x01" + block + struct.pack(">I", zlib.adler32(bytes(count)))


def webp(width: int, height: int, kind: bytes = b"VP8L") -> bytes:
    """A lossless WebP of 3x2 pixels whose header says another size."""
    sound = bytes.fromhex(
        "524946462e000000574542505650384c210000002f024000001f201048e19327202858de750141c1"
        "f2aecf7f547f00f8014e44ff2300"
    )
    sides = (width - 1) | (height - 1) << 14
    return sound[:12] + kind + sound[16:21] + struct.pack("<I", sides) + sound[25:]


def exif_entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """An entry of an EXIF directory."""
    return struct.pack("<HHII", tag, kind, count, value)


def exif(*entries: bytes) -> bytes:
    """An EXIF block of one directory."""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def other_model() -> list[Chunk]:
    """The segments of the same picture by another model."""
    return split((GOLDEN / "colour-v1.rnc").read_bytes())[0][1:]


def container_attacks() -> list[Attack]:
    """Files that no command accepts."""
    malformed, order, checksum = "MalformedChunkError", "ChunkOrderError", "ChecksumError"
    other = checked([header(height=64), *other_model()])
    ours = checked([header(), *SEGMENTS])
    first, covered = SEGMENTS[0], ours[1] + ours[2]
    return [
        Attack("empty", "no bytes", "TruncatedHeaderError", b""),
        Attack("magic-only", "ends after the magic", "TruncatedHeaderError", MAGIC),
        Attack("not-a-picture", "other bytes", "NotAnRncFileError", b"GIF89a" + SOUND[6:]),
        Attack(
            "sent-as-text",
            "CR LF became LF in the magic",
            "NotAnRncFileError",
            SOUND.replace(b"\r\n", b"\n", 1),
        ),
        Attack("version-0", "version 0", "UnsupportedVersionError", MAGIC + b"\0" + SOUND[9:]),
        Attack("version-2", "version 2", "UnsupportedVersionError", MAGIC + b"\2" + SOUND[9:]),
        Attack("width-0", "no columns", malformed, join([header(width=0), *SEGMENTS])),
        Attack("height-0", "no rows", malformed, join([header(height=0), *SEGMENTS])),
        Attack("width-65536", "a side too long", malformed, join([header(width=65536), *SEGMENTS])),
        Attack(
            "sides-of-32-bits",
            "sides of 2^32 - 1, whose product overflows 64 bits signed",
            malformed,
            join([header(width=2**32 - 1, height=2**32 - 1), *SEGMENTS]),
        ),
        Attack("mode-2", "an unknown pixel mode", malformed, join([header(mode=2), *SEGMENTS])),
        Attack("iterations-0", "no iterations", malformed, join([header(iterations=0), *SEGMENTS])),
        Attack(
            "short-header",
            "a header of 17 bytes",
            malformed,
            join([Chunk(1, header().payload[:-1]), *SEGMENTS]),
        ),
        Attack(
            "long-header",
            "a header of 19 bytes",
            malformed,
            join([Chunk(1, header().payload + b"\0"), *SEGMENTS]),
        ),
        Attack("no-header", "begins with an iteration", order, join(SEGMENTS)),
        Attack("two-headers", "a second header", order, join([header(), header(), *SEGMENTS])),
        Attack(
            "two-profiles",
            "a second ICC profile",
            order,
            with_metadata(Chunk(ICC, b"1"), Chunk(ICC, b"2")),
        ),
        Attack(
            "two-alphas",
            "a second alpha plane",
            order,
            with_metadata(Chunk(ALPHA, png()), Chunk(ALPHA, png())),
        ),
        Attack(
            "late-metadata",
            "EXIF between iterations",
            order,
            join([header(), first, Chunk(EXIF, exif()), *SEGMENTS[1:]]),
        ),
        Attack(
            "metadata-at-the-end",
            "XMP after the last iteration",
            order,
            join([header(), *SEGMENTS, Chunk(XMP, b"")]),
        ),
        Attack(
            "partial-first",
            "a partial iteration before any whole one",
            order,
            join([header(iterations=2), Chunk(PARTIAL, bytes(4)), first]),
        ),
        Attack(
            "partial-in-the-middle",
            "a partial iteration that is not the last",
            order,
            join([header(), first, Chunk(PARTIAL, bytes(4)), SEGMENTS[2]]),
        ),
        Attack(
            "one-iteration-too-many",
            "more iterations than declared",
            malformed,
            join([header(iterations=2), *SEGMENTS]),
        ),
        Attack("stray-bytes", "bytes after the end", malformed, SOUND + b"stray"),
        Attack(
            "unknown-chunk",
            "a chunk of unknown type that is needed",
            "UnknownChunkError",
            with_metadata(Chunk(UNKNOWN_NEEDED, b"?")),
        ),
        Attack("wrong-crc-header", "CRC of the header", checksum, with_wrong_crc(0)),
        Attack("wrong-crc-metadata", "CRC of the XMP", checksum, with_wrong_crc(1)),
        Attack("wrong-crc-first", "CRC of the first iteration", checksum, with_wrong_crc(2)),
        Attack("wrong-crc-second", "CRC of the second iteration", checksum, with_wrong_crc(3)),
        Attack("wrong-crc-last", "CRC of the last iteration", checksum, with_wrong_crc(4)),
        Attack("repeated-iteration", "the first iteration twice", checksum, in_order(0, 1, 1, 2)),
        Attack("exchanged-iterations", "two in wrong order", checksum, in_order(0, 1, 3, 2)),
        Attack("missing-iteration", "the second is missing", checksum, in_order(0, 1, 3)),
        Attack(
            "iteration-of-another-file",
            "the second is another file's",
            checksum,
            SIGNATURE + b"".join([ours[0], ours[1], other[2], ours[3]]),
        ),
        Attack(
            "overlapping-chunks",
            "the first iteration's length covers the second, too",
            checksum,
            SIGNATURE + ours[0] + b"\x02" + length_bytes(len(covered)) + covered + ours[3],
        ),
        Attack(
            "length-past-the-end",
            "the first iteration is said to have 268435455 bytes",
            "TruncatedHeaderError",
            SIGNATURE + ours[0] + b"\x02\xff\xff\xff\x7f" + first.payload,
        ),
        Attack(
            "metadata-past-the-end",
            "an ICC profile of 268435455 bytes",
            "TruncatedHeaderError",
            SIGNATURE + ours[0] + b"\x81\xff\xff\xff\x7f" + ours[1],
        ),
        Attack(
            "length-of-5-bytes",
            "a length of 2^35 - 1",
            malformed,
            SIGNATURE + ours[0] + b"\x02\xff\xff\xff\xff\x7f" + first.payload,
        ),
        Attack(
            "length-not-shortest",
            "a length with a zero byte at its end",
            malformed,
            SIGNATURE + ours[0] + b"\x02\xa0\x00" + first.payload + bytes(4),
        ),
    ]


def decoder_attacks() -> list[Attack]:
    """Files that can be described and shortened, but give no picture."""
    size, alpha, mismatch = "ImageSizeError", "AlphaChunkError", "ModelMismatchError"
    bomb = PngChunk(b"zTXt", b"Comment\0\0" + zeros(2_000_000))
    profile = PngChunk(b"iCCP", b"ICC\0\0" + zeros(2_000_000))
    end = PngChunk(b"IEND", b"")
    larger = zeros(2001 * 2000)
    payloads = {
        "alpha-empty": ("an alpha chunk without bytes", b""),
        "alpha-other-coding": ("an alpha plane as GIF", b"GIF89a" + bytes(20)),
        "alpha-other-size": (
            "an alpha plane of another size",
            join_png([ihdr(63, 97), PngChunk(b"IDAT", plane()), end]),
        ),
        "alpha-png-of-gigapixels": (
            "an alpha plane of 2^31 - 1 pixels a side",
            join_png([ihdr(2**31 - 1, 2**31 - 1), PngChunk(b"IDAT", plane()), end]),
        ),
        "alpha-two-headers-larger": (
            "a PNG whose second header is larger, and its data",
            join_png([ihdr(*SIZE), ihdr(2000, 2000), PngChunk(b"IDAT", larger), end]),
        ),
        "alpha-two-headers-colour": (
            "a PNG whose second header is RGB",
            png(ihdr(*SIZE, colour_type=2)),
        ),
        "alpha-text-bomb": ("a PNG with a comment that unpacks to 2 MB", png(bomb)),
        "alpha-profile-bomb": ("a PNG with a profile that unpacks to 2 MB", png(profile)),
        "alpha-without-pixels": (
            "a PNG whose data end at once",
            join_png([ihdr(*SIZE), PngChunk(b"IDAT", plane()[:10]), end]),
        ),
        "alpha-webp-larger": ("a WebP of 16384x16384 pixels", webp(16384, 16384)),
        "alpha-webp-damaged": ("a WebP whose codes end too early", webp(*SIZE)),
        "alpha-webp-extended": ("a WebP with features", webp(*SIZE, kind=b"VP8X")),
    }
    nonsense = Chunk(2, b"\xff" * 64)
    return [
        Attack(
            "gigapixels",
            "65535x65535 pixels of no bytes",
            size,
            join([header(65535, 65535), NONE, NONE, NONE]),
        ),
        Attack(
            "above-the-limit",
            "100 million and 10 thousand pixels",
            size,
            join([header(10001, 10000), *SEGMENTS]),
        ),
        Attack(
            "one-long-row",
            "65535x1527 pixels, a row above the limit",
            size,
            join([header(65535, 1527), *SEGMENTS]),
        ),
        Attack(
            "model-of-nobody",
            "a model id of zeros",
            mismatch,
            join([header(model_id=bytes(8)), *SEGMENTS]),
        ),
        Attack(
            "too-many-iterations",
            "more iterations than the model has",
            mismatch,
            join([header(iterations=255), *[NONE] * 255]),
        ),
        Attack(
            "nonsense-codes",
            "a segment that no range coder writes",
            "CodeSegmentError",
            join([header(), SEGMENTS[0], nonsense, SEGMENTS[2]]),
        ),
        Attack(
            "codes-of-another-model",
            "another model's iterations with right CRCs",
            "CodeSegmentError",
            join([header(), *other_model()]),
        ),
        Attack(
            "partial-of-5-bytes",
            "a partial iteration that is not whole words",
            "CodeSegmentError",
            join([header(iterations=2), SEGMENTS[0], Chunk(PARTIAL, bytes(5))]),
        ),
        *(
            Attack(name, fault, alpha, with_metadata(Chunk(ALPHA, payload)))
            for name, (fault, payload) in payloads.items()
        ),
    ]


def harmless_attacks() -> list[Attack]:
    """Files that give a picture all the same, within the memory that its size needs."""
    loop = exif(exif_entry(0x8769, 4, 1, 8))  # the directory of EXIF is the one that names it
    many = exif(exif_entry(0x010F, 2, 2**32 - 1, 8), exif_entry(0x0110, 5, 2**31, 8))
    animated = [
        PngChunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        PngChunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, *SIZE, 0, 0, 1, 1, 0, 0)),
    ]
    bomb = join_png([ihdr(*SIZE), PngChunk(b"IDAT", zeros(4_000_000)), PngChunk(b"IEND", b"")])
    cut = "TruncatedFileWarning"
    ours = checked([header(), *SEGMENTS])
    return [
        Attack(
            "second-iteration-past-the-end",
            "the second iteration is said to have 268435455 bytes: as if cut there",
            None,
            SIGNATURE + ours[0] + ours[1] + b"\x02\xff\xff\xff\x7f" + SEGMENTS[1].payload,
            cut,
        ),
        Attack(
            "swallowed-iteration",
            "overlapping chunks with right CRCs: the first iteration has the second one's bytes",
            None,
            join([header(), Chunk(2, SEGMENTS[0].payload + ours[2])]),
            cut,
        ),
        Attack("no-codes", "iterations without bytes", None, join([header(), NONE, NONE, NONE])),
        Attack(
            "a-thousand-chunks",
            "a thousand chunks of unknown type to skip",
            None,
            with_metadata(*[Chunk(UNKNOWN_OPTIONAL, b"")] * 1000),
        ),
        Attack(
            "alpha-pixel-bomb",
            "an alpha plane whose data unpack to 4 MB",
            None,
            with_metadata(Chunk(ALPHA, bomb)),
        ),
        Attack(
            "alpha-animated",
            "an alpha plane of 2^31 - 1 frames",
            None,
            with_metadata(Chunk(ALPHA, png(*animated))),
        ),
        Attack(
            "exif-loop",
            "EXIF whose directory is in itself",
            None,
            with_metadata(Chunk(EXIF, loop)),
        ),
        Attack(
            "exif-of-gigabytes",
            "EXIF whose entries are said to have 4 and 16 GB",
            None,
            with_metadata(Chunk(EXIF, many)),
        ),
        Attack(
            "metadata-of-nonsense",
            "ICC, EXIF and XMP of other bytes",
            None,
            with_metadata(
                Chunk(ICC, b"\0" * 36 + b"acsp" + b"\xff" * 100),
                Chunk(EXIF, b"Exif\0\0" + b"\xff" * 40),
                Chunk(XMP, b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a '&a;'>]><x>&a;\xff</x>"),
            ),
        ),
    ]


# --- weights ---------------------------------------------------------------------------------

_CONTEXT = ContextModelConfig(hidden_channels=1, groups=1, hidden_layers=1, from_finer=False)
LEAST_TODERICI = TodericiConfig(1, 1, (1, 1, 1), 1, (4, 4, 4, 4), 4, _CONTEXT)
LEAST_COMPACT = CompactConfig(
    iterations=1,
    analysis_channels=2,
    coarse_inputs=1,
    coarse_codes=1,
    fine_codes=1,
    coarse_decoder_channels=4,
    fine_decoder_channels=2,
    loop_filter_channels=0,
    rate_aware=False,
    context=_CONTEXT,
)
"""The smallest models that there can be."""

Tensors = dict[str, np.ndarray[Any, Any]]

_DTYPES = {"float32": "F32", "float64": "F64", "int8": "I8", "int32": "I32"}


def sound_tensors(config: NetworkConfig) -> Tensors:
    """Tensors that fit a configuration: zeros, scales of 1 and even probabilities."""
    from rnnconv_codec.training.export import weights_tensors
    from rnnconv_codec.training.model import TrainableCodec

    tensors = {
        name: tensor.numpy() for name, tensor in weights_tensors(TrainableCodec(config)).items()
    }
    values = {name: np.zeros_like(tensor) for name, tensor in tensors.items()}
    for name, tensor in values.items():
        if name.endswith("_scale"):
            tensor[:] = 1
    values["context.table"][:] = 1 << 15
    return values


def weights_file(
    tensors: Mapping[str, np.ndarray[Any, Any]],
    description: Mapping[str, Any] | str,
    change: Callable[[dict[str, Any]], None] = lambda header: None,
) -> bytes:
    """A safetensors file; `change` is applied to its header."""
    written = description if isinstance(description, str) else json.dumps(description)
    header: dict[str, Any] = {"__metadata__": {"rnncodec": written}}
    content = b""
    for name, tensor in tensors.items():
        start = len(content)
        content += tensor.tobytes()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, len(content)],
        }
    change(header)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + content


def weights_attacks() -> list[Attack]:
    """Weights files that are refused."""
    bad, inexact = "WeightsFormatError", "IntegerRangeError"
    config = config_to_dict(LEAST_TODERICI)
    described = {"kind": "weights", "version": 1, "config": config, "training": {}}
    tensors = sound_tensors(LEAST_TODERICI)
    compact = sound_tensors(LEAST_COMPACT)
    compact_described = {**described, "config": config_to_dict(LEAST_COMPACT)}
    sound = weights_file(tensors, described)
    header_end = 8 + int.from_bytes(sound[:8], "little")
    weight = "network." + next(n for n in tensors if n.startswith("network.")).partition(".")[2]

    def filled(name: str, value: float) -> bytes:
        return weights_file({**tensors, name: np.full_like(tensors[name], value)}, described)

    def otherwise(**changes: object) -> bytes:
        return weights_file(tensors, {**described, **changes})

    def configured(**changes: object) -> bytes:
        return otherwise(config={**config, **changes})

    def scaled(value: float) -> bytes:
        name = "network.fine_state_scale"
        values = {**compact, name: np.full_like(compact[name], value)}
        return weights_file(values, compact_described)

    def entry(name: str, **changes: object) -> bytes:
        return weights_file(tensors, described, lambda header: header[name].update(changes))

    def empty(header: dict[str, Any]) -> None:
        header["network.vast"] = {"dtype": "F32", "shape": [0, 2**62, 8], "data_offsets": [0, 0]}

    without = {name: tensor for name, tensor in tensors.items() if name != weight}
    deeper = {**config, "context": {**config["context"], "hidden_layers": 4096}}
    skipping = tensors["context.table"].copy()
    skipping[[0, -1]] = (0, 1 << 16)
    attacks = [
        Attack("empty", "no bytes", bad, b""),
        Attack("not-weights", "other bytes", bad, b"\x89PNG\r\n\x1a\n" + bytes(100)),
        Attack("pickle", "a pickle, as torch.load would run it", bad, b"\x80\x02cos\nsystem\n."),
        Attack(
            "header-past-the-end", "a header of 2^63 bytes", bad, b"\xff" * 7 + b"\x7f" + sound[8:]
        ),
        Attack("cut-in-the-header", "ends in its header", bad, sound[: header_end // 2]),
        Attack("cut-in-the-tensors", "ends in its tensors", bad, sound[:-100]),
        Attack("stray-bytes", "bytes after the tensors", bad, sound + b"stray"),
        Attack(
            "deep-json", "a description of 5000 brackets", bad, weights_file(tensors, "[" * 5000)
        ),
        Attack("not-described", "no description", bad, weights_file(tensors, "{}")),
        Attack("another-kind", "not marked as weights", bad, otherwise(kind="state")),
        Attack("version-2", "version 2", bad, otherwise(version=2)),
        Attack("version-infinity", "version Infinity", bad, otherwise(version=float("inf"))),
        Attack(
            "training-of-nonsense", "a history that is none", bad, otherwise(training={"stages": 7})
        ),
        Attack("no-config", "no configuration", bad, otherwise(config=None)),
        Attack("config-unknown", "an unknown preset", bad, configured(preset="../../etc")),
        Attack("config-of-text", "a size that is text", bad, configured(stem_channels="64")),
        Attack("config-0", "no codes", bad, configured(codes=0)),
        Attack("config-huge", "a billion iterations", bad, configured(iterations=10**9)),
        Attack(
            "config-larger",
            "4096 channels in each layer, without the tensors for them",
            bad,
            configured(iterations=64, stem_channels=4096, encoder_channels=[4096] * 3, codes=4096),
        ),
        Attack(
            "config-deeper",
            "4096 hidden layers, without the tensors",
            bad,
            otherwise(config=deeper),
        ),
        Attack("missing-tensor", "a tensor is missing", bad, weights_file(without, described)),
        Attack(
            "unknown-tensor",
            "a tensor too many",
            bad,
            weights_file({**tensors, "network.other": np.zeros(1, np.float32)}, described),
        ),
        Attack(
            "other-shape",
            "a tensor of another shape",
            bad,
            weights_file({**tensors, weight: tensors[weight].ravel()}, described),
        ),
        Attack(
            "other-type",
            "a tensor in float64",
            bad,
            weights_file({**tensors, weight: tensors[weight].astype(np.float64)}, described),
        ),
        Attack(
            "tensor-past-the-end",
            "offsets behind the end",
            bad,
            entry(weight, data_offsets=[0, 2**40]),
        ),
        Attack(
            "tensors-overlapping",
            "two tensors at one place",
            bad,
            entry(weight, data_offsets=[4, 8]),
        ),
        Attack("tensor-of-petabytes", "a shape of 2^50", bad, entry(weight, shape=[2**50])),
        Attack(
            "shape-overflow",
            "a shape of 2^62 by 8 by nothing",
            bad,
            weights_file(tensors, described, empty),
        ),
        Attack("nan", "a tensor of not-a-number", bad, filled(weight, np.nan)),
        Attack("infinite", "a tensor of infinities", bad, filled(weight, np.inf)),
        Attack("huge-numbers", "a tensor of 3e38", bad, filled(weight, 3e38)),
        Attack("scale-0", "a scale of 0, by which is divided", bad, scaled(0)),
        Attack("scale-negative", "a scale of -1", bad, scaled(-1)),
        Attack("probability-0", "an impossible probability", inexact, filled("context.table", 0)),
        Attack("probability-1", "a certain probability", inexact, filled("context.table", 1 << 16)),
        Attack(
            "table-without-classes",
            "sure codes are skipped, and the others have a probability each",
            inexact,
            weights_file({**tensors, "context.table": skipping}, described),
        ),
        Attack(
            "context-bias",
            "sums beyond 2^24 in the context model",
            inexact,
            filled("context.0.hidden.bias", 2**31 - 1),
        ),
        Attack(
            "context-iteration-bias",
            "a bias beyond 2^20",
            inexact,
            filled("context.0.iteration_bias", -(2**31)),
        ),
        Attack("context-shift", "a shift by 127", inexact, filled("context.0.heads.shift", 127)),
        Attack(
            "context-negative-shift",
            "a shift by -128",
            inexact,
            filled("context.0.heads.shift", -128),
        ),
    ]
    return [replace(attack, name=f"weights-{attack.name}") for attack in attacks]


# --- the folder ------------------------------------------------------------------------------


def rnc_attacks() -> list[Attack]:
    """All hostile pictures."""
    return [*container_attacks(), *decoder_attacks(), *harmless_attacks()]


def file_name(attack: Attack) -> str:
    """Name of an attack's file in this folder."""
    return attack.name + (".safetensors" if attack.name.startswith("weights-") else ".rnc")


def table(attacks: Sequence[Attack]) -> str:
    """What each file has, and what comes of it."""
    rows = ["| file | what is wrong | error |", "| --- | --- | --- |"]
    for attack in attacks:
        outcome = f"`{attack.error}`" if attack.error else "none: a picture"
        if attack.notice is not None:
            outcome += f" and `{attack.notice}`"
        rows.append(f"| `{file_name(attack)}` | {attack.fault} | {outcome} |")
    return "\n".join(rows)


def readme() -> str:
    """The README of this folder."""
    return f"""# Hostile files

Made by `make.py`; `tests/test_attacks.py` gives each to the library, to Pillow and to the commands,
and compares this folder with what the script makes. An error is one line and exit status 1, and
leaves no file. The pictures name the model `tests/golden/rate-aware.safetensors`.

## Refused by every command

{table(container_attacks())}

## Refused when the picture is decoded

`info` and `truncate` look neither at codes nor at transparency, and need no model.

{table(decoder_attacks())}

## Harmless

{table(harmless_attacks())}

## Weights

{table(weights_attacks())}
"""


def main() -> None:
    """Write all files of this folder anew."""
    for old in (*FOLDER.glob("*.rnc"), *FOLDER.glob("*.safetensors")):
        old.unlink()
    for attack in (*rnc_attacks(), *weights_attacks()):
        (FOLDER / file_name(attack)).write_bytes(attack.content)
    (FOLDER / "README.md").write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main()
