"""Strips: a large picture is coded a few hundred rows at a time, so that memory stays bounded.

What the networks and the context model make of a cell depends on its neighbours no farther than a
*halo*. So a strip is computed with its halo around it, which is then cut off: the zeros with which
convolutions are padded reach no farther than the halo, and at the border of the picture there is
none. Exact arithmetic (the context model) gives the same integers as on the whole picture,
floating point the same up to rounding. A file does not tell how it was made, and decodes with any
strips.

Everything here is in rows of the padded picture, multiples of `SIZE_MULTIPLE`: whole rows of cells
on every grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from rnnconv_codec.networks.config import round_up as round_up


@dataclass(frozen=True)
class Strip:
    """The rows from `first` up to `last`, exclusive, of a picture of `height` rows."""

    first: int
    last: int
    height: int

    def widened(self, halo: int) -> Strip:
        """The strip with at least `halo` more rows on each side, as far as the picture goes."""
        more = round_up(halo)
        return Strip(max(0, self.first - more), min(self.height, self.last + more), self.height)

    def cells(self, stride: int) -> slice:
        """The rows of cells on a grid of this stride."""
        return slice(self.first // stride, self.last // stride)

    def cells_in(self, outer: Strip, stride: int) -> slice:
        """The same, counted from the beginning of a strip around this one."""
        return slice((self.first - outer.first) // stride, (self.last - outer.first) // stride)


def kept(tensor: Tensor, rows: slice | None, height: int) -> Tensor:
    """The rows of cells that belong to some rows of pixels.

    Args:
        tensor: (N, C, h, w), on any grid.
        rows: of pixels, whole cells; None for all.
        height: in pixels, of all that the tensor is of.
    """
    if rows is None:
        return tensor
    stride = height // tensor.shape[2]
    return tensor[:, :, rows.start // stride : rows.stop // stride]


@dataclass(frozen=True)
class StripPlan:
    """How high strips are.

    Attributes:
        pixels: of a strip; a picture of no more is coded as a whole.
        least_rows: of a strip, however wide the picture is: halos of some ten rows, which are
            computed twice, must not be most of the work.
    """

    pixels: int = 1 << 20
    least_rows: int = 160

    def strips(self, height: int, width: int) -> tuple[Strip, ...]:
        """The strips, of nearly equal heights, of a padded picture."""
        rows = max(round_up(self.least_rows), self.pixels // width)
        count = -(-height // rows)
        step = round_up(-(-height // count))
        return tuple(
            Strip(first, min(first + step, height), height) for first in range(0, height, step)
        )

    def times(self, factor: int) -> StripPlan:
        """A plan of larger strips: for what takes little memory, as it has fewer halos."""
        return StripPlan(factor * self.pixels, factor * self.least_rows)


DEFAULT_STRIPS = StripPlan()


@dataclass(frozen=True)
class Halos:
    """How far the steps of a network look, in rows of pixels beyond those of their own cells.

    With that many rows more on each side, the rows between are those of the whole picture.

    Attributes:
        encode: of `RecurrentNetwork.encode_iteration`.
        decode: of `RecurrentNetwork.decode_iteration`.
        synthesise: of `RecurrentNetwork.synthesise`.
        show: of `RecurrentNetwork.show`, beyond the rows of the reconstruction that it is given.
    """

    encode: int
    decode: int
    synthesise: int
    show: int = 0


def reach(convolution: nn.Conv2d, stride: int) -> int:
    """Rows of pixels that a convolution looks beyond its own cells.

    Args:
        convolution: without dilation.
        stride: pixels per row of its input.
    """
    kernel, step, padding = (
        int(value[0])
        for value in (convolution.kernel_size, convolution.stride, convolution.padding)
    )
    return max(padding, kernel - step - padding) * stride
