"""The weights in the box do the job on real photographs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image

import rnnconv_codec
from rnnconv_codec.codec import Codec
from rnnconv_codec.evaluation.anchors import JPEG_420
from rnnconv_codec.evaluation.bd_rate import Curve, bd_rate
from rnnconv_codec.evaluation.cache import PointCache
from rnnconv_codec.evaluation.measure import measure_anchor, measure_codec
from rnnconv_codec.weights import DEFAULT_WEIGHTS, list_weights, load_model_file

Photograph = Callable[[str], Image.Image]


INSTALLED = {path.stem: path for path in list_weights()}


@pytest.fixture(scope="module", params=sorted(INSTALLED))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each of the installed models."""
    return Codec.load(INSTALLED[request.param])


def test_the_default_weights_are_installed() -> None:
    assert DEFAULT_WEIGHTS in INSTALLED


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_they_beat_jpeg_and_cover_the_range(
    codec: Codec, photograph: Photograph, name: str
) -> None:
    whole = photograph(name)
    picture = whole.crop((60, 0, 60 + 400, 304))

    points = measure_codec(codec, picture).points

    assert points[0].bpp < 0.15
    assert points[-1].psnr > 34
    qualities = [point.psnr for point in points]
    assert qualities == sorted(qualities)
    jpeg = measure_anchor(JPEG_420, picture, PointCache(None))
    ours = Curve([p.bpp for p in points], qualities)
    assert bd_rate(ours, Curve([p.bpp for p in jpeg], [p.psnr for p in jpeg])) < 0


def test_files_decode_without_naming_the_weights(photograph: Photograph) -> None:
    picture = photograph("chelsea").crop((120, 60, 221, 133))

    data = rnnconv_codec.encode(picture)

    assert rnnconv_codec.decode(data, iterations=2).size == picture.size
    assert rnnconv_codec.truncate(data, iterations=2) == rnnconv_codec.encode(picture, iterations=2)


@pytest.mark.parametrize("size", [(1, 1), (1, 97), (17, 3), (129, 63)])
def test_codes_survive_and_equal_the_oracles(
    codec: Codec, photograph: Photograph, size: tuple[int, int]
) -> None:
    oracle = Codec(load_model_file(INSTALLED[codec.name]), context_dtype=torch.int64)
    picture = photograph("rocket").crop((300, 100, 300 + size[0], 100 + size[1]))
    steps = list(codec.encode_iterations(picture))
    data = codec.pack(picture, [step.segment for step in steps])

    for step, ours, theirs in zip(
        steps, codec.decode_codes(data), oracle.decode_codes(data), strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(step.codes, ours, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    for count, step in enumerate(steps, 1):
        assert codec.decode(data, iterations=count).tobytes() == step.picture.tobytes()
