"""Kills the program at random moments, fills its disk, and looks at what is left.

    python scripts/interruptions.py [--kills 40] [--seed 1] [--only commands|training|disk]

Each job (encode, decode, many files in one process and in two, truncate) is killed `--kills` times
by SIGKILL and a quarter as often by SIGTERM and by SIGINT. Every other kill waits until the
temporary file of an output is there, so that it hits the writing; the rest comes at any time. Every
other pair of kills finds outputs that exist already. Afterwards each output must be what was there
before or the whole new file. The kills of a job share a folder, so that temporary files would pile
up; its last run may end, and must leave none.

Training is killed as often, half of it in each of two networks, and resumed each time. Its log has
a line per step, which is compared with that of a run that was never stopped.

Last, each command writes to a full disk: a small tmpfs for root, else a limit on file sizes.

Whatever must not be leaves this script with status 1. The model is the small one of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from skimage import data

from rnnconv_codec.networks.config import (
    ContextModelConfig,
    NetworkConfig,
    TodericiConfig,
)
from rnnconv_codec.targets import truncate
from rnnconv_codec.training.config import TrainingConfig, to_settings
from rnnconv_codec.training.trainer import load_state
from rnnconv_codec.weights import load_model_file

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "tests" / "golden" / "tiny.safetensors"
MODEL = ("--threads", "1", "--weights", str(WEIGHTS))

PICTURES = 3
PICTURE_SIZE = (300, 200)

OLD = b"what was there before"

TEMPORARY = ".rnncodec-"
"""What the names of temporary files begin with (`files.atomic_write`)."""

WRITING_SECONDS = 0.004
"""How long after a temporary file is seen a kill comes at most."""

END_SECONDS = 20

DISK_BYTES = 1 << 14

STEPS_PER_KILL = 16

CURVE_TOLERANCE = 2e-3
"""Largest difference in log J: moments and averages are kept in bfloat16 (docs/RELIABILITY.md)."""

SMALL_TODERICI = TodericiConfig(
    iterations=2,
    stem_channels=4,
    encoder_channels=(8, 8, 8),
    codes=8,
    decoder_channels=(8, 8, 8, 8),
    decoder_input_channels=8,
    context=ContextModelConfig(hidden_channels=8, groups=4),
)

NETWORKS: dict[str, NetworkConfig] = {
    "transform-fine": load_model_file(WEIGHTS).config,
    "joint": SMALL_TODERICI,
}
"""What is trained, by the stage that is killed: each can begin without another one."""


# --- a run, and how it is ended --------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A command line, run in a folder with a.png to c.png and their .rnc files.

    Attributes:
        name: for the table.
        arguments: of rnncodec.
        outputs: the files that it writes.
    """

    name: str
    arguments: tuple[str, ...]
    outputs: tuple[str, ...]


JOBS = (
    Job("encode", ("encode", "a.png", "-o", "out/a.rnc", *MODEL), ("out/a.rnc",)),
    Job("decode", ("decode", "a.rnc", "-o", "out/a.bmp", *MODEL), ("out/a.bmp",)),
    Job(
        "encode, 3 files",
        ("encode", "a.png", "b.png", "c.png", "--output-dir", "out", *MODEL),
        ("out/a.rnc", "out/b.rnc", "out/c.rnc"),
    ),
    Job(
        "encode, 3 files, --jobs 2",
        ("encode", "a.png", "b.png", "c.png", "--output-dir", "out", "--jobs", "2", *MODEL),
        ("out/a.rnc", "out/b.rnc", "out/c.rnc"),
    ),
    Job(
        "truncate",
        ("truncate", "a.rnc", "--iterations", "2", "-o", "out/a.rnc"),
        ("out/a.rnc",),
    ),
)


def make_folder(folder: Path) -> None:
    """Make a folder with what the jobs need."""
    (folder / "out").mkdir(parents=True)
    width, height = PICTURE_SIZE
    for index, name in enumerate("abc"[:PICTURES]):
        left = 60 * index
        picture = Image.fromarray(data.coffee()[:height, left : left + width])
        picture.save(folder / f"{name}.png")
    run(("encode", "a.png", "b.png", "c.png", *MODEL), folder)


def command(arguments: tuple[str, ...]) -> list[str]:
    """The command line in this Python."""
    return [sys.executable, "-m", "rnnconv_codec", *arguments]


def environment() -> dict[str, str]:
    """With this copy of the package, and one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(arguments: tuple[str, ...], folder: Path) -> None:
    """Run to the end; leaves this script if it fails."""
    done = subprocess.run(
        command(arguments), cwd=folder, env=environment(), capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{arguments}: status {done.returncode}\n{done.stderr}")


def start(arguments: tuple[str, ...], folder: Path) -> subprocess.Popen[bytes]:
    """Start in a process group of its own."""
    return subprocess.Popen(
        command(arguments),
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_listen,
    )


def _listen() -> None:
    """Undo what this process was started with.

    What a shell starts in the background ignores SIGINT, what nohup starts SIGHUP; and so would a
    command that is to be ended by them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def temporaries(folder: Path) -> set[str]:
    """The names of temporary files in a folder."""
    return {name for name in os.listdir(folder) if name.startswith(TEMPORARY)}  # noqa: PTH208


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        status: of the process; minus the number of the signal that ended it.
        was_writing: whether a temporary file was there when the signal was sent.
        errors: what it wrote to standard error.
        is_orphaned: whether processes of it were left.
    """

    status: int
    was_writing: bool
    errors: str
    is_orphaned: bool


def interrupt(
    running: subprocess.Popen[bytes],
    number: signal.Signals,
    moment: Callable[[], bool],
    folder: Path,
) -> Ending:
    """Send a signal to the first process as soon as `moment` says so, and wait for the end.

    `folder` is the one of its outputs.
    """
    before = temporaries(folder)
    while running.poll() is None and not moment():
        pass
    was_writing = bool(temporaries(folder) - before)
    running.send_signal(number)
    errors: bytes | None = b""
    try:
        # At the end of the pipe no process is left that could write to it.
        _, errors = running.communicate(timeout=END_SECONDS)
        is_orphaned = False
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        _, errors = running.communicate()
        is_orphaned = True
    return Ending(running.returncode, was_writing, (errors or b"").decode(), is_orphaned)


def at_any_time(seconds: float, chance: random.Random) -> Callable[[], bool]:
    """A moment at random within so many seconds from now."""
    end = time.monotonic() + chance.uniform(0, seconds)

    def is_now() -> bool:
        time.sleep(0.001)
        return time.monotonic() >= end

    return is_now


def while_writing(folder: Path, chance: random.Random) -> Callable[[], bool]:
    """A moment shortly after a temporary file came to a folder."""
    before = temporaries(folder)

    def is_now() -> bool:
        if not temporaries(folder) - before:
            return False
        time.sleep(chance.uniform(0, WRITING_SECONDS))
        return True

    return is_now


# --- commands --------------------------------------------------------------------------------


@dataclass
class Found:
    """What was left by the kills of one row of the table."""

    kills: int = 0
    outputs: Counter[str] = field(default_factory=Counter)
    interrupted_writes: int = 0
    most_temporaries: int = 0
    left_at_last: int = 0
    orphans: int = 0
    tracebacks: int = 0

    def is_bad(self, number: signal.Signals) -> bool:
        """Whether anything is there that must not be."""
        # After SIGKILL the last temporary file stays, until the next run.
        allowed = 1 if number == signal.SIGKILL else 0
        wrong = self.outputs["partial"] + self.left_at_last + self.orphans + self.tracebacks
        return wrong > 0 or self.most_temporaries > allowed


COLUMNS = (
    *("kills", "in a write", "as before", "new", "partial"),
    *("temporary files at most", "after the next run", "processes left", "tracebacks"),
)


def cells(found: Found) -> list[int]:
    """The row of the table, for `COLUMNS`."""
    kept = [found.outputs[name] for name in ("as before", "new", "partial")]
    left = [found.most_temporaries, found.left_at_last, found.orphans, found.tracebacks]
    return [found.kills, found.interrupted_writes, *kept, *left]


def kill_command(
    job: Job, folder: Path, number: signal.Signals, kills: int, chance: random.Random
) -> Found:
    """Interrupt a job this often and look at its folder each time."""
    out = folder / "out"
    for path in out.iterdir():
        path.unlink()
    began = time.monotonic()
    run(job.arguments, folder)
    seconds = time.monotonic() - began
    expected = {name: (folder / name).read_bytes() for name in job.outputs}
    found = Found()
    while found.kills < kills:
        is_there = found.kills // 2 % 2 == 0
        for name in job.outputs:
            (folder / name).unlink(missing_ok=True)
            if is_there:
                (folder / name).write_bytes(OLD)
        running = start((*job.arguments, *(["--overwrite"] if is_there else [])), folder)
        moment = (
            while_writing(out, chance) if found.kills % 2 == 0 else at_any_time(seconds, chance)
        )
        ending = interrupt(running, number, moment, out)
        if ending.status == 0:  # too late
            continue
        found.kills += 1
        for name in job.outputs:
            path = folder / name
            content = path.read_bytes() if path.exists() else None
            if content == expected[name]:
                found.outputs["new"] += 1
            elif content == (OLD if is_there else None):
                found.outputs["as before"] += 1
            else:
                found.outputs["partial"] += 1
        found.interrupted_writes += ending.was_writing
        found.most_temporaries = max(found.most_temporaries, len(temporaries(out)))
        found.orphans += ending.is_orphaned
        found.tracebacks += "Traceback" in ending.errors
    run((*job.arguments, "--overwrite"), folder)
    found.left_at_last = len(temporaries(out))
    assert {name: (folder / name).read_bytes() for name in job.outputs} == expected
    return found


# --- training --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resumed:
    """What came of a training that was killed and resumed.

    Attributes:
        kills: how often.
        steps: of the whole training.
        compared: of them, those in the log; a kill may fall between a save and its line.
        repeated: steps that were done more than once.
        largest_difference: of log J after a step from that of the run that was never stopped.
        unreadable: states that could not be read after a kill.
        most_temporaries: temporary files in its folder at any time.
        left_at_last: the same at the end.
    """

    kills: int
    steps: int
    compared: int
    repeated: int
    largest_difference: float
    unreadable: int
    most_temporaries: int
    left_at_last: int

    def cells(self) -> list[int | str]:
        """The row of the table, for `TRAINING_COLUMNS`."""
        steps = [self.kills, self.steps, self.compared, self.repeated]
        left = [self.unreadable, self.most_temporaries, self.left_at_last]
        return [*steps, f"{self.largest_difference:.1e}", *left]

    @property
    def is_bad(self) -> bool:
        """Whether anything is there that must not be."""
        piled = self.most_temporaries > 1 or self.left_at_last > 0
        lost = self.steps - self.compared > self.kills
        return self.unreadable > 0 or piled or lost or self.largest_difference > CURVE_TOLERANCE


TRAINING_COLUMNS = (
    *("kills", "steps", "compared", "repeated", "largest difference of log J"),
    *("unreadable states", "temporary files at most", "at the end"),
)


def write_config(folder: Path, stage: str, network: NetworkConfig, steps: int) -> None:
    """Write settings for a short training to config.json."""
    settings = TrainingConfig(
        *(stage, network),
        batch_size=2,
        steps=steps,
        warmup_steps=2,
        ema_decay=0.9,
        validation_crop=128,
        rate_factors={},
    )
    (folder / "config.json").write_text(json.dumps(to_settings(settings)))


def kill_training(
    stage: str, network: NetworkConfig, folder: Path, steps: int, kills: int, chance: random.Random
) -> Resumed:
    """Train twice, once undisturbed and once killed up to so often, and compare the logs.

    A fifth of the kills comes before the first save of a run, the others after it.
    """
    photographs = folder / "photographs"
    photographs.mkdir(parents=True)
    Image.fromarray(data.coffee()).save(photographs / "coffee.png")
    write_config(folder, stage, network, steps)

    def arguments(run_folder: str) -> tuple[str, ...]:
        return (
            *("train", stage, "--images", "photographs", "--validation", "photographs"),
            *("--run", run_folder, "--config", "config.json", "--threads", "1", "--quiet"),
            # After every step.
            *("--save-every", "1e-12", "--validate-every", "1e-12"),
        )

    run(arguments("whole"), folder)
    parts = folder / "parts"
    parts.mkdir()
    state = parts / f"{stage}.safetensors"
    done = unreadable = most_temporaries = 0
    while done < kills:
        saved = _inode(state)
        running = start(arguments("parts"), folder)
        while done % 5 and running.poll() is None and _inode(state) == saved:
            time.sleep(0.001)
        moment = while_writing(parts, chance) if done % 2 else at_any_time(0.5, chance)
        ending = interrupt(running, signal.SIGKILL, moment, parts)
        if ending.status == 0:
            break
        assert ending.status == -signal.SIGKILL, ending.errors
        done += 1
        most_temporaries = max(most_temporaries, len(temporaries(parts)))
        if state.exists():
            try:
                load_state(state)
            except Exception:
                unreadable += 1
    run(arguments("parts"), folder)
    whole = dict(costs(folder / "whole"))
    resumed = list(costs(parts))
    compared = {step for step, _ in resumed} - {0}
    return Resumed(
        kills=done,
        steps=steps,
        compared=len(compared),
        repeated=len(resumed) - len(compared),
        largest_difference=max(abs(cost - whole[step]) for step, cost in resumed),
        unreadable=unreadable,
        most_temporaries=most_temporaries,
        left_at_last=len(temporaries(parts)),
    )


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def costs(folder: Path) -> Iterator[tuple[int, float]]:
    """Step and log J of each line of a run's log."""
    for line in (folder / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        yield entry["step"], entry["log_j"]


# --- a full disk -----------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """Make `folder` small while the block runs; yields what it is."""
    if os.geteuid() != 0:
        yield f"files of {DISK_BYTES} bytes at most"
        return
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
    try:
        yield f"tmpfs of {DISK_BYTES} bytes"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def limit_files() -> None:
    """Limit files to the size of the disk; in a process of its own, before it starts."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))


@dataclass(frozen=True)
class Overflow:
    """A command that writes more to the folder `disk` than there is room for.

    Attributes:
        name: for the table.
        arguments: of rnncodec.
        old: a file in `disk` that it is to overwrite, None if it is to write a new one.
        errors: how many it must report.
    """

    name: str
    arguments: tuple[str, ...]
    old: str | None
    errors: int = 1


OVERFLOWS = (
    Overflow("encode", ("encode", "n.png", "-o", "disk/n.rnc", "--overwrite", *MODEL), "n.rnc"),
    Overflow("decode", ("decode", "n.rnc", "-o", "disk/n.png", "--overwrite", *MODEL), "n.png"),
    Overflow(
        "decode, 2 files",
        ("decode", "n.rnc", "p.rnc", "--output-dir", "disk", "--overwrite", *MODEL),
        *("n.png", 2),
    ),
    Overflow(
        "truncate",
        ("truncate", "n.rnc", "--iterations", "2", "-o", "disk/n.rnc", "--overwrite"),
        "n.rnc",
    ),
    Overflow(
        "train",
        (
            *("train", "transform-fine", "--images", "photographs", "--validation", "photographs"),
            *("--run", "disk", "--config", "config.json", "--threads", "1", "--quiet"),
        ),
        None,
    ),
)


def fill_disk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """For each of `OVERFLOWS` its name, and what is wrong with how it ended."""
    photographs, disk = folder / "photographs", folder / "disk"
    photographs.mkdir()
    disk.mkdir()
    Image.fromarray(data.coffee()).save(photographs / "coffee.png")
    for name in "np":
        Image.effect_noise((700, 700), 90).save(folder / f"{name}.png")
    run(("encode", "n.png", "p.png", *MODEL), folder)
    smallest = truncate((folder / "n.rnc").read_bytes(), iterations=2)
    assert len(smallest) > DISK_BYTES, len(smallest)
    write_config(folder, "transform-fine", NETWORKS["transform-fine"], 1)
    for overflow in OVERFLOWS:
        with small_disk(disk) as kind:
            if overflow.old is not None:
                (disk / overflow.old).write_bytes(OLD)
            done = subprocess.run(
                command(overflow.arguments),
                cwd=folder,
                env=environment(),
                capture_output=True,
                text=True,
                preexec_fn=None if os.geteuid() == 0 else limit_files,
            )
            wrong: list[str] = []
            if done.returncode != 1:
                wrong.append(f"status {done.returncode}")
            said = [line for line in done.stderr.splitlines() if "rnncodec: error: " in line]
            if len(said) != overflow.errors or "Traceback" in done.stderr:
                wrong.append(done.stderr)
            if overflow.old is not None and (disk / overflow.old).read_bytes() != OLD:
                wrong.append("the old file is not what it was")
            if temporaries(disk):
                wrong.append("a temporary file is left")
        yield f"{overflow.name}, {kind}", wrong


# --- the table -------------------------------------------------------------------------------


def report_commands(folder: Path, kills: int, seed: int) -> bool:
    """Print what was left of killed commands; returns whether anything is bad."""
    make_folder(folder)
    print(f"| job | signal | {' | '.join(COLUMNS)} |")
    print("| --- | --- " + "| ---: " * len(COLUMNS) + "|", flush=True)
    is_bad = False
    for number, share in ((signal.SIGKILL, 1), (signal.SIGTERM, 4), (signal.SIGINT, 4)):
        for job in JOBS:
            chance = random.Random(f"{seed} {job.name} {number.name}")
            found = kill_command(job, folder, number, kills // share, chance)
            row = " | ".join(map(str, cells(found)))
            print(f"| {job.name} | {number.name} | {row} |", flush=True)
            is_bad |= found.is_bad(number)
    return is_bad


def report_training(folder: Path, kills: int, seed: int) -> bool:
    """Print what came of killed trainings; returns whether anything is bad."""
    print(f"\n| training | {' | '.join(TRAINING_COLUMNS)} |")
    print("| --- " + "| ---: " * len(TRAINING_COLUMNS) + "|", flush=True)
    is_bad = False
    for stage, network in NETWORKS.items():
        resumed = kill_training(
            *(stage, network, folder / stage),
            steps=STEPS_PER_KILL * kills // len(NETWORKS),
            kills=kills // len(NETWORKS),
            chance=random.Random(f"{seed} {stage}"),
        )
        row = " | ".join(map(str, resumed.cells()))
        print(f"| {network.preset}, {stage} | {row} |", flush=True)
        is_bad |= resumed.is_bad
    return is_bad


def report_disk(folder: Path, kills: int, seed: int) -> bool:
    """Print what came of a full disk; returns whether anything is bad."""
    print("\n| full disk | outcome |\n| --- | --- |", flush=True)
    folder.mkdir()
    is_bad = False
    for title, wrong in fill_disk(folder):
        outcome = ", ".join(wrong) or "one line per error, what was there before is there"
        print(f"| {title} | {outcome} |", flush=True)
        is_bad |= bool(wrong)
    return is_bad


PARTS = {"commands": report_commands, "training": report_training, "disk": report_disk}


def main() -> int:
    """Interrupt, count, print tables; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=PARTS, action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        outcomes = [
            report(Path(name) / part, options.kills, options.seed)
            for part, report in PARTS.items()
            if part in (options.only or PARTS)
        ]
    return 1 if any(outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
