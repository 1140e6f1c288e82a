"""The same work on a Dask cluster: a real scheduler, and real workers, one of which dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from skimage import data

from rnnconv_codec.cli.group import cli

distributed = pytest.importorskip("distributed")

FILES = 16
START_SECONDS = 90


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `dask` with these arguments, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with photographs and a broken file in photos/."""
    (tmp_path / "photos").mkdir()
    photograph = data.coffee()
    for index in range(FILES):
        picture = Image.fromarray(photograph[:160, 10 * index : 10 * index + 200])
        picture.save(tmp_path / "photos" / f"{index:02d}.png")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    return tmp_path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler's address and its two workers."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    processes = [start(tmp_path, "scheduler", "--host", "127.0.0.1", "--port", str(port))]
    try:
        for _ in range(2):
            processes.append(start(tmp_path, "worker", address, "--no-nanny", "--nthreads", "1"))
        with distributed.Client(address, timeout=START_SECONDS) as client:
            client.wait_for_workers(2, timeout=START_SECONDS)
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_a_worker_that_is_killed_loses_no_file(
    folder: Path,
    cluster: tuple[str, list[subprocess.Popen[bytes]]],
    tiny_weights: Path,
) -> None:
    address, workers = cluster
    encoding = subprocess.Popen(
        [
            *(sys.executable, "-m", "rnnconv_codec", "encode", "photos", "--recursive", "--json"),
            *("--output-dir", "out", "--dask", address, "--threads", "1"),
            *("--weights", str(tiny_weights)),
        ],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert encoding.stdout is not None
    first = [encoding.stdout.readline() for _ in range(3)]
    workers[0].send_signal(signal.SIGKILL)
    rest, errors = encoding.communicate(timeout=START_SECONDS)

    reports = [json.loads(line) for line in [*first, *rest.splitlines()]]
    assert encoding.returncode == 1
    assert errors == "rnncodec: error: photos/broken.png is not an image that can be read\n"
    assert {r["input"] for r in reports if r["status"] == "failed"} == {"photos/broken.png"}
    assert len(reports) == FILES + 1
    assert workers[0].wait() == -signal.SIGKILL

    local = CliRunner(catch_exceptions=False).invoke(
        cli,
        [
            *("encode", str(folder / "photos"), "-r", "--output-dir", str(folder / "local"), "-q"),
            *("--threads", "1", "--weights", str(tiny_weights)),
        ],
    )
    assert local.exit_code == 1
    for index in range(FILES):
        name = f"{index:02d}.rnc"
        assert (folder / "out" / name).read_bytes() == (folder / "local" / name).read_bytes()

    pictures = folder / "pictures"
    decoded = subprocess.run(
        [
            *(sys.executable, "-m", "rnnconv_codec", "decode", "out", "-r", "--dask", address),
            *("--output-dir", str(pictures), "--threads", "1", "--weights", str(tiny_weights)),
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert decoded.stdout.startswith(f"{FILES} files, ")
    assert len(list(pictures.glob("*.png"))) == FILES


def test_a_scheduler_that_is_not_there_is_a_clear_error(
    folder: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnconv_codec import cluster

    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    started = time.monotonic()
    result = CliRunner(catch_exceptions=False).invoke(
        cli, ["encode", str(folder / "photos"), "-r", "--dask", address, "-q"]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"rnncodec: error: no Dask scheduler at {address}")
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - started < START_SECONDS


def test_without_dask_the_error_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = CliRunner(catch_exceptions=False).invoke(
        cli, ["encode", str(folder / "photos"), "-r", "--dask", "tcp://127.0.0.1:1"]
    )
    assert result.exit_code == 1
    assert "rnnconv-codec[dask]" in result.stderr


def test_jobs_and_dask_are_wrong_usage(folder: Path) -> None:
    result = CliRunner(catch_exceptions=False).invoke(
        cli, ["encode", str(folder), "-r", "--dask", "tcp://127.0.0.1:1", "--jobs", "2"]
    )
    assert result.exit_code == 2
