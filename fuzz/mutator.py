"""Changes to `.rnc` files that reach behind their checksums.

libFuzzer's own mutations change single bytes and end at the first CRC, which covers all bytes
before it. Here a file is taken apart, its chunks and their payloads are changed (the payloads by
libFuzzer), and it is put together with right lengths and CRCs. Some files get wrong ones all the
same.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from fuzz.chunks import (
    HEADER,
    PNG_SIGNATURE,
    SIGNATURE,
    Chunk,
    PngChunk,
    join,
    join_png,
    split,
    split_png,
)

Mutate = Callable[[bytes, int], bytes]
"""Changes bytes, into at most so many: `atheris.Mutate`."""

TYPES = (0x01, 0x02, 0x81, 0x82, 0x83, 0x84, 0x85, 0x03, 0x86, 0xFF)
"""Those of version 1, an unknown one that is needed, and unknown ones that are not."""

SIDES = (0, 1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 255, 4096, 16384, 65535, 65536, 0xFFFFFFFF)
PNG_NAMES = (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fcTL")

_RAW_SHARE = 0.1
_DAMAGED_SHARE = 0.05
_SMALL_SIDES = 10
"""As many of `SIDES` are small enough to be decoded."""


class Mutator:
    """Changes files; `model_id` is the one that the decoder under test knows."""

    def __init__(self, model_id: bytes, mutate: Mutate) -> None:
        self._model_id = model_id
        self._mutate = mutate

    def change(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another file, of at most `max_size` bytes; the seed decides."""
        chance = random.Random(seed)
        if chance.random() < _RAW_SHARE or not data.startswith(SIGNATURE):
            return self._mutate(data, max_size)
        chunks, rest = split(data)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            self._change_chunks(chunks, chance)
        return self._written(chunks, rest if chance.random() < 0.5 else b"", max_size, chance)

    def cross(self, first: bytes, second: bytes, max_size: int, seed: int) -> bytes:
        """The first chunks of one file and the last ones of another."""
        chance = random.Random(seed)
        ours, theirs = split(first)[0], split(second)[0]
        chunks = ours[: chance.randint(0, len(ours))] + theirs[chance.randint(0, len(theirs)) :]
        return self._written(chunks, b"", max_size, chance)

    def _written(
        self, chunks: list[Chunk], rest: bytes, max_size: int, chance: random.Random
    ) -> bytes:
        written = bytearray(join(chunks, rest)[:max_size])
        if chance.random() < _DAMAGED_SHARE:
            written[chance.randrange(len(written))] ^= 1 << chance.randrange(8)
        return bytes(written)

    def _change_chunks(self, chunks: list[Chunk], chance: random.Random) -> None:
        if not chunks:
            chunks.append(Chunk(chance.choice(TYPES), b""))
        place = chance.randrange(len(chunks))
        chunk = chunks[place]
        match chance.randrange(10):
            case 0:
                del chunks[place]
            case 1:
                chunks.insert(chance.randint(0, len(chunks)), chunk)
            case 2:
                other = chance.randrange(len(chunks))
                chunks[place], chunks[other] = chunks[other], chunk
            case 3:
                chunks[place] = Chunk(chance.choice(TYPES), chunk.payload)
            case 4:
                new = Chunk(chance.choice(TYPES), chance.randbytes(chance.randrange(12)))
                chunks.insert(chance.randint(0, len(chunks)), new)
            case 5:
                end = chance.randint(0, len(chunk.payload))
                chunks[place] = Chunk(chunk.type, chunk.payload[:end])
            case 6:
                chunks[0] = self._changed_header(chunks[0], chance)
            case _ if chunk.payload.startswith(PNG_SIGNATURE):
                chunks[place] = Chunk(chunk.type, self._changed_png(chunk.payload, chance))
            case _:
                payload = self._mutate(chunk.payload, 2 * len(chunk.payload) + 8)
                chunks[place] = Chunk(chunk.type, payload)

    def _changed_header(self, chunk: Chunk, chance: random.Random) -> Chunk:
        if len(chunk.payload) != HEADER.size:
            return Chunk(1, HEADER.pack(16, 16, 0, 1, self._model_id))
        width, height, mode, iterations, _ = HEADER.unpack(chunk.payload)
        sides = SIDES if chance.random() < 0.3 else SIDES[1:_SMALL_SIDES]
        match chance.randrange(4):
            case 0:
                width = chance.choice(sides)
            case 1:
                height = chance.choice(sides)
            case 2:
                mode = chance.choice((0, 1, 1 - mode if mode < 2 else 0, 2, 255))
            case _:
                iterations = chance.choice((iterations, 0, 1, 2, 3, 4, 255))
        model_id = self._model_id if chance.random() < 0.98 else chance.randbytes(8)
        return Chunk(chunk.type, HEADER.pack(width, height, mode, iterations, model_id))

    def _changed_png(self, payload: bytes, chance: random.Random) -> bytes:
        chunks = split_png(payload)
        if not chunks:
            return self._mutate(payload, 2 * len(payload) + 8)
        place = chance.randrange(len(chunks))
        chunk = chunks[place]
        match chance.randrange(6):
            case 0:
                del chunks[place]
            case 1:
                chunks.insert(chance.randint(0, len(chunks)), chunk)
            case 2:
                new = PngChunk(chance.choice(PNG_NAMES), chance.randbytes(chance.randrange(30)))
                chunks.insert(chance.randint(0, len(chunks)), new)
            case 3:
                chunks[place] = PngChunk(chance.choice(PNG_NAMES), chunk.payload)
            case _:
                changed = self._mutate(chunk.payload, 2 * len(chunk.payload) + 8)
                chunks[place] = PngChunk(chunk.name, changed)
        return join_png(chunks)
