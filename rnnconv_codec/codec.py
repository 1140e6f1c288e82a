"""The codec: image → residual → codes → segments → file, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from rnnconv_codec.container import (
    DEFAULT_MAX_PIXELS,
    Container,
    Header,
    Metadata,
    PixelMode,
    read_container,
    write_container,
)
from rnnconv_codec.decoding import (
    HALF_RANGE,
    Progress,
    check_model,
    finish_picture,
    iteration_of_filter,
    open_container,
)
from rnnconv_codec.entropy.integer_model import IntegerContextModel, as_arrays
from rnnconv_codec.entropy.segments import SegmentCoder
from rnnconv_codec.errors import IterationsError
from rnnconv_codec.images import (
    ALPHA_LOSSLESS,
    PreparedPicture,
    check_size,
    prepare_picture,
)
from rnnconv_codec.networks.config import NetworkConfig
from rnnconv_codec.networks.prepared import prepared
from rnnconv_codec.networks.recurrent import RecurrentNetwork, State, build_network
from rnnconv_codec.networks.stored_network import NETWORK_PREFIX, check_network
from rnnconv_codec.networks.striped import CodedIteration, Rows, StripedNetwork
from rnnconv_codec.networks.strips import DEFAULT_STRIPS, Strip, StripPlan, round_up
from rnnconv_codec.weights import (
    DEFAULT_WEIGHTS,
    ModelFile,
    find_weights,
    load_model_file,
)

LARGE_STRIPS = 2
"""How many times as large as those of the residual loop other strips are.

The context model takes less memory for a pixel, and a picture is shown when the encoder's states or
the context model's are gone; their halos are 32 and 64 rows.
"""


@dataclass(frozen=True)
class _Frame:
    """The geometry of a picture.

    Attributes:
        width: in pixels.
        height: in pixels.
        mode: of the pixels.
        strips: of the padded picture, for the residual loop.
        large_strips: for the context model, and for what is shown.
    """

    width: int
    height: int
    mode: PixelMode
    strips: Sequence[Strip]
    large_strips: Sequence[Strip]

    @classmethod
    def of(cls, width: int, height: int, mode: PixelMode, plan: StripPlan) -> _Frame:
        plans = (plan, plan.times(LARGE_STRIPS))
        strips = (some.strips(round_up(height), round_up(width)) for some in plans)
        return cls(width, height, mode, *strips)

    @property
    def padded_width(self) -> int:
        return round_up(self.width)

    def picture(self, reconstruction: Rows) -> Image.Image:
        """The picture of which `reconstruction` gives the strips, cropped and in its mode."""
        picture = Image.new(self.mode.pillow_mode, (self.width, self.height))
        for strip in self.large_strips:
            rows = reconstruction(strip)[:, :, : self.height - strip.first, : self.width]
            picture.paste(_to_image(rows).convert(picture.mode), (0, strip.first))
        return picture


@dataclass(frozen=True)
class EncodedIteration:
    """What the encoder has after an iteration.

    Attributes:
        step: of the residual loop, on the padded picture.
        segment: the iteration's codes, range-coded.
        frame: of the picture.
    """

    step: CodedIteration
    segment: bytes
    frame: _Frame

    @property
    def codes(self) -> list[Tensor]:
        """Per grid (1, C, h, w), -1.0 or +1.0."""
        return [grid.float() for grid in self.step.codes]

    @cached_property
    def picture(self) -> Image.Image:
        """What a decoder shows after this iteration. Made when it is asked for."""
        with torch.inference_mode():
            return self.frame.picture(self.step.shown)


class Codec:
    """A network and its context model, loaded from a weights file."""

    def __init__(
        self,
        model: ModelFile,
        *,
        context_dtype: torch.dtype = torch.float32,
        strips: StripPlan = DEFAULT_STRIPS,
    ) -> None:
        """Prepare a loaded weights file.

        Args:
            model: the weights file.
            context_dtype: arithmetic of the context model; all give the same codes. int64 is
                the oracle of the tests.
            strips: how large pictures are cut to bound memory; files decode with any.

        Raises:
            WeightsFormatError: tensors do not fit the configuration.
            IntegerRangeError: the context model would not be exact.
        """
        self.name = model.name
        self.model_id = model.model_id
        self.config: NetworkConfig = model.config
        self.training = model.training
        self._strips = strips
        self._network = _load_network(model)
        self._context = IntegerContextModel(
            model.tensors,
            self.config.grids,
            self.config.iterations,
            self.config.context,
            context_dtype,
        )

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> Codec:
        """The codec of a weights file.

        Args:
            weights: name of installed weights or path of a file; None is the default.

        Raises:
            WeightsError: not found, or not a fitting weights file.
        """
        path = find_weights(DEFAULT_WEIGHTS if weights is None else weights)
        return cls(load_model_file(Path(path)))

    @property
    def iterations(self) -> int:
        """The largest number of iterations of this model."""
        return self.config.iterations

    @property
    def network(self) -> RecurrentNetwork:
        """The network, in the state in which it codes."""
        return self._network

    def encode(
        self,
        image: Image.Image,
        *,
        iterations: int | None = None,
        progress: Progress | None = None,
        alpha: str = ALPHA_LOSSLESS,
        strip: Collection[str] = (),
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> bytes:
        """Compress a picture.

        Args:
            image: of any Pillow mode; stored as 8-bit RGB or grey, upright.
            iterations: 1 to the model's maximum, which None stands for.
            progress: called after each iteration.
            alpha: "lossless", "drop" or a CSS colour to blend transparent pixels with.
            strip: metadata to leave out, of "icc", "exif" and "xmp".
            max_pixels: refuse larger pictures before their pixels are loaded.

        Returns:
            The content of an `.rnc` file.

        Raises:
            IterationsError: not a number of iterations of this model.
            ImageSizeError: the image has no pixels or too many.
            ImageFormatError: its pixels cannot be converted.
            ArgumentError: `alpha` or `strip` is none of these.
        """
        self._checked_iterations(iterations)
        picture = prepare_picture(image, alpha=alpha, strip=strip, max_pixels=max_pixels)
        return self.encode_prepared(picture, iterations=iterations, progress=progress)

    def encode_prepared(
        self,
        picture: PreparedPicture,
        *,
        iterations: int | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """Compress a picture that `prepare_picture` made; see `encode`.

        Raises:
            IterationsError: not a number of iterations of this model.
        """
        total = self._checked_iterations(iterations)
        segments: list[bytes] = []
        for done in self.encode_iterations(picture.pixels, total, overwrite=True):
            segments.append(done.segment)
            if progress is not None:
                progress(len(segments), total)
        return self.pack(picture.pixels, segments, picture.metadata)

    def pack(
        self, image: Image.Image, segments: list[bytes], metadata: Metadata | None = None
    ) -> bytes:
        """The `.rnc` file of a picture in mode RGB or L whose segments are known."""
        mode = PixelMode.from_pillow_mode(image.mode)
        header = Header(image.width, image.height, mode, len(segments), self.model_id)
        return write_container(Container(header, tuple(segments), metadata or Metadata()))

    # As a decorator it holds while this computes, and not while the caller has an iteration.
    @torch.inference_mode()
    def encode_iterations(
        self, image: Image.Image, iterations: int | None = None, *, overwrite: bool = False
    ) -> Iterator[EncodedIteration]:
        """Compress a picture step by step, with what a decoder shows after each.

        Args:
            image: of mode RGB or L.
            iterations: 1 to the model's maximum, which None stands for.
            overwrite: take less memory; the picture of an iteration must then be asked for
                before the next iteration is.

        Raises:
            IterationsError: not a number of iterations of this model.
        """
        total = self._checked_iterations(iterations)
        mode = PixelMode.from_pillow_mode(image.mode)
        frame = _Frame.of(image.width, image.height, mode, self._strips)
        coder = SegmentCoder(self._context, frame.large_strips, frame.padded_width)
        network = StripedNetwork(self._network, frame.strips)
        segment = b""

        def quantise(iteration: int, activations: list[Tensor]) -> list[Tensor]:
            nonlocal segment
            gains = self._network.rate_gains(iteration)
            codes, segment = coder.encode(activations, gains)
            return codes

        # All iterations ask for the same strips; of a picture of one strip it is kept.
        rows = lru_cache(maxsize=1)(partial(_padded_rows, image))
        for step in network.code(rows, total, quantise, overwrite=overwrite):
            yield EncodedIteration(step, segment, frame)

    def decode(
        self,
        data: bytes,
        *,
        iterations: int | None = None,
        progress: Progress | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Image.Image:
        """Decompress a picture.

        Args:
            data: content of an `.rnc` file.
            iterations: 1 to the whole ones that the file has. None stands for all it has, a
                partial one included.
            progress: called after each iteration.
            max_pixels: refuse larger pictures before anything is allocated.

        Returns:
            A picture of mode RGB or L, or of mode RGBA or LA if the file has an alpha plane,
            with ICC, EXIF and XMP in its `info`.

        Raises:
            ContainerError: the file is damaged.
            ModelMismatchError: it was written with another model.
            IterationsError: it does not have that many iterations.
            ImageSizeError: the picture is larger than `max_pixels`.

        Warns:
            TruncatedFileWarning: the file was cut; the picture is what its whole iterations give.
        """
        container = open_container(data, iterations=iterations, max_pixels=max_pixels)
        return finish_picture(self._reconstruct(container, progress), container.metadata)

    def decode_parts(
        self, data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> Callable[[int], Image.Image]:
        """What a file shows if it ends inside its last iteration, for many places to end.

        Args:
            data: content of an `.rnc` file of whole iterations.
            max_pixels: refuse larger pictures before anything is allocated.

        Returns:
            A function from the bytes that are kept of the last segment, whole words, to the
            picture, of mode RGB or L. The iterations before have then been decoded.

        Raises:
            ContainerError: the file is damaged.
            ModelMismatchError: it was written with another model.
            ImageSizeError: the picture is larger than `max_pixels`.
        """
        container = read_container(data)
        header = container.header
        check_size((header.width, header.height), max_pixels=max_pixels)
        *before, last = container.segments
        frame = self._frame(header)
        coder = self._segment_decoder(header, frame)
        network = StripedNetwork(self._network, frame.strips)
        state: State | None = None
        with torch.inference_mode():
            for index, segment in enumerate(before):
                codes = coder.decode(segment)
                state = network.decode_iteration(codes, state, index, overwrite=True)

        def picture(length: int) -> Image.Image:
            with torch.inference_mode():
                codes = coder.fork().decode_cut(last[:length])
                after = network.decode_iteration(codes, state, len(before))
                return _shown(frame, network, after, codes, len(before))

        return picture

    def decode_codes(
        self, data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> list[list[Tensor]]:
        """The codes of a file: per iteration and grid (1, C, h, w), -1.0 or +1.0.

        Of a partial iteration, the codes that are not known have their expected values.

        Args:
            data: content of an `.rnc` file.
            max_pixels: refuse larger pictures before anything is allocated.

        Raises:
            ContainerError: the file is damaged.
            ModelMismatchError: it was written with another model.
            ImageSizeError: the picture is larger than `max_pixels`.
        """
        container = read_container(data)
        check_size((container.header.width, container.header.height), max_pixels=max_pixels)
        with torch.inference_mode():
            found = self._codes(container, self._frame(container.header))
            return [[grid.float() for grid in grids] for grids in found]

    def _codes(self, container: Container, frame: _Frame) -> Iterator[list[Tensor]]:
        coder = self._segment_decoder(container.header, frame)
        for segment in container.segments:
            yield coder.decode(segment)
        if container.partial is not None:
            yield coder.decode_cut(container.partial)

    def _frame(self, header: Header) -> _Frame:
        return _Frame.of(header.width, header.height, header.mode, self._strips)

    def _segment_decoder(self, header: Header, frame: _Frame) -> SegmentCoder:
        check_model(header, name=self.name, model_id=self.model_id, iterations=self.iterations)
        return SegmentCoder(self._context, frame.large_strips, frame.padded_width)

    def _reconstruct(self, container: Container, progress: Progress | None) -> Image.Image:
        frame = self._frame(container.header)
        network = StripedNetwork(self._network, frame.strips)
        state: State | None = None
        iterations = container.present_iterations
        with torch.inference_mode():
            codes: list[Tensor] = []
            for index, codes in enumerate(self._codes(container, frame)):
                state = network.decode_iteration(codes, state, index, overwrite=True)
                if progress is not None:
                    progress(index + 1, iterations)
            assert state is not None
            return _shown(frame, network, state, codes, iterations - 1)

    def _checked_iterations(self, iterations: int | None) -> int:
        if iterations is None:
            return self.iterations
        if not 1 <= iterations <= self.iterations:
            raise IterationsError(
                f"model {self.name} has 1 to {self.iterations} iterations, asked were {iterations}"
            )
        return iterations


def _shown(
    frame: _Frame, network: StripedNetwork, state: State, codes: list[Tensor], iteration: int
) -> Image.Image:
    """The picture after an iteration, 0-based, of which these are the codes, or what is known."""
    which = filtered_as(codes, iteration)
    return frame.picture(partial(network.show, state, iteration, filtered_as=which))


def filtered_as(codes: list[Tensor], iteration: int) -> int:
    """The iteration, 0-based, that the post-filter takes a picture for; see `KNOWN_SHARE`.

    Args:
        codes: the last ones of the picture, of any type: -1 or +1, or between them where they
            are not known.
        iteration: 0-based, that they are of.
    """
    if not codes[0].is_floating_point():
        return iteration
    known = sum(int((grid.abs() == 1).sum()) for grid in codes)
    return iteration_of_filter(iteration, known, sum(grid.numel() for grid in codes))


def network_tensors(network: RecurrentNetwork) -> dict[str, Tensor]:
    """The network's tensors by the names of a weights file."""
    return {NETWORK_PREFIX + name: p.detach() for name, p in network.named_parameters()}


def _load_network(model: ModelFile) -> RecurrentNetwork:
    # Random weights that are overwritten at once would cost start-up time.
    with torch.device("meta"):
        network = build_network(model.config)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}
    check_network(model.name, as_arrays(model.tensors), shapes)
    network.load_state_dict(
        {name: model.tensors[NETWORK_PREFIX + name] for name in shapes}, assign=True
    )
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return prepared(network.eval())


def _padded_rows(image: Image.Image, strip: Strip) -> Tensor:
    """A strip (1, 3, rows, W) of a picture whose last row and column are repeated as padding."""
    rows = image.crop((0, strip.first, image.width, min(strip.last, image.height)))
    return _pad(_to_tensor(rows), strip.last - strip.first)


def _to_tensor(image: Image.Image) -> Tensor:
    pixels: NDArray[np.float32] = np.asarray(image, np.float32) / HALF_RANGE - 1
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, 2)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _pad(rows: Tensor, height: int) -> Tensor:
    """Repeat the last row up to `height` and the last column to a multiple of `SIZE_MULTIPLE`."""
    padding = (0, round_up(rows.shape[3]) - rows.shape[3], 0, height - rows.shape[2])
    padded = functional.pad(rows, padding, mode="replicate")
    return padded.contiguous(memory_format=torch.channels_last)


def _to_image(reconstruction: Tensor) -> Image.Image:
    levels = ((reconstruction[0] + 1) * HALF_RANGE).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
