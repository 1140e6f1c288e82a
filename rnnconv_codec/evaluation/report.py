"""One page of HTML with everything of an evaluation in it: plots, tables, pictures."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from rnnconv_codec import __version__
from rnnconv_codec.errors import OutputFileError
from rnnconv_codec.evaluation.anchors import JPEG_420, decode
from rnnconv_codec.evaluation.jpeg import QUALITIES, JpegSizes
from rnnconv_codec.evaluation.measure import CodedImage
from rnnconv_codec.evaluation.plots import curves_of, rate_distortion_svg
from rnnconv_codec.evaluation.points import METRIC_TITLES, METRICS, Point, measure
from rnnconv_codec.evaluation.results import Results
from rnnconv_codec.evaluation.tables import bd_rate_table, points_table, slopes_table
from rnnconv_codec.files import atomic_write, check_output
from rnnconv_codec.images import image_bytes

PAGE_NAME = "index.html"

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class _Shown:
    """A picture of the page.

    Attributes:
        source: its file, as the URL of an `<img>`.
        heading: what it is.
        file_bytes: of the file that it was decoded from.
        point: rate and quality.
    """

    source: str
    heading: str
    file_bytes: int
    point: Point


class ReportWriter:
    """Writes the page in a folder, image by image: pictures wait in a temporary file.

    A context manager. Nothing is in the folder before `finish`, which writes the whole page.

    Args:
        folder: made if missing; its `index.html` is overwritten.
        pictures_of: how many images are shown, from the first; None shows all.

    Raises:
        OutputFileError: the page cannot be written there.
    """

    def __init__(self, folder: Path, *, pictures_of: int | None = None) -> None:
        self._to_show = pictures_of
        self._page = folder / PAGE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFileError(f"cannot make the folder {folder}: {error.strerror}") from error
        check_output(self._page, force=True)
        self._templates = Environment(
            loader=PackageLoader("rnnconv_codec.evaluation"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._sections = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> ReportWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sections.close()

    def add_image(self, name: str, image: Image.Image, coded: dict[str, CodedImage]) -> None:
        """Write an image's section: each iteration of each model beside JPEG of that size.

        Args:
            name: of the image.
            image: the original, of mode RGB or L.
            coded: by the models' names.
        """
        if self._to_show is not None:
            if self._to_show == 0:
                return
            self._to_show -= 1
        jpeg = JpegSizes(image)
        section = self._templates.get_template("image.html.j2").render(
            name=name,
            width=image.width,
            height=image.height,
            original=_lossless_url(image),
            models={
                model: [
                    (_shown_iteration(coded_image, index), _shown_jpeg(image, jpeg, size))
                    for index, size in enumerate(coded_image.file_bytes)
                ]
                for model, coded_image in coded.items()
            },
        )
        data = section.encode()
        self._sections.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)

    def finish(self, results: Results) -> None:
        """Write the page.

        Raises:
            OutputFileError: it cannot be written.
        """
        plots = {
            METRIC_TITLES[metric]: rate_distortion_svg(
                f"{METRIC_TITLES[metric]}, mean of {len(results.images)} images",
                metric,
                curves_of(results, metric),
            )
            for metric in METRICS
        }
        page = self._templates.get_template("report.html.j2").generate(
            version=__version__,
            results=results,
            plots={
                title: svg if svg is None else _url("image/svg+xml", svg.encode())
                for title, svg in plots.items()
            },
            bd_rates=bd_rate_table(results),
            tables=[points_table(measurement) for measurement in results.measurements()],
            slopes=[slopes_table(model) for model in results.models],
            sections=self._stored_sections(),
        )
        atomic_write(self._page, (part.encode() for part in page), force=True)

    def _stored_sections(self) -> Iterator[Markup]:
        self._sections.seek(0)
        while length := self._sections.read(_LENGTH_BYTES):
            yield Markup(self._sections.read(int.from_bytes(length, "little")).decode())


def _shown_jpeg(image: Image.Image, sizes: JpegSizes, file_bytes: int) -> _Shown:
    """The JPEG whose size is nearest."""
    quality = sizes.nearest(file_bytes)
    data = sizes.file(quality)
    smallest = quality == QUALITIES[0] and len(data) > file_bytes
    return _Shown(
        _url("image/jpeg", data),
        f"{JPEG_420.name}, quality {quality}{', its smallest file' if smallest else ''}",
        len(data),
        measure(quality, len(data), decode(data, image.mode), image),
    )


def _shown_iteration(coded: CodedImage, index: int) -> _Shown:
    return _Shown(
        _lossless_url(coded.pictures[index]),
        f"Iteration {index + 1} of {len(coded.pictures)}",
        coded.file_bytes[index],
        coded.points[index],
    )


def _lossless_url(picture: Image.Image) -> str:
    return _url("image/webp", image_bytes(picture, "WEBP"))


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
