"""Many files: names, failures, processes, interrupts, and what is reported."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import ExifTags, Image, ImageCms
from skimage import data

from rnnconv_codec import batch
from rnnconv_codec.batch import Encoding, Job, Outcome, Task, ThisProcess, convert, plan_jobs
from rnnconv_codec.cli.group import INTERRUPTED_STATUS, cli
from rnnconv_codec.container import FileInfo
from rnnconv_codec.processes import Processes

MODEL = ("--threads", "1", "--weights")


def run(*arguments: str | Path) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli, [str(argument) for argument in arguments])


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photos/a.png, photos/b.jpg, photos/deep/c.png and a broken file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    photograph = data.coffee()
    for index, name in enumerate(("a.png", "b.jpg", "deep/c.png")):
        left = 100 * index
        picture = Image.fromarray(photograph[100:120, left : left + 30])
        picture.save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    return tmp_path


# --- names -----------------------------------------------------------------------------------


def jobs_of(*sources: str, output_dir: str | None = None, recursive: bool = False) -> list[str]:
    folder = None if output_dir is None else Path(output_dir)
    planned = plan_jobs(
        [Path(source) for source in sources],
        ending=".rnc",
        suffixes={".png", ".jpg"},
        output_dir=folder,
        recursive=recursive,
    )
    return [f"{job.source} > {job.output}" for job in planned]


def test_outputs_are_beside_their_inputs_or_in_the_folder() -> None:
    assert jobs_of("x/a.png", "b.any") == ["x/a.png > x/a.rnc", "b.any > b.rnc"]
    assert jobs_of("x/a.png", "b.any", output_dir="out") == [
        "x/a.png > out/a.rnc",
        "b.any > out/b.rnc",
    ]


def test_inputs_that_differ_in_their_endings_keep_them() -> None:
    assert jobs_of("a.png", "a.jpg", "b.png", "a.png") == [
        "a.png > a.png.rnc",
        "a.jpg > a.jpg.rnc",
        "b.png > b.rnc",
    ]


def test_folders_keep_their_structure_and_give_images_only(folder: Path) -> None:
    (folder / "photos" / ".hidden").mkdir()
    (folder / "photos" / ".hidden" / "x.png").touch()
    (folder / "photos" / ".y.png").touch()
    assert jobs_of("photos", output_dir="out", recursive=True) == [
        "photos/a.png > out/a.rnc",
        "photos/b.jpg > out/b.rnc",
        "photos/broken.png > out/broken.rnc",
        "photos/deep/c.png > out/deep/c.rnc",
    ]


# --- the commands ----------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_folder_goes_there_and_back_and_the_broken_file_is_named(
    jobs: str, folder: Path, tiny_weights: Path
) -> None:
    encoded = run(
        *("encode", "photos", "-r", "--output-dir", "out", "--jobs", jobs, *MODEL, tiny_weights)
    )
    assert encoded.exit_code == 1
    assert encoded.stdout.startswith("3 files, 0.00 MP, ")
    assert encoded.stdout.endswith("1 failed\n")
    assert encoded.stderr == (
        "rnncodec: error: photos/broken.png is not an image that can be read\n"
    )
    assert names(folder / "out") == ["a.rnc", "b.rnc", "deep/c.rnc"]
    single = run("encode", "photos/a.png", "-o", "single.rnc", *MODEL, tiny_weights)
    assert single.exit_code == 0
    assert (folder / "single.rnc").read_bytes() == (folder / "out" / "a.rnc").read_bytes()

    (folder / "out" / "bad.rnc").write_bytes(b"nothing")
    decoded = run(
        *("decode", "out", "-r", "--format", "webp", "--jobs", jobs, *MODEL, tiny_weights)
    )
    assert decoded.exit_code == 1
    assert decoded.stderr == "rnncodec: error: out/bad.rnc: not an .rnc file\n"
    pictures = [name for name in names(folder / "out") if name.endswith(".webp")]
    assert pictures == ["a.webp", "b.webp", "deep/c.webp"]


def test_a_folder_is_a_failure_unless_it_is_to_be_searched(
    folder: Path, tiny_weights: Path
) -> None:
    result = run("encode", "photos", "photos/a.png", "--output-dir", "out", *MODEL, tiny_weights)
    assert result.exit_code == 1
    assert "photos is a directory: use --recursive" in result.stderr
    assert names(folder / "out") == ["a.rnc"]


def test_existing_outputs_are_failures_or_skipped_or_overwritten(
    folder: Path, tiny_weights: Path
) -> None:
    arguments = ("encode", "photos/a.png", "photos/b.jpg", *MODEL, tiny_weights)
    (folder / "photos" / "a.rnc").write_bytes(b"precious")
    first = run(*arguments)
    assert first.exit_code == 1
    assert first.stderr == "rnncodec: error: photos/a.png: photos/a.rnc exists already\n"
    skipping = run(*arguments, "--skip-existing")
    assert (skipping.exit_code, skipping.stderr) == (0, "")
    assert skipping.stdout == "0 files, 2 skipped\n"
    assert (folder / "photos" / "a.rnc").read_bytes() == b"precious"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert (folder / "photos" / "a.rnc").read_bytes() != b"precious"


def test_two_inputs_with_one_output_do_not_overwrite_each_other(
    folder: Path, tiny_weights: Path
) -> None:
    Image.new("L", (8, 8)).save(folder / "a.png")
    result = run(
        *("encode", "photos/a.png", "a.png", "--output-dir", "out", "--overwrite"),
        *(*MODEL, tiny_weights),
    )
    assert result.exit_code == 1
    assert result.stderr == (
        "rnncodec: error: a.png: out/a.png.rnc is the output of photos/a.png already\n"
    )
    with_picture = json.loads(run("info", "out/a.png.rnc", "--json").stdout)
    assert (with_picture["width"], with_picture["height"]) == (30, 20)


def test_there_is_a_json_line_per_file(folder: Path, tiny_weights: Path) -> None:
    Image.new("CMYK", (8, 8)).save(folder / "photos" / "ink.tif")
    result = run("encode", "photos", "-r", "--json", *MODEL, tiny_weights)
    lines = {found["input"]: found for found in map(json.loads, result.stdout.splitlines())}
    assert set(lines) == {
        "photos/a.png",
        "photos/b.jpg",
        "photos/broken.png",
        "photos/deep/c.png",
        "photos/ink.tif",
    }
    good = lines["photos/a.png"]
    size = (folder / "photos" / "a.rnc").stat().st_size
    assert good["status"] == "done"
    assert (good["output"], good["width"], good["height"]) == ("photos/a.rnc", 30, 20)
    assert (good["rnc_bytes"], good["bpp"]) == (size, pytest.approx(size * 8 / 600))
    assert good["notices"] == []
    assert lines["photos/broken.png"]["status"] == "failed"
    assert "not an image" in lines["photos/broken.png"]["error"]
    assert len(lines["photos/ink.tif"]["notices"]) == 1
    assert "rnncodec: notice: photos/ink.tif: CMYK" in result.stderr


def test_quiet_leaves_out_the_summary(folder: Path, tiny_weights: Path) -> None:
    result = run("encode", "photos/a.png", "photos/b.jpg", "-q", *MODEL, tiny_weights)
    assert (result.exit_code, result.output) == (0, "")


def test_missing_weights_are_one_error_and_not_one_for_each_file(folder: Path) -> None:
    result = run("encode", "photos", "-r", "--weights", "missing")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert names(folder / "photos") == ["a.png", "b.jpg", "broken.png", "deep/c.png", "notes.txt"]


# --- a hundred files of all kinds ------------------------------------------------------------


def kinds() -> dict[str, Image.Image]:
    """Pictures of every kind that comes back, by the name of a file of that kind."""
    colour = Image.fromarray(data.astronaut()[:40, 200:250])
    alpha = Image.linear_gradient("L").resize(colour.size)
    rgba, grey_alpha = colour.convert("RGBA"), colour.convert("LA")
    rgba.putalpha(alpha)
    grey_alpha.putalpha(alpha)
    return {
        "rgb.png": colour,
        "rgb.jpg": colour,
        "grey.png": colour.convert("L"),
        "grey.jpg": colour.convert("L"),
        "palette.png": colour.convert("P"),
        "rgba.png": rgba,
        "rgba.webp": rgba,
        "la.png": grey_alpha,
        "bits.png": colour.convert("1"),
        "cmyk.tif": colour.convert("CMYK"),
        "deep.png": Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257),
    }


def test_a_hundred_mixed_files_come_back_as_they_were(folder: Path, tiny_weights: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    source = folder / "mixed"
    for index in range(100 // len(kinds()) + 1):
        (source / str(index)).mkdir(parents=True)
        for name, picture in kinds().items():
            metadata: dict[str, Any] = {"exif": exif}
            if picture.mode in ("RGB", "RGBA"):
                metadata["icc_profile"] = profile
            if name.endswith("webp"):
                metadata["lossless"] = True
            picture.save(source / str(index) / name, **metadata)
    broken = {"mixed/1/empty.png": b"", "mixed/2/text.jpg": b"text", "mixed/3/cut.png": b""}
    broken["mixed/3/cut.png"] = (source / "3" / "rgb.png").read_bytes()[:500]
    for broken_name, content in broken.items():
        (folder / broken_name).write_bytes(content)

    there = run(
        *("encode", "mixed", "-r", "--output-dir", "there", "--iterations", "1"),
        *(*MODEL, tiny_weights),
    )
    back = run("decode", "there", "-r", "--output-dir", "back", *MODEL, tiny_weights)

    errors = [line for line in there.stderr.splitlines() if line.startswith("rnncodec: error: ")]
    assert there.exit_code == 1
    assert len(errors) == len(broken)
    assert all(any(name in line for line in errors) for name in broken)
    assert (back.exit_code, back.stderr) == (0, "")
    expected = {"P": "RGB", "1": "L", "I;16": "L", "CMYK": "RGB"}
    for index in range(100 // len(kinds()) + 1):
        for name, picture in kinds().items():
            clashes = [other for other in kinds() if Path(other).stem == Path(name).stem]
            decoded_name = f"{Path(name).stem if len(clashes) == 1 else name}.png"
            with Image.open(folder / "back" / str(index) / decoded_name) as decoded:
                assert decoded.mode == expected.get(picture.mode, picture.mode)
                if not name.endswith("tif"):  # of which only what is not about the file is kept
                    assert dict(decoded.getexif()) == dict(exif)
                assert decoded.getexif()[ExifTags.Base.Make] == "Maker"
                if picture.mode in ("RGB", "RGBA"):
                    assert decoded.info["icc_profile"] == profile
                if "A" in decoded.mode:
                    alpha = decoded.getchannel("A").tobytes()
                    assert alpha == picture.getchannel("A").tobytes()


# --- processes -------------------------------------------------------------------------------


class Copying:
    """A conversion without a model; pictures with a certain content end their process."""

    def run(self, data: bytes, name: str, progress: object = None) -> batch.Result:
        if data == b"deadly":
            os._exit(9)
        if data == b"wrong":
            raise ZeroDivisionError("a bug")
        info = FileInfo(1, 1, 1, None, 1, 1, "", (), None, {}, (1,), 1, 1)  # type: ignore[arg-type]
        return batch.Result(data, info, info)


def tasks_of(*contents: bytes) -> Iterator[Task]:
    for index, content in enumerate(contents):
        yield Task(Job(Path(f"in{index}"), Path(f"out{index}")), content)


def outcomes(runner: batch.Runner, *contents: bytes) -> dict[str, Outcome]:
    found = runner.run(Copying(), tasks_of(*contents))
    return {task.name: outcome for task, outcome in found}


@pytest.mark.parametrize("runner", [ThisProcess(), Processes(2)], ids=["here", "processes"])
def test_a_fault_of_the_program_costs_one_file_only(runner: batch.Runner) -> None:
    found = outcomes(runner, b"a", b"wrong", b"b")
    assert found["in1"].error == "ZeroDivisionError: a bug"
    assert [found[name].result is not None for name in ("in0", "in2")] == [True, True]


def test_a_process_that_dies_costs_one_file_only() -> None:
    contents = [b"%d" % index for index in range(12)]
    contents[3] = contents[8] = b"deadly"
    found = outcomes(Processes(2), *contents)
    assert len(found) == len(contents)
    failed = {name for name, outcome in found.items() if outcome.result is None}
    assert failed == {"in3", "in8"}
    assert "died" in (found["in3"].error or "")
    assert multiprocessing.active_children() == []


def test_only_a_few_files_are_read_ahead() -> None:
    taken = 0

    def counted() -> Iterator[Task]:
        nonlocal taken
        for task in tasks_of(*[b"x"] * 50):
            taken += 1
            yield task

    running = Processes(2).run(Copying(), counted())
    next(running)
    assert taken <= 5
    running.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("results", [0, 1, 2, 3])
def test_no_process_is_left_when_the_work_is_given_up(results: int) -> None:
    # A result of a megabyte does not fit into a pipe: a process may be ended while it sends it.
    running = Processes(2).run(Copying(), tasks_of(*[bytes(1 << 20)] * 50))
    for _ in range(results):
        next(running)
    running.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


@pytest.mark.skipif(os.name != "posix", reason="process groups as in POSIX")
def test_no_process_outlives_the_first_one(folder: Path, tiny_weights: Path) -> None:
    running = start_batch(folder, tiny_weights, jobs="2")
    assert running.stdout is not None
    running.stdout.readline()
    running.kill()
    running.communicate(timeout=60)
    wait_for_end_of_group(running.pid)


def test_an_image_that_is_too_large_for_the_memory_is_one_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Encoding, "run", exhausted)
    assert convert(Encoding(), b"", "x").error == "not enough memory"


@pytest.mark.skipif(os.name != "posix", reason="signals as in POSIX")
@pytest.mark.parametrize(
    ("jobs", "number", "to_all"),
    [("1", signal.SIGINT, True), ("2", signal.SIGINT, True), ("2", signal.SIGTERM, False)],
)
def test_an_interrupt_leaves_whole_files_only(
    jobs: str, number: signal.Signals, to_all: bool, folder: Path, tiny_weights: Path
) -> None:
    running = start_batch(folder, tiny_weights, jobs)
    assert running.stdout is not None
    for _ in range(4):
        running.stdout.readline()
    if to_all:
        os.killpg(running.pid, number)
    else:
        running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == INTERRUPTED_STATUS
    assert [line for line in errors.splitlines() if not line.startswith("rnncodec: ")] == []
    written = names(folder / "out")
    assert 0 < len(written) < 60
    for name in written:
        assert json.loads(run("info", folder / "out" / name, "--json").stdout)["is_cut"] is False
    wait_for_end_of_group(running.pid)


def start_batch(folder: Path, weights: Path, jobs: str) -> subprocess.Popen[str]:
    """Begin to encode 60 pictures and more into out/; a JSON line per file."""
    photograph = data.coffee()
    for index in range(60):
        picture = Image.fromarray(photograph[:200, index : index + 300])
        picture.save(folder / "photos" / f"many{index:02d}.png")
    command = [sys.executable, "-m", "rnnconv_codec", "encode", "photos", "-r", "--json"]
    return subprocess.Popen(
        [*command, "--output-dir", "out", "--jobs", jobs, *MODEL, str(weights)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_end_of_group(group: int) -> None:
    deadline = time.monotonic() + 30
    while group_is_alive(group):
        assert time.monotonic() < deadline, "a worker process is left"
        time.sleep(0.05)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
