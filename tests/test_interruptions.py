"""Whatever ends the program, files are whole: killed, interrupted, out of room.

A sample of what `scripts/interruptions.py` tries; the whole of it is in docs/RELIABILITY.md.
"""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits as in POSIX")

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "interruptions.py"

SEED = 7

STUCK = """
import sys
from pathlib import Path
from rnnconv_codec.files import atomic_write

def parts():
    yield b"the beginning"
    print("begun", flush=True)
    sys.stdin.read()
    yield b", and the end"

atomic_write(Path("out") / "a", parts(), force=False)
"""


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What the script defines."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(scope="module")
def folder(script: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and their files."""
    folder = tmp_path_factory.mktemp("interruptions") / "folder"
    script["make_folder"](folder)
    return folder


def job(script: dict[str, Any], name: str) -> Any:
    return next(job for job in script["JOBS"] if job.name == name)


@pytest.mark.parametrize(
    ("name", "number", "kills"),
    [
        ("truncate", signal.SIGKILL, 4),
        ("encode", signal.SIGKILL, 2),
        ("encode, 3 files, --jobs 2", signal.SIGKILL, 2),
        ("encode", signal.SIGTERM, 2),
        ("truncate", signal.SIGHUP, 2),
    ],
)
def test_what_ends_a_command_leaves_the_old_file_or_the_new_one(
    name: str, number: signal.Signals, kills: int, folder: Path, script: dict[str, Any]
) -> None:
    chance = random.Random(SEED)
    found = script["kill_command"](job(script, name), folder, number, kills, chance)
    assert found.kills == kills
    assert not found.is_bad(number), found


def test_training_that_is_killed_goes_on_with_the_same_curve(
    tmp_path: Path, script: dict[str, Any]
) -> None:
    network, chance = script["NETWORKS"]["joint"], random.Random(SEED)
    resumed = script["kill_training"]("joint", network, tmp_path / "run", 32, 2, chance)
    assert resumed.kills == 2
    assert not resumed.is_bad, resumed


def test_a_full_disk_is_an_error_and_nothing_is_lost(
    tmp_path: Path, script: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # by a limit on files, also for root
    outcomes = list(script["fill_disk"](tmp_path))
    assert len(outcomes) == len(script["OVERFLOWS"])
    assert [(title, wrong) for title, wrong in outcomes if wrong] == []


# --- temporary files -------------------------------------------------------------------------


def start_write(folder: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing out/a, until its input ends."""
    (folder / "out").mkdir(exist_ok=True)
    writing = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writing.stdout is not None and writing.stdout.readline() == "begun\n"
    return writing


def write(folder: Path, name: str) -> None:
    """Write out/NAME in a process of its own."""
    code = f"from rnnconv_codec.files import *; atomic_write('out/{name}', b'x', force=True)"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)},
        check=True,
    )


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed = start_write(tmp_path)
    killed.kill()
    killed.communicate()
    assert len(list((tmp_path / "out").iterdir())) == 1
    write(tmp_path, "b")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


def test_a_write_that_is_going_on_is_left_alone(tmp_path: Path) -> None:
    going_on = start_write(tmp_path)
    write(tmp_path, "b")
    going_on.communicate(timeout=60)
    assert going_on.returncode == 0
    assert (tmp_path / "out" / "a").read_bytes() == b"the beginning, and the end"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]


def test_files_of_other_machines_and_of_others_are_left_alone(tmp_path: Path) -> None:
    killed = start_write(tmp_path)
    killed.kill()
    killed.communicate()
    (ours,) = (tmp_path / "out").iterdir()
    prefix, host, token = ours.name.split("-")
    others = [
        f"{prefix}-{'0' * len(host)}-{token}",
        f"{prefix}-{token}",
        f"{ours.name}.bak",
        f"{prefix}-{host}-notes.tmp",
    ]
    for name in others:
        (tmp_path / "out" / name).write_bytes(b"mine")
    link = tmp_path / "out" / f"{prefix}-{host}-{'0' * 16}.tmp"
    (tmp_path / "precious").write_bytes(b"mine")
    link.symlink_to(tmp_path / "precious")
    fifo = tmp_path / "out" / f"{prefix}-{host}-{'1' * 16}.tmp"
    os.mkfifo(fifo)
    write(tmp_path, "b")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"b", *others, link.name, fifo.name}
    assert (tmp_path / "precious").read_bytes() == b"mine"
