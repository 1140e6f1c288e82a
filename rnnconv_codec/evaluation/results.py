"""All that one evaluation measured, as JSON and as a table of comma-separated values."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rnnconv_codec.errors import ResultsFormatError
from rnnconv_codec.evaluation.points import (
    Deltas,
    Measurement,
    Point,
    Slope,
    bd_rates,
    bd_rates_per_image,
    is_convex,
    point_from_dict,
    slopes,
    to_dict,
)

RESULTS_VERSION = 2
"""Version of the JSON; 1 was one model and one anchor in 0.1.0."""


@dataclass(frozen=True)
class ImageInfo:
    """An image that was measured.

    Attributes:
        name: of its file.
        width: in pixels.
        height: in pixels.
    """

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class ModelResult:
    """A model's measurement and which weights they were.

    Attributes:
        model_id: first 8 bytes of the SHA-256 of the weights file, in hexadecimal.
        measurement: a point per iteration.
    """

    model_id: str
    measurement: Measurement

    @property
    def name(self) -> str:
        """Of the model, in tables and plots."""
        return self.measurement.name

    def slopes(self) -> list[Slope]:
        """What each iteration after the first buys on the mean curve."""
        return slopes(self.measurement.means)

    def is_convex(self) -> bool:
        """Whether no iteration is worse than stopping earlier here and later elsewhere."""
        return is_convex(self.measurement.means)


@dataclass(frozen=True)
class Results:
    """Models and anchors on the same images.

    Attributes:
        images: in the order in which they were measured.
        models: each with a point per iteration.
        anchors: each with a point per setting.
    """

    images: list[ImageInfo]
    models: list[ModelResult]
    anchors: list[Measurement]

    def measurements(self) -> list[Measurement]:
        """Models, then anchors."""
        return [*(model.measurement for model in self.models), *self.anchors]

    def bd_rates(self, model: ModelResult) -> dict[str, Deltas]:
        """Of the mean curves, by the anchor's name: see `points.bd_rates`."""
        return {anchor.name: bd_rates(model.measurement, anchor) for anchor in self.anchors}

    def bd_rates_per_image(self, model: ModelResult) -> dict[str, Deltas]:
        """Means over the images, by the anchor's name: see `points.bd_rates_per_image`."""
        return {
            anchor.name: bd_rates_per_image(model.measurement, anchor) for anchor in self.anchors
        }

    def to_json(self) -> str:
        """All points, and what follows from them; infinity and not-a-number are null."""
        content = {
            "version": RESULTS_VERSION,
            "images": [asdict(image) for image in self.images],
            "models": [
                {
                    "model_id": model.model_id,
                    **_measurement_to_dict(model.measurement),
                    "bd_rate": self.bd_rates(model),
                    "bd_rate_per_image": self.bd_rates_per_image(model),
                    "slopes": [to_dict(slope) for slope in model.slopes()],
                    "is_convex": model.is_convex(),
                }
                for model in self.models
            ],
            "anchors": [_measurement_to_dict(anchor) for anchor in self.anchors],
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """The inverse of `to_json`; what follows from the points is computed again.

        Raises:
            ResultsFormatError: the text is something else.
        """
        try:
            content = json.loads(text)
            if content["version"] != RESULTS_VERSION:
                raise ValueError(f"version {content['version']}, expected {RESULTS_VERSION}")
            return cls(
                [ImageInfo(**image) for image in content["images"]],
                [
                    ModelResult(model["model_id"], _measurement_from_dict(model))
                    for model in content["models"]
                ],
                [_measurement_from_dict(anchor) for anchor in content["anchors"]],
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ResultsFormatError(f"not results of rnncodec eval: {error}") from error

    def to_csv(self) -> str:
        """A row per codec, image and setting; the means over the images have no image."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["codec", "image", "setting_name", *Point.__dataclass_fields__])
        for measurement in self.measurements():
            for image, point in _rows(measurement):
                writer.writerow(
                    [
                        measurement.name,
                        image,
                        measurement.setting_name,
                        *to_dict(point).values(),
                    ]
                )
        return buffer.getvalue()


def _rows(measurement: Measurement) -> Iterator[tuple[str, Point]]:
    for point in measurement.means:
        yield "", point
    for image, points in measurement.images.items():
        for point in points:
            yield image, point


def _measurement_to_dict(measurement: Measurement) -> dict[str, Any]:
    return {
        "name": measurement.name,
        "setting_name": measurement.setting_name,
        "description": measurement.description,
        "means": [to_dict(point) for point in measurement.means],
        "images": {
            name: [to_dict(point) for point in points]
            for name, points in measurement.images.items()
        },
    }


def _measurement_from_dict(fields: Mapping[str, Any]) -> Measurement:
    return Measurement.of_images(
        fields["name"],
        fields["setting_name"],
        fields["description"],
        {
            name: [point_from_dict(point) for point in points]
            for name, points in fields["images"].items()
        },
    )
