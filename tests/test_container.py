"""The `.rnc` container: what is written is read, what is cut is a picture, damage is found."""

from __future__ import annotations

import dataclasses
import itertools
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnconv_codec.container import (
    MAGIC,
    MAX_CHUNK_BYTES,
    MAX_DIMENSION,
    MAX_ITERATIONS,
    MODEL_ID_BYTES,
    OPTIONAL_BIT,
    ChunkType,
    Container,
    Header,
    Metadata,
    PixelMode,
    inspect,
    payload_within,
    read_container,
    truncate,
    write_container,
)
from rnnconv_codec.errors import (
    ArgumentError,
    ChecksumError,
    ChunkOrderError,
    ContainerError,
    IterationsError,
    MalformedChunkError,
    NotAnRncFileError,
    TruncatedHeaderError,
    UnknownChunkError,
    UnsupportedVersionError,
)

FORMAT_DOCUMENT = Path(__file__).parents[1] / "docs" / "FORMAT.md"
GOLDEN_NAME = "container-v1.rnc"

MODEL_ID = bytes.fromhex("0123456789abcdef")
HEADER = Header(width=7, height=300, mode=PixelMode.GREY, iterations=3, model_id=MODEL_ID)
METADATA = Metadata(icc=b"profile", exif=b"II*\x00", xmp=b"<x/>", alpha=b"")
SMALL = Container(HEADER, (b"first", b"", b"the third"), METADATA)
SMALL_DATA = write_container(SMALL)

SIGNATURE = MAGIC + b"\x01"
CRC_BYTES = 4
UNKNOWN_OPTIONAL = OPTIONAL_BIT | 0x55
UNKNOWN_REQUIRED = 0x55


def chunk(chunk_type: int, payload: bytes, *, length: bytes | None = None) -> bytes:
    """A chunk but for its CRC, without the code under test; `length` replaces its length bytes."""
    assert len(payload) < 128
    return bytes([chunk_type]) + (bytes([len(payload)]) if length is None else length) + payload


def with_checksums(*chunks: bytes) -> list[bytes]:
    """The chunks of a file, each with the CRC of all chunks up to it."""
    return [
        chunks[last] + zlib.crc32(b"".join(chunks[: last + 1])).to_bytes(CRC_BYTES, "little")
        for last in range(len(chunks))
    ]


def file_of_chunks(*chunks: bytes) -> bytes:
    """A file of these chunks only, with right CRCs."""
    return SIGNATURE + b"".join(with_checksums(*chunks))


def header_payload(
    width: int = 1, height: int = 1, mode: int = 0, iterations: int = 1, extra: bytes = b""
) -> bytes:
    sizes = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    return sizes + bytes([mode, iterations]) + MODEL_ID + extra


def file_of(*chunks: bytes, iterations: int = 1) -> bytes:
    """A file with a valid header and these chunks after it."""
    header = chunk(ChunkType.HEADER, header_payload(iterations=iterations))
    return file_of_chunks(header, *chunks)


def ends_of_iterations(container: Container) -> list[int]:
    """Where in the file of `container` each iteration chunk ends."""
    iterations = range(1, len(container.segments) + 1)
    return [len(truncate(write_container(container), iterations=n)) for n in iterations]


ITERATION = chunk(ChunkType.ITERATION, b"codes")

metadata_payloads = st.none() | st.binary(max_size=200)


@st.composite
def containers(draw: st.DrawFn) -> Container:
    segments = tuple(draw(st.lists(st.binary(max_size=300), min_size=1, max_size=8)))
    header = Header(
        width=draw(st.integers(1, MAX_DIMENSION)),
        height=draw(st.integers(1, MAX_DIMENSION)),
        mode=draw(st.sampled_from(PixelMode)),
        iterations=len(segments),
        model_id=draw(st.binary(min_size=MODEL_ID_BYTES, max_size=MODEL_ID_BYTES)),
    )
    metadata = Metadata(*(draw(metadata_payloads) for _ in dataclasses.fields(Metadata)))
    partial = draw(st.none() | st.binary(max_size=200))
    if partial is not None:
        header = dataclasses.replace(header, iterations=len(segments) + 1)
    return Container(header, segments, metadata, partial)


# --- round trip ------------------------------------------------------------------------------


@given(containers())
def test_what_is_written_is_read(container: Container) -> None:
    read = read_container(write_container(container))
    assert read == container
    assert not read.is_cut
    assert read.missing_iterations == 0


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21])
def test_segments_of_every_length_of_length_are_read_back(length: int) -> None:
    container = Container(dataclasses.replace(HEADER, iterations=1), (bytes(length),))
    assert read_container(write_container(container)) == container


@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_other_buffers_are_read_like_bytes(buffer: Callable[[bytes], Any]) -> None:
    read = read_container(buffer(SMALL_DATA))
    assert read == SMALL
    assert all(type(segment) is bytes for segment in read.segments)


def test_the_limits_themselves_are_allowed() -> None:
    header = Header(MAX_DIMENSION, MAX_DIMENSION, PixelMode.RGB, MAX_ITERATIONS, MODEL_ID)
    container = Container(header, (b"x",) * MAX_ITERATIONS)
    assert read_container(write_container(container)) == container


def test_metadata_are_accepted_in_any_order() -> None:
    data = file_of(chunk(ChunkType.XMP, b"x"), chunk(ChunkType.ICC, b"i"), ITERATION)
    assert read_container(data).metadata == Metadata(icc=b"i", xmp=b"x")


@pytest.mark.parametrize("length", [0, 127, 128, 2**14, 2**21 - 1])
@pytest.mark.parametrize("iterations", [1, 8])
def test_overhead_is_at_most_40_bytes_and_8_per_iteration(length: int, iterations: int) -> None:
    header = Header(768, 512, PixelMode.RGB, iterations, MODEL_ID)
    data = write_container(Container(header, (bytes(length),) * iterations))
    assert len(data) - iterations * length <= 40 + 8 * iterations


@pytest.mark.parametrize(("mode", "name"), [(PixelMode.RGB, "RGB"), (PixelMode.GREY, "L")])
def test_pixel_modes_have_a_pillow_name(mode: PixelMode, name: str) -> None:
    assert mode.pillow_mode == name
    assert PixelMode.from_pillow_mode(name) is mode


def test_other_pillow_modes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="CMYK"):
        PixelMode.from_pillow_mode("CMYK")


# --- pinned bytes ----------------------------------------------------------------------------


def test_the_golden_file_is_what_the_code_writes_and_reads(
    golden_file: Callable[[str, bytes], bytes],
) -> None:
    pinned = golden_file(GOLDEN_NAME, SMALL_DATA)
    assert pinned == SMALL_DATA
    assert read_container(pinned) == SMALL


def test_the_example_in_the_document_is_what_the_code_writes() -> None:
    example = FORMAT_DOCUMENT.read_text(encoding="utf-8").partition("\n## Example\n")[2]
    rows = re.findall(r"^([0-9a-f]{2}) {6}((?:[0-9a-f]{2} )+) +\S", example, re.MULTILINE)
    documented = b""
    for offset, row in rows:
        assert int(offset, 16) == len(documented)
        documented += bytes.fromhex(row)
    header = Header(5, 3, PixelMode.RGB, 2, MODEL_ID)
    assert documented == write_container(Container(header, (b"\xde\xad\xbe\xef", b"\x2a")))


def test_checksums_named_in_the_document_are_those_of_the_bytes_named() -> None:
    data = write_container(
        Container(Header(5, 3, PixelMode.RGB, 2, MODEL_ID), (b"\xde\xad\xbe\xef", b"\x2a"))
    )
    pattern = r"CRC-32 0x([0-9a-f]{8}) of the bytes (.+)"
    named = re.findall(pattern, FORMAT_DOCUMENT.read_text(encoding="utf-8"))
    assert len(named) == 3
    for crc, ranges in named:
        covered = b""
        for first, last in re.findall(r"([0-9a-f]{2}) to ([0-9a-f]{2})", ranges):
            covered += data[int(first, 16) : int(last, 16) + 1]
        assert zlib.crc32(covered) == int(crc, 16)


# --- cutting ---------------------------------------------------------------------------------


def test_a_file_cut_anywhere_gives_its_whole_iterations() -> None:
    ends = ends_of_iterations(SMALL)
    for length in range(len(SMALL_DATA)):
        whole = sum(end <= length for end in ends)
        if whole == 0:
            with pytest.raises(TruncatedHeaderError):
                read_container(SMALL_DATA[:length])
            continue
        read = read_container(SMALL_DATA[:length])
        assert read == dataclasses.replace(SMALL, segments=SMALL.segments[:whole])
        assert read.is_cut
        assert read.missing_iterations == len(SMALL.segments) - whole


@given(containers(), st.data())
def test_any_cut_of_any_file_gives_a_prefix_of_its_segments(
    container: Container, data: st.DataObject
) -> None:
    written = write_container(container)
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    try:
        read = read_container(cut)
    except TruncatedHeaderError:
        assert len(cut) < ends_of_iterations(container)[0]
        return
    assert read.is_cut
    assert read.partial is None
    assert read.metadata == container.metadata
    assert read.segments == container.segments[: len(read.segments)]


@given(containers(), st.data())
def test_truncate_gives_what_a_writer_of_fewer_iterations_gives(
    container: Container, data: st.DataObject
) -> None:
    iterations = data.draw(st.integers(1, len(container.segments)))
    shorter = Container(
        dataclasses.replace(container.header, iterations=iterations),
        container.segments[:iterations],
        container.metadata,
    )
    assert truncate(write_container(container), iterations=iterations) == write_container(shorter)


def test_truncate_makes_a_whole_file_of_a_cut_one() -> None:
    whole = truncate(SMALL_DATA[:-1], iterations=2)
    assert whole == truncate(SMALL_DATA, iterations=2)
    assert not read_container(whole).is_cut


@pytest.mark.parametrize("iterations", [-1, 0, 4, MAX_ITERATIONS + 1, 1.5])
def test_truncate_refuses_iterations_the_file_has_not(iterations: Any) -> None:
    with pytest.raises(IterationsError, match="1 to 3"):
        truncate(SMALL_DATA, iterations=iterations)


def test_truncate_refuses_iterations_that_were_cut_off() -> None:
    with pytest.raises(IterationsError, match="1 to 2"):
        truncate(SMALL_DATA[:-1], iterations=3)


def test_truncate_drops_unknown_optional_chunks() -> None:
    data = file_of(chunk(UNKNOWN_OPTIONAL, b"?"), ITERATION)
    assert truncate(data, iterations=1) == file_of(ITERATION)


# --- partial iterations ----------------------------------------------------------------------

PARTIAL = chunk(ChunkType.PARTIAL_ITERATION, b"co")


@given(containers(), st.data())
def test_a_part_of_the_next_iteration_can_be_kept(
    container: Container, data: st.DataObject
) -> None:
    following = (*container.segments[1:], container.partial or b"")
    iterations = data.draw(st.integers(1, len(container.segments)))
    length = data.draw(st.integers(0, len(following[iterations - 1])))

    kept = truncate(write_container(container), iterations=iterations, partial_bytes=length)

    header = dataclasses.replace(container.header, iterations=iterations + 1)
    part = following[iterations - 1][:length]
    expected = Container(header, container.segments[:iterations], container.metadata, part)
    assert kept == write_container(expected)
    assert read_container(kept) == expected
    assert not read_container(kept).is_cut
    assert inspect(kept).partial_bytes == length


def test_a_part_that_is_not_there_cannot_be_kept() -> None:
    for iterations, length in ((1, 1), (2, 10), (2, -1), (3, 1)):
        with pytest.raises(ArgumentError, match="no"):
            truncate(SMALL_DATA, iterations=iterations, partial_bytes=length)


def test_a_reader_that_does_not_know_partial_iterations_sees_a_cut_file() -> None:
    data = file_of(ITERATION, PARTIAL, iterations=2)
    assert ChunkType.PARTIAL_ITERATION & OPTIONAL_BIT
    assert read_container(data).partial == b"co"
    unknown = file_of(ITERATION, chunk(UNKNOWN_OPTIONAL, b"co"), iterations=2)
    assert read_container(unknown).is_cut


def test_a_file_cut_inside_its_partial_iteration_is_a_cut_file() -> None:
    data = file_of(ITERATION, PARTIAL, iterations=2)
    for missing in range(1, len(PARTIAL) + CRC_BYTES + 1):
        read = read_container(data[:-missing])
        assert (read.partial, read.is_cut, len(read.segments)) == (None, True, 1)


@pytest.mark.parametrize("length", [0, 1, 5, 6, 132, 133, 134, 135, 16390, 16391, 16392, 10**9])
def test_the_longest_payload_of_a_chunk_of_given_size(length: int) -> None:
    longest = payload_within(length)
    assert longest <= MAX_CHUNK_BYTES
    if length < 6:
        assert longest < 0
        return
    fits, does_not = (
        1 + max(1, -(-payload.bit_length() // 7)) + payload + CRC_BYTES
        for payload in (longest, longest + 1)
    )
    assert fits <= length
    assert does_not > length or longest == MAX_CHUNK_BYTES


# --- damage ----------------------------------------------------------------------------------


def check_damaged(original: Container, damaged: bytes) -> None:
    """Damage is an error, or at worst looks like a cut that leaves a true prefix."""
    try:
        read = read_container(damaged)
    except ContainerError:
        return
    assert read.is_cut
    assert read.header == original.header
    assert read.metadata == original.metadata
    assert read.segments == original.segments[: len(read.segments)]


def test_no_changed_byte_gives_another_picture() -> None:
    for position in range(len(SMALL_DATA)):
        for change in range(1, 256):
            damaged = bytearray(SMALL_DATA)
            damaged[position] ^= change
            check_damaged(SMALL, bytes(damaged))


def test_a_changed_byte_outside_the_lengths_is_always_an_error() -> None:
    container = Container(dataclasses.replace(HEADER, iterations=2), (b"one", b"two"))
    written = write_container(container)
    ends = ends_of_iterations(container)
    header_end = ends[0] - len(chunk(ChunkType.ITERATION, b"one")) - CRC_BYTES
    length_positions = {len(MAGIC) + 2, header_end + 1, ends[0] + 1}
    for position in set(range(len(written))) - length_positions:
        damaged = bytearray(written)
        damaged[position] ^= 0x01
        with pytest.raises(ContainerError):
            read_container(bytes(damaged))


def test_a_damaged_length_that_runs_past_the_end_looks_like_a_cut() -> None:
    damaged = bytearray(SMALL_DATA)
    damaged[ends_of_iterations(SMALL)[1] + 1] = 0x7F
    read = read_container(bytes(damaged))
    assert read.segments == SMALL.segments[:2]
    assert read.is_cut


@given(containers(), st.data())
def test_lost_or_inserted_bytes_give_no_other_picture(
    container: Container, data: st.DataObject
) -> None:
    written = write_container(container)
    start = data.draw(st.integers(0, len(written) - 1))
    end = data.draw(st.integers(start, len(written)))
    damaged = written[:start] + data.draw(st.binary(max_size=20)) + written[end:]
    if damaged != written:
        check_damaged(container, damaged)


@given(st.binary(max_size=100), st.sampled_from([b"", MAGIC, SIGNATURE]))
def test_arbitrary_bytes_raise_container_errors_only(data: bytes, start: bytes) -> None:
    with pytest.raises(ContainerError):
        read_container(start + data)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=6))
def test_arbitrary_chunks_with_right_checksums_raise_container_errors_only(
    chunks: list[tuple[int, bytes]],
) -> None:
    data = file_of(*(chunk(chunk_type, payload) for chunk_type, payload in chunks), iterations=2)
    try:
        read = read_container(data)
    except ContainerError:
        return
    assert 1 <= len(read.segments) <= 2


@pytest.mark.parametrize("part", range(6), ids=["header", "icc", "exif", "xmp", "alpha", "first"])
def test_a_wrong_checksum_anywhere_is_a_checksum_error(part: int) -> None:
    chunks = with_checksums(
        chunk(ChunkType.HEADER, header_payload(iterations=2)),
        chunk(ChunkType.ICC, b"i"),
        chunk(ChunkType.EXIF, b"e"),
        chunk(ChunkType.XMP, b"x"),
        chunk(ChunkType.ALPHA, b"a"),
        ITERATION,
        ITERATION,
    )
    chunks[part] = chunks[part][:-1] + bytes([chunks[part][-1] ^ 0xFF])
    with pytest.raises(ChecksumError):
        read_container(SIGNATURE + b"".join(chunks))


def test_a_wrong_checksum_of_the_last_chunk_is_not_a_cut() -> None:
    with pytest.raises(ChecksumError):
        read_container(SMALL_DATA[:-1] + bytes([SMALL_DATA[-1] ^ 0x10]))


def test_a_wrong_checksum_of_an_unknown_chunk_is_found() -> None:
    header, unknown, iteration = with_checksums(
        chunk(ChunkType.HEADER, header_payload()), chunk(UNKNOWN_OPTIONAL, b"?"), ITERATION
    )
    unknown = unknown[:-1] + bytes([unknown[-1] ^ 1])
    with pytest.raises(ChecksumError):
        read_container(SIGNATURE + header + unknown + iteration)


# --- chunks that are not where they were written ---------------------------------------------


def picture_chunks(*, width: int = 1, content: str = "") -> list[bytes]:
    """Header, ICC profile and three iterations; `content` is in all payloads but the header's."""
    payloads = [f"{content}{number}".encode() for number in range(4)]
    return with_checksums(
        chunk(ChunkType.HEADER, header_payload(width=width, iterations=3)),
        chunk(ChunkType.ICC, payloads[0]),
        *(chunk(ChunkType.ITERATION, payload) for payload in payloads[1:]),
    )


PICTURE_CHUNKS = picture_chunks()
LAST = len(PICTURE_CHUNKS) - 1
FIRST_ITERATION = LAST - 2


def check_checksum_error(chunks: list[bytes]) -> None:
    assert not read_container(SIGNATURE + b"".join(PICTURE_CHUNKS)).is_cut
    with pytest.raises(ChecksumError):
        read_container(SIGNATURE + b"".join(chunks))


@pytest.mark.parametrize("removed", range(LAST))
def test_a_removed_chunk_is_a_checksum_error(removed: int) -> None:
    check_checksum_error(PICTURE_CHUNKS[:removed] + PICTURE_CHUNKS[removed + 1 :])


def test_a_removed_last_chunk_is_a_cut() -> None:
    read = read_container(SIGNATURE + b"".join(PICTURE_CHUNKS[:LAST]))
    assert read.segments == (b"1", b"2")
    assert read.missing_iterations == 1


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations(range(FIRST_ITERATION, LAST + 1), 2))
)
def test_exchanged_segments_are_a_checksum_error(one: int, other: int) -> None:
    chunks = list(PICTURE_CHUNKS)
    chunks[one], chunks[other] = chunks[other], chunks[one]
    check_checksum_error(chunks)


@pytest.mark.parametrize("repeated", range(LAST))
def test_a_repeated_chunk_is_a_checksum_error(repeated: int) -> None:
    twice = PICTURE_CHUNKS[: repeated + 1] + PICTURE_CHUNKS[repeated : repeated + 1]
    check_checksum_error(twice + PICTURE_CHUNKS[repeated + 1 :])
    check_checksum_error(twice + PICTURE_CHUNKS[repeated + 2 :])


@pytest.mark.parametrize("place", range(FIRST_ITERATION, LAST + 1))
@pytest.mark.parametrize(
    "donor",
    [
        pytest.param(picture_chunks(content="other"), id="other-content"),
        pytest.param(picture_chunks(width=2), id="other-header"),
    ],
)
def test_a_segment_of_another_file_is_a_checksum_error(donor: list[bytes], place: int) -> None:
    check_checksum_error([*PICTURE_CHUNKS[:place], donor[place], *PICTURE_CHUNKS[place + 1 :]])


def test_the_first_chunks_of_another_file_are_a_checksum_error() -> None:
    check_checksum_error(picture_chunks(width=2)[:1] + PICTURE_CHUNKS[1:])
    check_checksum_error(picture_chunks(content="other")[:2] + PICTURE_CHUNKS[2:])


# --- each kind of refusal --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"x", b"\x89PNG\r\n\x1a\n" + bytes(50), b"\xff\xd8\xff", b"\x00" * 100]
)
def test_other_files_are_not_rnc_files(data: bytes) -> None:
    with pytest.raises(NotAnRncFileError):
        read_container(data)


@pytest.mark.parametrize(("before", "after"), [(b"\r\n", b"\n"), (b"\n", b"\r\n")])
def test_a_transfer_as_text_is_named_as_the_cause(before: bytes, after: bytes) -> None:
    with pytest.raises(NotAnRncFileError, match="transfer as text"):
        read_container(SMALL_DATA.replace(before, after))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused(version: int) -> None:
    data = SMALL_DATA[: len(MAGIC)] + bytes([version]) + SMALL_DATA[len(MAGIC) + 1 :]
    with pytest.raises(UnsupportedVersionError, match=f"version {version}"):
        read_container(data)


def test_an_empty_file_is_named_so() -> None:
    with pytest.raises(TruncatedHeaderError, match="empty"):
        read_container(b"")


def test_a_file_without_any_iteration_is_refused() -> None:
    with pytest.raises(TruncatedHeaderError, match="first iteration"):
        read_container(file_of(chunk(ChunkType.ICC, b"i")))


@pytest.mark.parametrize(
    "length",
    [
        pytest.param(b"\x85\x00", id="not-shortest"),
        pytest.param(b"\x80\x80\x80\x00", id="zeros"),
        pytest.param(b"\x85\x80\x80\x80\x00", id="too-long"),
        pytest.param(b"\xff\xff\xff\xff\x7f", id="too-large"),
    ],
)
def test_a_length_not_in_its_one_form_is_malformed(length: bytes) -> None:
    with pytest.raises(MalformedChunkError, match="length"):
        read_container(file_of(chunk(ChunkType.ITERATION, b"codes", length=length)))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(header_payload(width=0), id="width-0"),
        pytest.param(header_payload(height=0), id="height-0"),
        pytest.param(header_payload(width=MAX_DIMENSION + 1), id="too-wide"),
        pytest.param(header_payload(height=2**32 - 1), id="too-high"),
        pytest.param(header_payload(iterations=0), id="no-iterations"),
        pytest.param(header_payload(mode=2), id="unknown-mode"),
        pytest.param(header_payload(extra=b"x"), id="too-long"),
        pytest.param(header_payload()[:-1], id="too-short"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_header_with_a_bad_field_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedChunkError, match="header"):
        read_container(file_of_chunks(chunk(ChunkType.HEADER, payload), ITERATION))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file_of(ITERATION) + b"\x00", id="zero"),
        pytest.param(file_of(ITERATION) + b"trailing", id="text"),
        pytest.param(file_of(ITERATION, ITERATION), id="another-iteration"),
        pytest.param(file_of(ITERATION, ITERATION)[:-1], id="part-of-an-iteration"),
        pytest.param(file_of(ITERATION, chunk(UNKNOWN_REQUIRED, b"")), id="required-chunk"),
        pytest.param(
            file_of(ITERATION, chunk(UNKNOWN_OPTIONAL, b"??"))[:-1], id="part-of-an-optional-chunk"
        ),
        pytest.param(file_of(ITERATION) + b"\xff", id="first-byte-of-an-optional-chunk"),
        pytest.param(
            file_of(ITERATION, chunk(UNKNOWN_OPTIONAL, b"??")) + b"\x00",
            id="after-an-optional-chunk",
        ),
    ],
)
def test_data_after_the_last_declared_iteration_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedChunkError, match="follow the last"):
        read_container(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(file_of_chunks(ITERATION), id="no-header"),
        pytest.param(file_of_chunks(chunk(UNKNOWN_OPTIONAL, b"")), id="optional-before-header"),
        pytest.param(
            file_of(chunk(ChunkType.HEADER, header_payload()), ITERATION), id="second-header"
        ),
        pytest.param(
            file_of(chunk(ChunkType.ICC, b"a"), chunk(ChunkType.ICC, b"a"), ITERATION),
            id="metadata-twice",
        ),
        pytest.param(
            file_of(ITERATION, chunk(ChunkType.EXIF, b"e"), ITERATION, iterations=2),
            id="metadata-between-iterations",
        ),
        pytest.param(file_of(ITERATION, chunk(ChunkType.XMP, b"x")), id="metadata-at-the-end"),
        pytest.param(file_of(PARTIAL), id="no-whole-iteration"),
        pytest.param(file_of(PARTIAL, ITERATION, iterations=2), id="partial-iteration-first"),
        pytest.param(file_of(ITERATION, PARTIAL, iterations=3), id="partial-iteration-too-early"),
        pytest.param(file_of(ITERATION, PARTIAL), id="partial-iteration-not-declared"),
        pytest.param(
            file_of(ITERATION, PARTIAL, PARTIAL, iterations=2), id="two-partial-iterations"
        ),
    ],
)
def test_chunks_missing_repeated_or_misplaced_are_out_of_order(data: bytes) -> None:
    with pytest.raises(ChunkOrderError):
        read_container(data)


@pytest.mark.parametrize("chunk_type", [0x00, 0x03, UNKNOWN_REQUIRED, 0x7F])
def test_an_unknown_required_chunk_is_refused(chunk_type: int) -> None:
    with pytest.raises(UnknownChunkError, match=f"0x{chunk_type:02x}"):
        read_container(file_of(chunk(chunk_type, b"?"), ITERATION))


@pytest.mark.parametrize("chunk_type", [0x80, 0x86, UNKNOWN_OPTIONAL, 0xFF])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_unknown_optional_chunk_is_skipped(chunk_type: int, place: int) -> None:
    chunks = [ITERATION, ITERATION]
    chunks.insert(place, chunk(chunk_type, b"from the future"))
    read = read_container(file_of(*chunks, iterations=2))
    assert read == read_container(file_of(ITERATION, ITERATION, iterations=2))


# --- what a writer refuses -------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 0},
        {"width": MAX_DIMENSION + 1},
        {"width": 1.5},
        {"height": -1},
        {"height": None},
        {"iterations": 2},
        {"mode": 0},
        {"model_id": MODEL_ID[:-1]},
        {"model_id": MODEL_ID.hex()},
    ],
    ids=str,
)
def test_a_header_that_cannot_be_written_is_an_argument_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        write_container(dataclasses.replace(SMALL, header=dataclasses.replace(HEADER, **changes)))


@pytest.mark.parametrize("iterations", [0, MAX_ITERATIONS + 1])
def test_no_or_too_many_iterations_are_an_argument_error(iterations: int) -> None:
    header = dataclasses.replace(HEADER, iterations=iterations)
    with pytest.raises(ArgumentError, match="iterations"):
        write_container(Container(header, (b"",) * iterations))


def test_a_cut_container_is_not_written() -> None:
    with pytest.raises(ArgumentError, match="2 segments"):
        write_container(read_container(SMALL_DATA[:-1]))


@pytest.mark.parametrize("payload", ["text", [1, 2], bytes(MAX_CHUNK_BYTES + 1)], ids=type)
def test_payloads_that_do_not_fit_a_chunk_are_an_argument_error(payload: Any) -> None:
    with pytest.raises(ArgumentError, match="segment 1"):
        write_container(Container(dataclasses.replace(HEADER, iterations=1), (payload,)))
    with pytest.raises(ArgumentError, match="exif"):
        write_container(dataclasses.replace(SMALL, metadata=Metadata(exif=payload)))


# --- inspect ---------------------------------------------------------------------------------


def test_inspect_tells_what_is_in_the_file() -> None:
    info = inspect(SMALL_DATA)
    assert (info.version, info.width, info.height) == (1, 7, 300)
    assert info.mode is PixelMode.GREY
    assert (info.iterations, info.declared_iterations) == (3, 3)
    assert info.model_id == "0123456789abcdef"
    assert info.segment_bytes == (5, 0, 9)
    assert info.metadata_bytes == {"icc": 7, "exif": 4, "xmp": 4, "alpha": 0}
    assert info.file_bytes == len(SMALL_DATA)
    assert info.bpp == pytest.approx(len(SMALL_DATA) * 8 / (7 * 300))
    assert not info.is_cut


@given(containers())
def test_cumulative_bpp_is_that_of_the_truncated_files(container: Container) -> None:
    data = write_container(container)
    pixels = container.header.width * container.header.height
    expected = [
        len(truncate(data, iterations=n)) * 8 / pixels
        for n in range(1, len(container.segments) + 1)
    ]
    info = inspect(data)
    assert info.cumulative_bpp == pytest.approx(expected)
    if container.partial is None:
        assert info.cumulative_bpp[-1] == info.bpp
    assert info.decodable_bytes == info.file_bytes == len(data)


def test_inspect_of_a_cut_file_tells_what_can_be_decoded() -> None:
    info = inspect(SMALL_DATA[:-1])
    assert (info.iterations, info.declared_iterations) == (2, 3)
    assert len(info.segment_bytes) == len(info.cumulative_bpp) == 2
    assert info.file_bytes == len(SMALL_DATA) - 1
    assert info.is_cut


def test_inspect_refuses_what_cannot_be_read() -> None:
    with pytest.raises(NotAnRncFileError):
        inspect(b"GIF89a")


# --- the module itself -----------------------------------------------------------------------


def test_every_metadata_field_has_a_chunk_type_of_its_name() -> None:
    for field in dataclasses.fields(Metadata):
        assert ChunkType[field.name.upper()] & OPTIONAL_BIT
