"""The decoder without torch: files to pictures, for small ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from rnnconv_codec.container import DEFAULT_MAX_PIXELS, Container, Header
from rnnconv_codec.decoding import (
    HALF_RANGE,
    Progress,
    check_model,
    finish_picture,
    iteration_of_filter,
    open_container,
)
from rnnconv_codec.entropy.stored_context import read_grid, read_table
from rnnconv_codec.errors import WeightsFormatError
from rnnconv_codec.light.context_model import GridModel
from rnnconv_codec.light.convolution import Floats
from rnnconv_codec.light.network import CompactDecoder, State
from rnnconv_codec.light.segments import SegmentReader
from rnnconv_codec.light.shapes import network_shapes
from rnnconv_codec.networks.config import CompactConfig, round_up
from rnnconv_codec.networks.stored_network import NETWORK_PREFIX, check_network
from rnnconv_codec.weights import ArrayFile, load_array_file


class LightDecoder:
    """Decodes as `codec.Codec` does: the same codes, and pixels within a level.

    A picture is computed as a whole, in some 300 bytes a pixel, on the threads of NumPy's BLAS.
    """

    def __init__(self, model: ArrayFile) -> None:
        """Prepare a loaded weights file.

        Raises:
            WeightsFormatError: it is of another preset than `compact`, or tensors do not fit.
            IntegerRangeError: the context model would not be exact.
        """
        config = model.config
        if not isinstance(config, CompactConfig):
            raise WeightsFormatError(f"weights {model.name} are of preset {config.preset}")
        check_network(model.name, model.tensors, network_shapes(config))
        self.name = model.name
        self.model_id = model.model_id
        self.config: CompactConfig = config
        self._table = read_table(model.tensors)
        self._grids = [
            GridModel(
                read_grid(
                    model.tensors,
                    index,
                    grid,
                    config.iterations,
                    config.context,
                    finer=config.context.from_finer and index + 1 < len(config.grids),
                ),
                config.context.groups,
            )
            for index, grid in enumerate(config.grids)
        ]
        self._network = CompactDecoder(config, lambda name: model.tensors[NETWORK_PREFIX + name])

    @classmethod
    def load(cls, path: Path) -> LightDecoder:
        """The decoder of a weights file.

        Raises:
            WeightsError: not a weights file, or not one that fits.
        """
        return cls(load_array_file(path))

    def decode(
        self,
        data: bytes,
        *,
        iterations: int | None = None,
        progress: Progress | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> Image.Image:
        """Decompress a picture: see `codec.Codec.decode`."""
        container = open_container(data, iterations=iterations, max_pixels=max_pixels)
        header, total = container.header, container.present_iterations
        state: State | None = None
        codes: list[Floats] = []
        for index, codes in enumerate(self._codes(container)):
            state = self._network.decode_iteration(codes, state, index)
            if progress is not None:
                progress(index + 1, total)
        assert state is not None
        filtered_as = total - 1
        if container.partial is not None:
            known = sum(int((np.abs(grid) == 1).sum()) for grid in codes)
            filtered_as = iteration_of_filter(total - 1, known, sum(grid.size for grid in codes))
        shown = self._network.picture(state, total - 1, filtered_as)
        return finish_picture(_to_image(shown, header), container.metadata)

    def decode_codes(
        self, data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> list[list[Floats]]:
        """The codes of a file, per iteration and grid (h, w, C): see `codec.Codec.decode_codes`."""
        return list(self._codes(open_container(data, iterations=None, max_pixels=max_pixels)))

    def _codes(self, container: Container) -> Iterator[list[Floats]]:
        header, grids = container.header, self.config.grids
        check_model(
            header, name=self.name, model_id=self.model_id, iterations=self.config.iterations
        )
        height, width = round_up(header.height), round_up(header.width)
        sizes = [(height // grid.stride, width // grid.stride) for grid in grids]
        reader = SegmentReader(self._grids, self._table, sizes)
        for segment in container.segments:
            yield reader.decode(segment)
        if container.partial is not None:
            yield reader.decode_cut(container.partial)


def _to_image(picture: Floats, header: Header) -> Image.Image:
    cropped = picture[: header.height, : header.width]
    levels = np.rint((cropped + 1) * np.float32(HALF_RANGE)).clip(0, 255).astype(np.uint8)
    return Image.fromarray(levels).convert(header.mode.pillow_mode)
