"""Pictures that are coded strip by strip: the same as whole ones, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_networks import SMALL_COMPACT, SMALL_TODERICI
from torch import Tensor, nn

from rnnconv_codec import container
from rnnconv_codec.codec import Codec
from rnnconv_codec.networks.config import (
    SIZE_MULTIPLE,
    NetworkConfig,
)
from rnnconv_codec.networks.prepared import prepared
from rnnconv_codec.networks.recurrent import (
    RecurrentNetwork,
    State,
    build_network,
    residual_loop,
    sign_of_activations,
)
from rnnconv_codec.networks.striped import StripedNetwork
from rnnconv_codec.networks.strips import Strip, StripPlan
from rnnconv_codec.weights import ModelFile

Photograph = Callable[[str], Image.Image]

SMALLEST = StripPlan(pixels=1, least_rows=SIZE_MULTIPLE)

CONFIGS: dict[str, NetworkConfig] = {
    "compact": SMALL_COMPACT,
    "compact, first": replace(SMALL_COMPACT, fine_decoder_kernel=5, loop_filter_channels=0),
    "compact, post-filter": replace(SMALL_COMPACT, post_filter_channels=8, post_filter_blocks=2),
    "toderici": SMALL_TODERICI,
}

HEIGHT, WIDTH = 208, 32


PREPARED = "compact, prepared"


@pytest.fixture(params=[*CONFIGS, PREPARED])
def network(request: pytest.FixtureRequest) -> RecurrentNetwork:
    torch.manual_seed(1)
    is_prepared = request.param == PREPARED
    built = build_network(CONFIGS["compact, post-filter" if is_prepared else request.param])
    with torch.no_grad():
        for module in built.modules():
            if isinstance(module, nn.Conv2d):  # the loop filter's begin at nothing
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    return prepared(built.eval()) if is_prepared else built.eval()


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 10**6), st.integers(1, 500))
def test_strips_cover_a_picture_in_whole_cells_of_every_grid(
    rows: int, columns: int, pixels: int, least: int
) -> None:
    height, width = SIZE_MULTIPLE * rows, SIZE_MULTIPLE * columns

    strips = StripPlan(pixels, least).strips(height, width)

    assert strips[0].first == 0 and strips[-1].last == height
    assert all(above.last == below.first for above, below in pairwise(strips))
    heights = [strip.last - strip.first for strip in strips]
    assert all(h > 0 and h % SIZE_MULTIPLE == 0 for h in heights)
    assert max(heights) <= max(least + SIZE_MULTIPLE, pixels // width + SIZE_MULTIPLE)
    if height * width <= pixels:
        assert len(strips) == 1


def changed_outside(tensor: Tensor, first: int, last: int) -> Tensor:
    """Other values in the rows of cells that have no pixel from row `first` up to `last`."""
    stride = HEIGHT // tensor.shape[2]
    changed = torch.rand_like(tensor) - 0.5
    rows = slice(max(0, first) // stride, -(-last // stride))
    changed[:, :, rows] = tensor[:, :, rows]
    return changed


Step = Callable[[Callable[[Tensor], Tensor]], list[Tensor]]


def steps_of(network: RecurrentNetwork) -> dict[str, Step]:
    """The steps of a network, of which every input goes through a function first."""
    image = torch.rand(1, 3, HEIGHT, WIDTH) - 0.5
    activations, encoder_state = network.encode_iteration(image, None, 0)
    codes = [torch.where(grid >= 0, 1.0, -1.0) for grid in activations]
    state = network.decode_iteration(codes, None, 0)

    def encode(change: Callable[[Tensor], Tensor]) -> list[Tensor]:
        found, after = network.encode_iteration(change(image), tuple(map(change, encoder_state)), 1)
        return [*found, *after]

    def decode(change: Callable[[Tensor], Tensor]) -> list[Tensor]:
        return list(
            network.decode_iteration([change(grid) for grid in codes], tuple(map(change, state)), 1)
        )

    def synthesise(change: Callable[[Tensor], Tensor]) -> list[Tensor]:
        return [network.synthesise(tuple(map(change, state)), 1)]

    def show(change: Callable[[Tensor], Tensor]) -> list[Tensor]:
        return [network.show(tuple(map(change, state)), change(image), 1)]

    return {"encode": encode, "decode": decode, "synthesise": synthesise, "show": show}


@pytest.mark.parametrize("name", ["encode", "decode", "synthesise", "show"])
def test_nothing_beyond_the_halo_changes_a_strip(network: RecurrentNetwork, name: str) -> None:
    halo: int = getattr(network.halos, name)
    strip = Strip(96, 112, HEIGHT)
    with torch.inference_mode():
        step = steps_of(network)[name]

        def rows(halo: int) -> list[Tensor]:
            made = step(lambda t: changed_outside(t, strip.first - halo, strip.last + halo))
            return [t[:, :, strip.cells(HEIGHT // t.shape[2])] for t in made]

        plain = rows(HEIGHT)

        assert all(torch.equal(a, b) for a, b in zip(rows(halo), plain, strict=True))
        if halo:
            assert not all(torch.equal(a, b) for a, b in zip(rows(0), plain, strict=True))


@torch.inference_mode()
def test_steps_return_only_the_rows_that_are_asked_for(network: RecurrentNetwork) -> None:
    strip = Strip(96, 144, HEIGHT)
    residual = torch.rand(1, 3, HEIGHT, WIDTH) - 0.5

    def rows_of(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor[:, :, strip.cells(HEIGHT // tensor.shape[2])] for tensor in tensors]

    def assert_alike(found: Sequence[Tensor], whole: Sequence[Tensor]) -> None:
        for ours, theirs in zip(found, rows_of(whole), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)

    encoder: State | None = None
    decoder: State | None = None
    for index in range(2):
        activations, encoded = network.encode_iteration(residual, encoder, index)
        some, after = network.encode_iteration(residual, encoder, index, strip.cells(1))
        assert_alike([*some, *after], [*activations, *encoded])

        codes = sign_of_activations(index, activations)
        decoded = network.decode_iteration(codes, decoder, index)
        assert_alike(network.decode_iteration(codes, decoder, index, strip.cells(1)), decoded)
        encoder, decoder = encoded, decoded


def test_a_network_in_strips_is_the_network(network: RecurrentNetwork) -> None:
    torch.manual_seed(2)
    image = torch.rand(1, 3, HEIGHT, WIDTH) - 0.5
    striped = StripedNetwork(network, SMALLEST.strips(HEIGHT, WIDTH))
    whole = Strip(0, HEIGHT, HEIGHT)
    iterations = network.config.iterations
    with torch.inference_mode():
        expected = list(residual_loop(network, image, iterations))

        # A code whose activation is nearly 0 may turn: all go on with the same ones.
        def known(index: int, activations: list[Tensor]) -> list[Tensor]:
            same = [
                (a == b).float().mean()
                for a, b in zip(
                    sign_of_activations(index, activations), expected[index].codes, strict=True
                )
            ]
            assert min(same) > 0.999
            return [grid.to(torch.int8) for grid in expected[index].codes]

        found = list(striped.code(lambda strip: image[:, :, strip.cells(1)], iterations, known))

        for ours, theirs in zip(found, expected, strict=True):
            for a, b in zip(ours.state, theirs.state, strict=True):
                assert torch.allclose(a, b, atol=1e-5)
            assert torch.allclose(ours.reconstruction(whole), theirs.reconstruction, atol=1e-5)
            for strip in SMALLEST.strips(HEIGHT, WIDTH):
                rows = theirs.shown[:, :, strip.cells(1)]
                assert torch.allclose(ours.shown(strip), rows, atol=1e-5)


def test_no_row_of_a_reconstruction_is_made_twice(network: RecurrentNetwork) -> None:
    image = torch.rand(1, 3, HEIGHT, WIDTH) - 0.5
    made: list[Strip] = []

    class Counting(StripedNetwork):
        def synthesise(self, state: State, iteration: int, strip: Strip) -> Tensor:
            made.append(strip)
            return super().synthesise(state, iteration, strip)

    striped = Counting(network, SMALLEST.strips(HEIGHT, WIDTH))
    with torch.inference_mode():
        list(striped.code(lambda strip: image[:, :, strip.cells(1)], 2, sign_of_activations))

    # Nobody looks at the picture of the last iteration.
    assert sum(strip.last - strip.first for strip in made) == HEIGHT


def test_files_do_not_depend_on_strips_and_pictures_have_no_seams(
    tiny_model: ModelFile, tiny_codec: Codec, photograph: Photograph
) -> None:
    picture = photograph("chelsea")
    striped = Codec(tiny_model, strips=SMALLEST)
    assert len(SMALLEST.strips(304, 464)) == 19
    data = striped.encode(picture)
    data = container.truncate(data, iterations=2, partial_bytes=200)

    ours, theirs = striped.decode_codes(data), tiny_codec.decode_codes(data)
    shown, expected = (np.asarray(codec.decode(data), np.int16) for codec in (striped, tiny_codec))

    # The context model's integers are exact: these are the same codes on every machine.
    for one, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    # The networks are floating point, so a level may be rounded differently, here and there.
    difference = np.abs(shown - expected)
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


def test_an_encoder_with_strips_chooses_the_same_codes(
    tiny_model: ModelFile, tiny_codec: Codec, photograph: Photograph
) -> None:
    picture = photograph("coffee").crop((100, 100, 323, 371))
    striped = Codec(tiny_model, strips=SMALLEST)

    pairs = list(
        zip(striped.encode_iterations(picture), tiny_codec.encode_iterations(picture), strict=True)
    )

    for ours, theirs in pairs:
        for one, other in zip(ours.codes, theirs.codes, strict=True):
            # Up to rounding: an activation of nearly 0 may turn its code.
            assert float((one != other).float().mean()) < 1e-3
    data = striped.pack(picture, [ours.segment for ours, _ in pairs])
    for count, (ours, _) in enumerate(pairs, 1):
        assert ours.picture.tobytes() == striped.decode(data, iterations=count).tobytes()


def test_overwriting_states_changes_no_segment_and_no_picture_that_is_asked_for_in_time(
    tiny_model: ModelFile, photograph: Photograph
) -> None:
    codec = Codec(tiny_model, strips=SMALLEST)
    picture = photograph("coffee").crop((100, 100, 170, 190))

    pairs = zip(
        codec.encode_iterations(picture, overwrite=True),
        codec.encode_iterations(picture),
        strict=True,
    )

    for frugal, plain in pairs:
        assert frugal.segment == plain.segment
        assert frugal.picture.tobytes() == plain.picture.tobytes()


def test_parts_of_an_iteration_are_shown_as_a_cut_file_is(
    tiny_model: ModelFile, photograph: Photograph
) -> None:
    codec = Codec(tiny_model, strips=SMALLEST)
    data = codec.encode(photograph("coffee").crop((100, 100, 170, 190)))
    show = codec.decode_parts(data)
    for length in (40, 0, 40, 80):
        cut = container.truncate(data, iterations=2, partial_bytes=length)
        assert show(length).tobytes() == codec.decode(cut).tobytes()


BYTES_PER_PIXEL = 55
"""Stated in docs/RELIABILITY.md."""

WIDTH_MEASURED, HEIGHTS_MEASURED = 768, (256, 640)

PEAKS = """
import resource, sys
import skimage.data
import torch
from PIL import Image
from rnnconv_codec.codec import Codec
from rnnconv_codec.networks.strips import StripPlan
from rnnconv_codec.weights import DEFAULT_WEIGHTS, find_weights, load_model_file
torch.set_num_threads(1)
codec = Codec(load_model_file(find_weights(DEFAULT_WEIGHTS)), strips=StripPlan(1, 64))
photograph = Image.fromarray(skimage.data.chelsea())
width, *heights = map(int, sys.argv[1:])
for height in heights:
    # In the third iteration there are all states that there ever are.
    codec.decode(codec.encode(photograph.resize((width, height)), iterations=3))
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is Linux's")
def test_memory_grows_by_the_stated_bytes_per_pixel_at_most() -> None:
    sizes = (WIDTH_MEASURED, *HEIGHTS_MEASURED)
    result = subprocess.run(
        [sys.executable, "-c", PEAKS, *map(str, sizes)],
        # What is freed goes back at once: holes in the heap are not what is measured.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = (int(line) for line in result.stdout.split())

    grown = WIDTH_MEASURED * (HEIGHTS_MEASURED[1] - HEIGHTS_MEASURED[0])
    assert (large - small) / grown <= BYTES_PER_PIXEL
