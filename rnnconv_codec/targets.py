"""What an encoded picture is to be: so many iterations, so small, or so good.

Sizes are upper bounds on the whole file, metadata and transparency included. They are met by the
most whole iterations that fit and as much as fits of the next, cut after a word of the range coder.
Qualities are lower bounds, met by the fewest iterations that are good enough, of which the last is
cut as short as that allows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rnnconv_codec import container
from rnnconv_codec.container import DEFAULT_MAX_PIXELS, FileInfo, inspect, payload_within
from rnnconv_codec.entropy.words import WORD_BYTES
from rnnconv_codec.errors import ArgumentError, IterationsError, QualityError, TargetError

if TYPE_CHECKING:
    from PIL import Image

    from rnnconv_codec.codec import Codec, EncodedIteration
    from rnnconv_codec.decoding import Progress
    from rnnconv_codec.images import PreparedPicture

_BITS_PER_BYTE = 8

_LEAST_SHARE = 20
"""A partial iteration has at least the share 1/20 of the bytes of the segment before it.

Measured in docs/TARGETS.md: with less it does not always pay, and can cost 0.12 dB.
"""

_QUALITY_STEPS = 128
"""A quality is met to within this fraction of the last iteration's segment."""


@dataclass(frozen=True)
class Cut:
    """Where a file is cut: after `iterations` whole ones and a part of the next segment.

    `partial_bytes` is the length of the part, None for none.
    """

    iterations: int
    partial_bytes: int | None = None


@dataclass(frozen=True)
class Target:
    """At most one of these; none stands for all iterations.

    Attributes:
        iterations: their number.
        bpp: most bits of the file per pixel.
        size: most bytes of the file.
        psnr: least peak signal-to-noise ratio of the whole picture in dB.
        ms_ssim: least multi-scale structural similarity of the whole picture, 0 to 1.

    Raises:
        ArgumentError: more than one, or a value out of range.
    """

    iterations: int | None = None
    bpp: float | None = None
    size: int | None = None
    psnr: float | None = None
    ms_ssim: float | None = None

    def __post_init__(self) -> None:
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        if len(given) > 1:
            raise ArgumentError(f"{' and '.join(given)} cannot be asked for together")
        for name in given:
            value = getattr(self, name)
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if name in ("iterations", "size") and not is_whole:
                raise ArgumentError(f"{name} must be a whole number, not {value!r}")
            # The range of the iterations is the model's or the file's.
            if name != "iterations" and not (math.isfinite(value) and value > 0):
                raise ArgumentError(f"{name} must be above 0, not {value}")
        if self.ms_ssim is not None and self.ms_ssim > 1:
            raise ArgumentError(f"ms_ssim is at most 1, not {self.ms_ssim}")

    @property
    def is_quality(self) -> bool:
        """Whether the picture must be looked at to tell if it is met."""
        return self.psnr is not None or self.ms_ssim is not None

    def max_bytes(self, width: int, height: int) -> int | None:
        """The upper bound on the file of a picture of this size in pixels, None without one."""
        if self.bpp is not None:
            limit = self.bpp * width * height / _BITS_PER_BYTE
            # Of a bpp near the largest number the product is infinite: a bound that none reaches.
            return math.floor(limit) if math.isfinite(limit) else sys.maxsize
        return self.size

    def cut_of(self, info: FileInfo) -> Cut:
        """What to keep of a file, or to decode.

        Raises:
            IterationsError: the file has not so many.
            TargetError: the first iteration alone is too large.
            ArgumentError: the target is a quality, which a file does not tell.
        """
        if self.is_quality:
            raise ArgumentError("a file does not tell the quality of its iterations")
        if self.iterations is not None:
            if not 1 <= self.iterations <= info.iterations:
                raise IterationsError(
                    f"{self.iterations} iterations are not available, "
                    f"the file has 1 to {info.iterations}"
                )
            return Cut(self.iterations)
        limit = self.max_bytes(info.width, info.height)
        if limit is None:
            return Cut(info.iterations, info.partial_bytes)
        whole = sum(size <= limit for size in info.cumulative_bytes)
        if whole == 0:
            raise _too_small(limit, info.cumulative_bytes[0], info)
        following = (*info.segment_bytes, info.partial_bytes or 0)[whole]
        partial = min(payload_within(limit - info.cumulative_bytes[whole - 1]), following)
        partial -= partial % WORD_BYTES
        if partial <= 0 or partial * _LEAST_SHARE < info.segment_bytes[whole - 1]:
            return Cut(whole)
        return Cut(whole, partial)


WHOLE = Target()
"""All iterations."""


def truncate(
    data: bytes,
    *,
    iterations: int | None = None,
    bpp: float | None = None,
    size: int | None = None,
) -> bytes:
    """The beginning of the `.rnc` file `data`, as a whole file.

    Given is one of: the number of `iterations`, the most `bpp` (bits per pixel) or the most bytes
    `size` that the new file may have. It is, byte for byte, what `encode` makes for this target.

    Raises `IterationsError`, `TargetError`, `ArgumentError` or a `ContainerError`.
    """
    target = Target(iterations, bpp, size)
    if target == WHOLE:
        raise ArgumentError("truncate needs iterations, bpp or size")
    return cut(data, target)


def cut(data: bytes, target: Target) -> bytes:
    """The `.rnc` file `data`, cut so that it meets a target; as it is for `WHOLE`.

    Raises what `Target.cut_of` and `container.inspect` raise.
    """
    if target == WHOLE:
        return data
    kept = target.cut_of(inspect(data))
    return container.truncate(data, iterations=kept.iterations, partial_bytes=kept.partial_bytes)


def encode_to_target(
    codec: Codec,
    image: Image.Image,
    target: Target,
    *,
    alpha: str = "lossless",
    strip: Collection[str] = (),
    progress: Progress | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> bytes:
    """Compress a picture until a target is met; the other arguments are those of `Codec.encode`.

    Qualities are those of the opaque picture, without its transparency.

    Raises:
        TargetError: it cannot be met; the message has the nearest that can.
        QualityError: the picture is too small for this quality.
        MissingExtraError: MS-SSIM needs the extra `eval`.
        RnncodecError: what `Codec.encode` raises.
    """
    from rnnconv_codec.images import prepare_picture

    picture = prepare_picture(image, alpha=alpha, strip=strip, max_pixels=max_pixels)
    return encode_prepared_to_target(codec, picture, target, progress=progress)


def encode_prepared_to_target(
    codec: Codec, picture: PreparedPicture, target: Target, *, progress: Progress | None = None
) -> bytes:
    """`encode_to_target` of a picture that `images.prepare_picture` made.

    The caller can let the image go that it was made of: a large one takes 4 bytes a pixel.
    """
    if not target.is_quality and target.max_bytes(1, 1) is None:
        return codec.encode_prepared(picture, iterations=target.iterations, progress=progress)
    steps = _steps(codec, picture, progress)
    if target.is_quality:
        return _shortest_of_quality(codec, picture.pixels, steps, target)
    limit = target.max_bytes(*picture.pixels.size)
    assert limit is not None
    data = b""
    for data, _ in steps:
        if len(data) > limit:
            break
    return cut(data, target)


def _steps(
    codec: Codec, picture: PreparedPicture, progress: Progress | None
) -> Generator[tuple[bytes, EncodedIteration], None, None]:
    """The file after each iteration, and the iteration."""
    segments: list[bytes] = []
    for step in codec.encode_iterations(picture.pixels, overwrite=True):
        segments.append(step.segment)
        yield codec.pack(picture.pixels, segments, picture.metadata), step
        if progress is not None:
            progress(len(segments), codec.iterations)


def _shortest_of_quality(
    codec: Codec,
    original: Image.Image,
    steps: Generator[tuple[bytes, EncodedIteration], None, None],
    target: Target,
) -> bytes:
    """The first file that is good enough, its last iteration cut as short as that allows."""
    from rnnconv_codec.metrics import MS_SSIM_MIN_SIDE

    if target.ms_ssim is not None and min(original.size) < MS_SSIM_MIN_SIDE:
        raise QualityError(f"MS-SSIM needs pictures of {MS_SSIM_MIN_SIDE} pixels a side")
    quality, least = _quality(target)
    reached = -math.inf
    for data, step in steps:
        found = quality(step.picture, original)
        if found >= least:
            # The decoder needs its memory.
            del step
            steps.close()
            return _with_shortest_part(codec, data, lambda part: quality(part, original) >= least)
        reached = max(reached, found)
    raise _too_good(target, reached, codec.iterations)


def _with_shortest_part(codec: Codec, data: bytes, is_good: Callable[[Image.Image], bool]) -> bytes:
    """A file whose picture is good, with its last iteration cut as short as that allows.

    A picture gets better with the words that are kept, so their number is found by bisection.
    """
    info = inspect(data)
    if info.iterations == 1:
        return data
    show = codec.decode_parts(data, max_pixels=info.width * info.height)
    before, last = info.segment_bytes[-2:]
    words = -(-last // WORD_BYTES)
    too_few, enough = -(-before // (_LEAST_SHARE * WORD_BYTES)) - 1, words
    while enough - too_few > max(1, words // _QUALITY_STEPS):
        middle = (too_few + enough) // 2
        if is_good(show(middle * WORD_BYTES)):
            enough = middle
        else:
            too_few = middle
    if enough == words:
        return data
    whole = info.iterations - 1
    return container.truncate(data, iterations=whole, partial_bytes=enough * WORD_BYTES)


def _quality(target: Target) -> tuple[Callable[[Image.Image, Image.Image], float], float]:
    from rnnconv_codec.metrics import ms_ssim, psnr

    if target.psnr is not None:
        return psnr, target.psnr
    assert target.ms_ssim is not None
    return ms_ssim, target.ms_ssim


def _too_small(limit: int, least: int, info: FileInfo) -> TargetError:
    return TargetError(
        f"{limit} bytes are too little for this picture: the least is {least} bytes, "
        f"{info.bpp_of(least):.3f} bpp"
    )


def _too_good(target: Target, reached: float, iterations: int) -> TargetError:
    if target.psnr is not None:
        return TargetError(
            f"{target.psnr:g} dB are out of reach for this picture: "
            f"all {iterations} iterations give {reached:.2f} dB"
        )
    return TargetError(
        f"an MS-SSIM of {target.ms_ssim:g} is out of reach for this picture: "
        f"all {iterations} iterations give {reached:.4f}"
    )
