"""Chunks of `.rnc` and of PNG files, taken apart and put together with right checksums.

Without the code under test, and of chunks that no writer would write: for the fuzzer, whose changes
would otherwise end at the first checksum, and for the hostile files of `tests/attacks`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

SIGNATURE = b"\x89RNC\r\n\x1a\n\x01"
"""Magic and version of an `.rnc` file."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

HEADER = struct.Struct("<IIBB8s")
"""Payload of the header chunk: width, height, mode, iterations, model id."""

_CRC_BYTES = 4
_MAX_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Chunk:
    """A chunk of an `.rnc` file, its type from 0 to 255."""

    type: int
    payload: bytes


@dataclass(frozen=True)
class PngChunk:
    """A chunk of a PNG file, its name of four bytes."""

    name: bytes
    payload: bytes


def split(data: bytes) -> tuple[list[Chunk], bytes]:
    """The chunks of an `.rnc` file, whatever their checksums, and the bytes that are none."""
    chunks: list[Chunk] = []
    position = len(SIGNATURE)
    while position + 1 < len(data):
        length, start = 0, position + 1
        for index in range(_MAX_LENGTH_BYTES):
            byte = data[start] if start < len(data) else 0
            length |= (byte & 0x7F) << (7 * index)
            start += 1
            if not byte & 0x80:
                break
        if start + length + _CRC_BYTES > len(data):
            break
        chunks.append(Chunk(data[position], data[start : start + length]))
        position = start + length + _CRC_BYTES
    return chunks, data[position:]


def join(chunks: Iterable[Chunk], rest: bytes = b"") -> bytes:
    """The `.rnc` file of these chunks, with right lengths and checksums."""
    return SIGNATURE + b"".join(checked(chunks)) + rest


def checked(chunks: Iterable[Chunk]) -> list[bytes]:
    """The bytes of each chunk, with the checksum that it has after those before it."""
    written: list[bytes] = []
    crc = 0
    for chunk in chunks:
        content = bytes([chunk.type]) + length_bytes(len(chunk.payload)) + chunk.payload
        crc = zlib.crc32(content, crc)
        written.append(content + crc.to_bytes(_CRC_BYTES, "little"))
    return written


def length_bytes(length: int) -> bytes:
    """A length as `.rnc` files write it: seven bits a byte, the lowest first."""
    written = bytearray()
    while length > 0x7F:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes(written) + bytes([length])


def split_png(data: bytes) -> list[PngChunk]:
    """The whole chunks of a PNG file, whatever their checksums."""
    chunks: list[PngChunk] = []
    position = len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        start = position + 8
        if start + length + _CRC_BYTES > len(data):
            break
        chunks.append(PngChunk(data[position + 4 : start], data[start : start + length]))
        position = start + length + _CRC_BYTES
    return chunks


def join_png(chunks: Iterable[PngChunk]) -> bytes:
    """The PNG file of these chunks, with right lengths and checksums."""
    written = PNG_SIGNATURE
    for chunk in chunks:
        content = chunk.name + chunk.payload
        written += struct.pack(">I", len(chunk.payload)) + content
        written += struct.pack(">I", zlib.crc32(content))
    return written
