"""The fuzzer's parts: its changes reach behind the checksums, and what it found stays mended."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.checks import CHECKS, WEIGHTS, check_container, check_decoder
from fuzz.chunks import HEADER, Chunk, PngChunk, checked, join, join_png, split, split_png
from fuzz.mutator import TYPES, Mutator
from rnnconv_codec.container import read_container
from rnnconv_codec.errors import ChecksumError, ContainerError
from rnnconv_codec.weights import model_id_of

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"
SOUND = (WEIGHTS.parent / "rate-aware-part-v1.rnc").read_bytes()

MAX_BYTES = 4096

chunk_lists = st.lists(st.builds(Chunk, st.integers(0, 255), st.binary(max_size=300)), max_size=6)
png_chunks = st.lists(
    st.builds(PngChunk, st.binary(min_size=4, max_size=4), st.binary(max_size=99)), max_size=6
)


def kept(folder: str) -> list[Path]:
    """The files of a folder of the fuzzer."""
    return sorted(path for path in (FUZZ / folder).rglob("*") if path.is_file())


@pytest.mark.parametrize("target", CHECKS)
def test_the_corpus_passes(target: str) -> None:
    corpus = kept(f"corpus/{target}")
    assert corpus
    for path in corpus:
        CHECKS[target](path.read_bytes())


@pytest.mark.parametrize("path", kept("crashes"), ids=lambda path: path.name)
def test_what_was_a_crash_passes(path: Path) -> None:
    CHECKS[path.parent.name](path.read_bytes())


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in kept("corpus")) < 1_000_000


@given(chunk_lists, st.binary(max_size=3))
def test_what_is_taken_apart_is_put_together_again(chunks: list[Chunk], rest: bytes) -> None:
    assert split(join(chunks, rest)) == (chunks, rest)


@given(png_chunks)
def test_so_is_a_png(chunks: list[PngChunk]) -> None:
    assert split_png(join_png(chunks)) == chunks


def test_checksums_are_those_of_the_format() -> None:
    chunks, rest = split(SOUND)
    assert join(chunks, rest) == SOUND
    assert b"".join(checked(chunks)) == SOUND[9:]


def test_most_changed_files_have_right_checksums() -> None:
    chance = random.Random(1)

    def flip(data: bytes, size: int) -> bytes:
        return (chance.randbytes(1) + data[1:])[:size]

    mutator = Mutator(model_id_of(WEIGHTS), flip)
    changed = [mutator.change(SOUND, MAX_BYTES, seed) for seed in range(400)]
    changed += [mutator.cross(SOUND, other, MAX_BYTES, 7) for other in changed[:100]]
    read, damaged = 0, 0
    for data in changed:
        assert len(data) <= MAX_BYTES
        try:
            read_container(data)
        except ChecksumError:
            damaged += 1
        except ContainerError:
            pass
        else:
            read += data != SOUND
    assert len(set(changed)) > len(changed) / 2
    assert read > len(changed) / 4
    assert 0 < damaged < len(changed) / 10


def test_a_mutation_is_repeated_by_its_seed() -> None:
    mutator = Mutator(model_id_of(WEIGHTS), lambda data, size: data[:size])
    assert mutator.change(SOUND, MAX_BYTES, 3) == mutator.change(SOUND, MAX_BYTES, 3)
    assert mutator.cross(SOUND, SOUND, MAX_BYTES, 3) == mutator.cross(SOUND, SOUND, MAX_BYTES, 3)


def test_a_fault_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = HEADER.pack(16, 16, 0, 1, model_id_of(WEIGHTS))
    small = join([Chunk(TYPES[0], fields), Chunk(TYPES[1], b"")])
    check_container(SOUND)
    check_decoder(small)

    def broken(*_: object, **__: object) -> bytes:
        raise ValueError("images do not match")

    monkeypatch.setattr("fuzz.checks.truncate", lambda data, iterations: data + b"\0")
    with pytest.raises(AssertionError):
        check_container(SOUND)
    monkeypatch.setattr("rnnconv_codec.images.attach_alpha", broken)
    monkeypatch.setattr("rnnconv_codec.decoding.attach_alpha", broken)
    with pytest.raises(ValueError, match="do not match"):
        check_decoder(small)


payloads = st.binary(max_size=60)


@given(
    st.tuples(st.integers(1, 48), st.integers(1, 48), st.integers(0, 1), st.integers(1, 4)),
    st.lists(st.builds(Chunk, st.sampled_from(TYPES[1:]), payloads), max_size=5),
)
@settings(deadline=None, max_examples=50)
def test_any_chunks_of_the_model_are_decoded_or_refused(
    fields: tuple[int, int, int, int], chunks: list[Chunk]
) -> None:
    header = Chunk(TYPES[0], HEADER.pack(*fields, model_id_of(WEIGHTS)))
    check_decoder(join([header, *chunks]))


@pytest.mark.parametrize("target", CHECKS)
def test_the_fuzzer_runs(target: str, tmp_path: Path) -> None:
    """It needs atheris, which is in an extra of its own."""
    pytest.importorskip("atheris")
    corpora = [str(tmp_path), str(FUZZ / "corpus" / target)]
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.run", target, *corpora, "-runs=100", "-seed=1"],
        cwd=FUZZ.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The corpus is run whole, however many runs are asked for.
    assert re.search(r"Done \d{3,} runs", done.stderr)
