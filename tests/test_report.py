"""The page of `rnncodec eval --report`, as a file and in a real browser."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver

from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.evaluation.anchors import JPEG_420
from rnnconv_codec.evaluation.cache import PointCache
from rnnconv_codec.evaluation.measure import CodedImage, evaluate
from rnnconv_codec.evaluation.points import measure
from rnnconv_codec.evaluation.report import ReportWriter

NAMES = ("coffee.png", 'a "rocket" & <b>.png')
ITERATIONS = 3
BROWSER_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PICTURES = len(NAMES) * (1 + 2 * ITERATIONS)
PLOTS = 2


@pytest.fixture(scope="module")
def photographs(
    tmp_path_factory: pytest.TempPathFactory, photograph: Callable[[str], Image.Image]
) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    photograph("coffee").crop((100, 100, 300, 280)).save(folder / NAMES[0])
    photograph("rocket").crop((100, 100, 265, 261)).convert("L").save(folder / NAMES[1])
    return folder


@pytest.fixture(scope="module")
def page(photographs: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    arguments = [str(photographs), "--weights", str(tiny_weights), "--report", str(folder)]
    arguments += ["--anchors", "jpeg-420,webp", "--no-cache", "-q"]
    result = CliRunner(catch_exceptions=False).invoke(cli, ["eval", *arguments])
    assert (result.exit_code, result.output) == (0, "")
    return folder / "index.html"


def embedded(html: str, kind: str) -> list[bytes]:
    """The files of one kind in the page."""
    return [base64.b64decode(text) for text in re.findall(f'data:{kind};base64,([^"]+)', html)]


# --- the file --------------------------------------------------------------------------------


def test_the_folder_holds_the_page_and_nothing_else(page: Path) -> None:
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]


def test_pictures_are_embedded_without_loss_and_jpeg_files_as_they_are(
    page: Path, photographs: Path, tiny_codec: Codec
) -> None:
    html = page.read_text()
    # The page has the images in the order of their names.
    expected: list[Image.Image] = []
    for name in sorted(NAMES):
        with Image.open(photographs / name) as original:
            data = tiny_codec.encode(original)
            expected += [
                original.copy(),
                *(tiny_codec.decode(data, iterations=count) for count in range(1, ITERATIONS + 1)),
            ]

    for data, picture in zip(embedded(html, "image/webp"), expected, strict=True):
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.convert(picture.mode).tobytes() == picture.tobytes()
    jpegs = embedded(html, "image/jpeg")
    assert len(jpegs) == len(NAMES) * ITERATIONS
    for data in jpegs:
        assert f"{len(data):,} bytes" in html


def test_the_jpeg_beside_an_iteration_is_the_one_of_the_nearest_size(
    tmp_path: Path, photograph: Callable[[str], Image.Image]
) -> None:
    picture = photograph("coffee").crop((0, 0, 120, 90))
    sizes = [len(JPEG_420.encode(picture, quality)) for quality in range(1, 101)]
    targets = [sizes[0] - 50, sizes[9] + 1, (sizes[39] + sizes[40]) // 2, sizes[94], 10**6]
    source = tmp_path / "coffee.png"
    picture.save(source)
    results = evaluate([], [JPEG_420], [source], cache=PointCache(None))
    point = measure(1, 1, picture, picture)
    coded = CodedImage([point] * len(targets), [picture] * len(targets), targets)
    with ReportWriter(tmp_path) as writer:
        writer.add_image("coffee.png", picture, {"model": coded})
        writer.finish(results)

    shown = [len(data) for data in embedded((tmp_path / "index.html").read_text(), "image/jpeg")]

    nearest = [min(sizes, key=lambda size: abs(size - target)) for target in targets]
    assert [abs(a - t) for a, t in zip(shown, targets, strict=True)] == [
        abs(b - t) for b, t in zip(nearest, targets, strict=True)
    ]


def test_names_are_text_and_not_markup(page: Path) -> None:
    html = page.read_text()
    assert "&lt;b&gt;.png" in html
    assert "<b>.png" not in html


def test_pictures_of_few_images_are_shown_on_request(
    photographs: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    arguments = [str(photographs), "--weights", str(tiny_weights), "--report", str(tmp_path)]
    arguments += ["--anchors", "jpeg-420", "--no-cache", "-q", "--report-images", "1"]

    assert CliRunner().invoke(cli, ["eval", *arguments]).exit_code == 0

    html = (tmp_path / "index.html").read_text()
    assert html.count('<details class="image">') == 1
    assert "on 2 images" in html


def test_an_evaluation_that_fails_leaves_no_page(
    photographs: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "damaged.png").write_bytes(b"no image")
    arguments = [str(photographs), str(tmp_path / "damaged.png"), "--weights", str(tiny_weights)]
    arguments += ["--anchors", "jpeg-420", "--no-cache", "--report", str(tmp_path / "report")]

    assert CliRunner().invoke(cli, ["eval", *arguments]).exit_code == 1

    assert list((tmp_path / "report").iterdir()) == []


# --- in the browser --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Debian's chromium without a window, recording requests and the console."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "no chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def requests(browser: WebDriver) -> list[str]:
    """The addresses that the browser asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def show(browser: WebDriver, width: int, scheme: str) -> None:
    command: Callable[[str, dict[str, Any]], Any] = browser.execute_cdp_cmd
    command(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    command("Emulation.setEmulatedMedia", {"features": [feature]})


# Opens what is folded, waits until each image has loaded or failed, and looks at it.
LOOK_AT_IMAGES = """
const done = arguments[0];
document.querySelectorAll("details").forEach((details) => { details.open = true; });
const look = (image) => {
  const box = image.getBoundingClientRect();
  return {
    natural: image.naturalWidth, width: box.width, height: box.height, alt: image.alt,
    right: box.right,
  };
};
const images = [...document.images];
Promise.all(images.map((image) => {
  image.loading = "eager";
  return image.decode().catch(() => null);
})).then(() => done(images.map(look)));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_plot_and_picture_is_seen_and_nothing_is_asked_for(
    page: Path, browser: WebDriver, width: int, scheme: str
) -> None:
    show(browser, width, scheme)
    requests(browser)
    browser.get_log("browser")

    browser.get(page.as_uri())
    images = browser.execute_async_script(LOOK_AT_IMAGES)

    assert len(images) == PLOTS + PICTURES
    for image in images:
        assert image["natural"] > 0, image
        assert min(image["width"], image["height"]) > 100, image
        assert image["right"] <= width, image
        assert image["alt"]
    asked = [url for url in requests(browser) if not url.startswith("data:")]
    assert asked == [page.as_uri()]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_does_not_scroll_sideways(page: Path, browser: WebDriver, width: int) -> None:
    show(browser, width, "light")
    browser.get(page.as_uri())

    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )

    assert overflow == 0


def test_pictures_are_folded_until_asked_for(page: Path, browser: WebDriver) -> None:
    browser.get(page.as_uri())

    visible = browser.execute_script(
        "return [...document.images].filter((image) => image.checkVisibility()).length"
    )

    assert visible == PLOTS


def test_plots_follow_the_reader_into_the_dark(page: Path, browser: WebDriver) -> None:
    corner: dict[str, int] = {}
    for scheme in ("light", "dark"):
        show(browser, 1280, scheme)
        browser.get(page.as_uri())
        plot = browser.find_element("css selector", ".plots img")
        with Image.open(io.BytesIO(plot.screenshot_as_png)) as shot:
            corner[scheme] = shot.convert("L").getpixel((3, 3))  # type: ignore[assignment]

    assert corner["light"] > 230
    assert corner["dark"] < 60
