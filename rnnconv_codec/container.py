"""The bytes of an `.rnc` file: a header, optional metadata, and one chunk per iteration.

Of the last iteration there may be only the first bytes of its segment, in a chunk of a type of
its own: a partial iteration.

This module knows nothing of what is inside a segment. The layout is specified in
`docs/FORMAT.md`; the rules that shape the reader are:

- A file cut anywhere after its first whole iteration is still a picture: what is whole is
  returned and `Container.is_cut` is true.
- Damage is never mistaken for a shorter picture, with one exception that no reader can
  avoid: if a damaged length makes a chunk run past the end of the data, the file looks cut
  at that chunk, and is treated so.
- Each checksum covers all chunks so far, so chunks that were removed, exchanged, repeated or
  taken from another file are damage too.
- Nothing is allocated on the word of a length field: all payloads are slices of the data.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass, replace

from rnnconv_codec.errors import (
    ArgumentError,
    ChecksumError,
    ChunkOrderError,
    IterationsError,
    MalformedChunkError,
    NotAnRncFileError,
    TruncatedHeaderError,
    UnknownChunkError,
    UnsupportedVersionError,
)

MAGIC = b"\x89RNC\r\n\x1a\n"
FORMAT_VERSION = 1

MAX_DIMENSION = 65535
"""The largest width and the largest height, in pixels."""

DEFAULT_MAX_PIXELS = 100_000_000
"""The largest picture that is opened, in pixels: small files can declare gigantic ones."""

MAX_ITERATIONS = 255
"""The most iterations a file can declare: the field has one byte."""

MODEL_ID_BYTES = 8

_LENGTH_BITS_PER_BYTE = 7
_LENGTH_VALUE_MASK = 0x7F
_LENGTH_CONTINUES = 0x80
_MAX_LENGTH_BYTES = 4

MAX_CHUNK_BYTES = (1 << (_LENGTH_BITS_PER_BYTE * _MAX_LENGTH_BYTES)) - 1
"""The longest payload of a chunk, in bytes: what a length of four bytes can say."""

OPTIONAL_BIT = 0x80
"""Set in the type of a chunk that a reader may skip if it does not know it."""


class ChunkType(enum.IntEnum):
    """The chunk types of version 1."""

    HEADER = 0x01
    ITERATION = 0x02
    ICC = OPTIONAL_BIT | 0x01
    EXIF = OPTIONAL_BIT | 0x02
    XMP = OPTIONAL_BIT | 0x03
    ALPHA = OPTIONAL_BIT | 0x04
    # Optional for those who know nothing of it: they see a file cut before its last iteration.
    PARTIAL_ITERATION = OPTIONAL_BIT | 0x05


# In the order in which the chunks are written; the names are the fields of `Metadata`.
_METADATA_TYPES = {
    "icc": ChunkType.ICC,
    "exif": ChunkType.EXIF,
    "xmp": ChunkType.XMP,
    "alpha": ChunkType.ALPHA,
}
_METADATA_NAMES = {chunk_type: name for name, chunk_type in _METADATA_TYPES.items()}

_HEADER_STRUCT = struct.Struct(f"<IIBB{MODEL_ID_BYTES}s")  # width, height, mode, iterations, id
_CRC_STRUCT = struct.Struct("<I")
_CRC_START = 0  # what the checksum of the header chunk continues
_TYPE_BYTES = 1
_VERSION_BYTES = 1
_BITS_PER_BYTE = 8


class PixelMode(enum.Enum):
    """What the samples of the picture are; the values are those in the file."""

    RGB = 0
    GREY = 1

    @property
    def pillow_mode(self) -> str:
        """Pillow's name of the mode: "RGB" or "L"."""
        return "RGB" if self is PixelMode.RGB else "L"

    @classmethod
    def from_pillow_mode(cls, mode: str) -> PixelMode:
        """The pixel mode of a Pillow mode; raises `ArgumentError` unless it is "RGB" or "L"."""
        for candidate in cls:
            if candidate.pillow_mode == mode:
                return candidate
        raise ArgumentError(f"pictures of mode {mode!r} cannot be stored, only RGB and L")


@dataclass(frozen=True)
class Header:
    """What the header chunk says. Sizes in pixels; `model_id` has 8 bytes."""

    width: int
    height: int
    mode: PixelMode
    iterations: int
    model_id: bytes


@dataclass(frozen=True)
class Metadata:
    """What travels with the picture, each as raw bytes, or None where the file has none."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    alpha: bytes | None = None


@dataclass(frozen=True)
class Container:
    """The content of an `.rnc` file.

    Attributes:
        header: of the file.
        segments: the payload of each whole iteration.
        metadata: that travel with the picture.
        partial: the first bytes of the next segment, if the last iteration is a partial one.
    """

    header: Header
    segments: tuple[bytes, ...]
    metadata: Metadata = Metadata()
    partial: bytes | None = None

    @property
    def present_iterations(self) -> int:
        """How many of the declared iterations are there, a partial one included."""
        return len(self.segments) + (self.partial is not None)

    @property
    def missing_iterations(self) -> int:
        """How many of the declared iterations are not there; 0 for a whole file."""
        return self.header.iterations - self.present_iterations

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before its last declared iteration."""
        return self.missing_iterations > 0


@dataclass(frozen=True)
class FileInfo:
    """What can be told of an `.rnc` file without decoding it.

    `iterations` whole ones can be decoded, `declared_iterations` were encoded. `partial_bytes` is
    the length of the partial iteration behind them, None without one. `bpp` counts all bytes of
    the file as it is. `cumulative_bytes[t - 1]` is what the file has after `truncate` to t
    iterations, and `decodable_bytes` the same for all that can be decoded; so it is below
    `file_bytes` if the file has an incomplete chunk at its end or unknown chunks.
    `metadata_bytes` maps the names of the metadata that are there ("icc", "exif", "xmp", "alpha")
    to the lengths of their payloads.
    """

    version: int
    width: int
    height: int
    mode: PixelMode
    iterations: int
    declared_iterations: int
    model_id: str
    segment_bytes: tuple[int, ...]
    partial_bytes: int | None
    metadata_bytes: dict[str, int]
    cumulative_bytes: tuple[int, ...]
    decodable_bytes: int
    file_bytes: int

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before its last declared iteration."""
        return self.iterations + (self.partial_bytes is not None) < self.declared_iterations

    @property
    def bpp(self) -> float:
        """Bits of the whole file per pixel."""
        return self.bpp_of(self.file_bytes)

    @property
    def cumulative_bpp(self) -> tuple[float, ...]:
        """Bits per pixel of the file cut after each whole iteration."""
        return tuple(self.bpp_of(size) for size in self.cumulative_bytes)

    def bpp_of(self, file_bytes: int) -> float:
        """Bits per pixel of the picture that so many bytes are."""
        return _BITS_PER_BYTE * file_bytes / (self.width * self.height)


# --- writing ---------------------------------------------------------------------------------


def write_container(container: Container) -> bytes:
    """Return the bytes of the `.rnc` file with this content.

    Raises `ArgumentError` if a field is outside its range, or if there are not exactly as many
    segments, a partial one included, as the header declares: only cutting makes a cut file.
    """
    header, metadata = container.header, container.metadata
    _check_arguments(container)
    packed_header = _HEADER_STRUCT.pack(
        header.width, header.height, header.mode.value, header.iterations, header.model_id
    )
    chunks = [(ChunkType.HEADER, packed_header)]
    chunks += [(_METADATA_TYPES[name], payload) for name, payload in _present(metadata).items()]
    chunks += [(ChunkType.ITERATION, segment) for segment in container.segments]
    if container.partial is not None:
        chunks.append((ChunkType.PARTIAL_ITERATION, container.partial))

    parts = [MAGIC, bytes([FORMAT_VERSION])]
    crc = _CRC_START
    for chunk_type, payload in chunks:
        start = bytes([chunk_type]) + _write_length(len(payload))
        # The stored checksums are not summed: a CRC over data and their CRC is a constant,
        # which would hide what came before.
        crc = zlib.crc32(payload, zlib.crc32(start, crc))
        parts += [start, payload, _CRC_STRUCT.pack(crc)]
    return b"".join(parts)


def truncate(data: bytes, *, iterations: int, partial_bytes: int | None = None) -> bytes:
    """Return the `.rnc` file `data` with its first `iterations` iterations only.

    The result is a whole file, byte for byte what `write_container` makes of the same
    segments: metadata stay, and optional chunks of unknown type are dropped, because what they
    say may not hold for the shorter file. With `partial_bytes` so many bytes of the next
    iteration's segment are kept as a partial iteration; where segments may be cut is not known
    here.

    Raises `IterationsError` unless `iterations` is between 1 and the number of whole iterations
    in `data`, `ArgumentError` if there are not so many bytes behind them, and what
    `read_container` raises.
    """
    container = read_container(data)
    available = len(container.segments)
    if not _has_type(iterations, int) or not 1 <= iterations <= available:
        raise IterationsError(
            f"{iterations} iterations are not available, the file has 1 to {available}"
        )
    partial: bytes | None = None
    if partial_bytes is not None:
        following = container.segments[iterations:] or (container.partial or b"",)
        if not 0 <= partial_bytes <= len(following[0]):
            raise ArgumentError(f"iteration {iterations + 1} has no {partial_bytes} bytes")
        partial = following[0][:partial_bytes]
    segments = container.segments[:iterations]
    declared = iterations + (partial is not None)
    header = replace(container.header, iterations=declared)
    return write_container(replace(container, header=header, segments=segments, partial=partial))


def _write_length(length: int) -> bytes:
    written = bytearray()
    while length > _LENGTH_VALUE_MASK:
        written.append((length & _LENGTH_VALUE_MASK) | _LENGTH_CONTINUES)
        length >>= _LENGTH_BITS_PER_BYTE
    written.append(length)
    return bytes(written)


def _present(metadata: Metadata) -> dict[str, bytes]:
    """The metadata that are there, by name, in the order in which they are written."""
    every = {name: getattr(metadata, name) for name in _METADATA_TYPES}
    return {name: payload for name, payload in every.items() if payload is not None}


def _check_arguments(container: Container) -> None:
    header = container.header
    for field in ("width", "height", "iterations"):
        if not _has_type(getattr(header, field), int):
            raise ArgumentError(f"{field} must be a whole number")
    fault = _header_fault(header)
    if fault is not None:
        raise ArgumentError(fault)
    if not _has_type(header.mode, PixelMode):
        raise ArgumentError(f"{header.mode!r} is not a pixel mode")
    if not _has_type(header.model_id, bytes) or len(header.model_id) != MODEL_ID_BYTES:
        raise ArgumentError(f"a model id is {MODEL_ID_BYTES} bytes")
    if container.missing_iterations or not container.segments:
        raise ArgumentError(
            f"{len(container.segments)} segments, but the header declares {header.iterations}"
        )
    payloads = {
        f"segment {number}": segment for number, segment in enumerate(container.segments, 1)
    }
    if container.partial is not None:
        payloads["the partial segment"] = container.partial
    for name, payload in (payloads | _present(container.metadata)).items():
        if not _has_type(payload, bytes):
            raise ArgumentError(f"{name} must be bytes, not {type(payload).__name__}")
        if len(payload) > MAX_CHUNK_BYTES:
            raise ArgumentError(f"{name} has {len(payload)} bytes, at most {MAX_CHUNK_BYTES} fit")


def _has_type(value: object, expected: type) -> bool:
    # Takes an object because the type checker believes the annotations; callers need not.
    return isinstance(value, expected)


def _header_fault(header: Header) -> str | None:
    """What is out of range in a header's numbers, None if nothing is."""
    if not (1 <= header.width <= MAX_DIMENSION and 1 <= header.height <= MAX_DIMENSION):
        return f"{header.width}x{header.height} pixels: each side must be 1 to {MAX_DIMENSION}"
    if not 1 <= header.iterations <= MAX_ITERATIONS:
        return f"{header.iterations} iterations: there must be 1 to {MAX_ITERATIONS}"
    return None


# --- reading ---------------------------------------------------------------------------------


def read_container(data: bytes) -> Container:
    """Parse the bytes of an `.rnc` file.

    A file that ends early, between two chunks or inside one, gives the iterations that are
    whole. Optional chunks of unknown type are checked and left out.

    Raises `NotAnRncFileError`, `UnsupportedVersionError`, `TruncatedHeaderError` (the data end
    before the first iteration is whole), `ChecksumError`, `MalformedChunkError`,
    `ChunkOrderError` or `UnknownChunkError`.
    """
    view = memoryview(data)
    position = _check_signature(view)
    first = _next_chunk(view, position, _CRC_START)
    if first is None:
        raise TruncatedHeaderError("the file ends inside its header")
    header = _read_header(first)
    position, crc = first.end, first.crc

    metadata: dict[str, bytes] = {}
    segments: list[bytes] = []
    partial: bytes | None = None
    while len(segments) < header.iterations and partial is None:
        chunk = _next_chunk(view, position, crc)
        if chunk is None:
            break
        position, crc = chunk.end, chunk.crc
        if chunk.type == ChunkType.ITERATION:
            segments.append(bytes(chunk.payload))
        elif chunk.type == ChunkType.PARTIAL_ITERATION:
            if not 1 <= len(segments) == header.iterations - 1:
                raise ChunkOrderError("a partial iteration is not the last one, or the only one")
            partial = bytes(chunk.payload)
        elif chunk.type in _METADATA_NAMES:
            name = _METADATA_NAMES[ChunkType(chunk.type)]
            if segments:
                raise ChunkOrderError(f"the {name} chunk comes after the first iteration")
            if name in metadata:
                raise ChunkOrderError(f"there is more than one {name} chunk")
            metadata[name] = bytes(chunk.payload)
        elif chunk.type == ChunkType.HEADER:
            raise ChunkOrderError("there is more than one header")
        elif not chunk.type & OPTIONAL_BIT:
            raise UnknownChunkError(
                f"chunk type 0x{chunk.type:02x} is needed for decoding but not known"
            )
    if not segments:
        raise TruncatedHeaderError("the file ends before its first iteration is complete")
    container = Container(header, tuple(segments), Metadata(**metadata), partial)
    if not container.is_cut:
        _check_tail(view, position, crc)
    return container


def inspect(data: bytes) -> FileInfo:
    """Describe an `.rnc` file without decoding its picture.

    Raises what `read_container` raises.
    """
    container = read_container(data)
    header = container.header
    segment_bytes = tuple(len(segment) for segment in container.segments)
    metadata_bytes = {name: len(found) for name, found in _present(container.metadata).items()}
    size = len(MAGIC) + _VERSION_BYTES + _chunk_bytes(_HEADER_STRUCT.size)
    size += sum(_chunk_bytes(length) for length in metadata_bytes.values())
    cumulative_bytes = []
    for length in segment_bytes:
        size += _chunk_bytes(length)
        cumulative_bytes.append(size)
    partial_bytes = None if container.partial is None else len(container.partial)
    if partial_bytes is not None:
        size += _chunk_bytes(partial_bytes)
    return FileInfo(
        version=FORMAT_VERSION,
        width=header.width,
        height=header.height,
        mode=header.mode,
        iterations=len(container.segments),
        declared_iterations=header.iterations,
        model_id=header.model_id.hex(),
        segment_bytes=segment_bytes,
        partial_bytes=partial_bytes,
        metadata_bytes=metadata_bytes,
        cumulative_bytes=tuple(cumulative_bytes),
        decodable_bytes=size,
        file_bytes=len(data),
    )


@dataclass(frozen=True)
class _Chunk:
    """A chunk whose checksum `crc` is right; `end` is where the next one starts."""

    type: int
    payload: memoryview
    crc: int
    end: int


def _check_signature(view: memoryview) -> int:
    """Check the magic and the version; return where the first chunk starts."""
    found = bytes(view[: len(MAGIC)])
    if not MAGIC.startswith(found):
        # The tail of the magic is there to be destroyed by transfers that "correct" text.
        name_bytes = MAGIC[:4]
        if found.startswith(name_bytes):
            raise NotAnRncFileError("an .rnc file damaged by a transfer as text")
        raise NotAnRncFileError("not an .rnc file")
    if len(view) < len(MAGIC) + _VERSION_BYTES:
        raise TruncatedHeaderError(
            "the file ends inside its header" if found else "the file is empty"
        )
    version = view[len(MAGIC)]
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(
            f"format version {version}, this program reads version {FORMAT_VERSION}"
        )
    return len(MAGIC) + _VERSION_BYTES


def _next_chunk(view: memoryview, start: int, previous_crc: int) -> _Chunk | None:
    """The chunk at `start`, or None if the data end before it does.

    `previous_crc` is the checksum of the chunk before it, `_CRC_START` for the first one.
    """
    length_start = start + _TYPE_BYTES
    parsed = _read_length(view, length_start)
    if parsed is None:
        return None
    length, payload_start = parsed
    payload_end = payload_start + length
    end = payload_end + _CRC_STRUCT.size
    if end > len(view):
        return None
    # The checksum comes before any look at the type, so damage is reported as damage.
    (stored,) = _CRC_STRUCT.unpack(view[payload_end:end])
    if zlib.crc32(view[start:payload_end], previous_crc) != stored:
        raise ChecksumError(f"the checksum of the chunk at byte {start} is wrong")
    return _Chunk(view[start], view[payload_start:payload_end], stored, end)


def _read_length(view: memoryview, start: int) -> tuple[int, int] | None:
    """A length and where it ends, or None if the data end first."""
    length = 0
    for index in range(_MAX_LENGTH_BYTES):
        if start + index >= len(view):
            return None
        byte = view[start + index]
        length |= (byte & _LENGTH_VALUE_MASK) << (_LENGTH_BITS_PER_BYTE * index)
        if not byte & _LENGTH_CONTINUES:
            if index > 0 and byte == 0:
                raise MalformedChunkError(f"the length at byte {start} is not in shortest form")
            return length, start + index + 1
    raise MalformedChunkError(
        f"the length at byte {start} is longer than {_MAX_LENGTH_BYTES} bytes"
    )


def _read_header(chunk: _Chunk) -> Header:
    if chunk.type != ChunkType.HEADER:
        raise ChunkOrderError(f"the first chunk has type 0x{chunk.type:02x}, not the header's")
    if len(chunk.payload) != _HEADER_STRUCT.size:
        raise MalformedChunkError(
            f"the header has {len(chunk.payload)} bytes instead of {_HEADER_STRUCT.size}"
        )
    width, height, mode, iterations, model_id = _HEADER_STRUCT.unpack(chunk.payload)
    try:
        pixel_mode = PixelMode(mode)
    except ValueError:
        raise MalformedChunkError(f"the header has the unknown pixel mode {mode}") from None
    header = Header(width, height, pixel_mode, iterations, model_id)
    fault = _header_fault(header)
    if fault is not None:
        raise MalformedChunkError(f"the header declares {fault}")
    return header


def _check_tail(view: memoryview, position: int, crc: int) -> None:
    """Check that only whole optional chunks of unknown type follow the last iteration."""
    while position < len(view):
        chunk = _next_chunk(view, position, crc) if view[position] & OPTIONAL_BIT else None
        if chunk is None:
            raise MalformedChunkError(
                f"{len(view) - position} bytes follow the last declared iteration"
            )
        if chunk.type in _METADATA_NAMES:
            name = _METADATA_NAMES[ChunkType(chunk.type)]
            raise ChunkOrderError(f"the {name} chunk comes after the first iteration")
        if chunk.type == ChunkType.PARTIAL_ITERATION:
            raise ChunkOrderError("a partial iteration comes after the last declared iteration")
        position, crc = chunk.end, chunk.crc


def _chunk_bytes(payload_bytes: int) -> int:
    """The size in the file of a chunk with a payload of this many bytes."""
    return _TYPE_BYTES + len(_write_length(payload_bytes)) + payload_bytes + _CRC_STRUCT.size


def payload_within(chunk_bytes: int) -> int:
    """The longest payload of a chunk that has at most this size in the file; below 0 if none has.

    At most `MAX_CHUNK_BYTES`.
    """
    payload = min(chunk_bytes - _chunk_bytes(0), MAX_CHUNK_BYTES)
    while payload > 0 and _chunk_bytes(payload) > chunk_bytes:
        payload -= 1
    return payload
