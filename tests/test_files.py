"""Files are read whole, and written completely or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from rnnconv_codec.errors import InputFileError, OutputExistsError, OutputFileError
from rnnconv_codec.files import atomic_write, check_output, read_file

OLD = b"what was there before"
NEW = b"\x00\r\n\xffwhat is written now"


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- reading ---------------------------------------------------------------------------------


def test_read_file_returns_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(NEW)
    assert read_file(path) == NEW
    assert read_file(str(path)) == NEW


@pytest.mark.parametrize("name", ["missing", ".", "nul\0inside", "x" * 5000])
def test_a_path_that_cannot_be_read_is_an_input_file_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputFileError, match="cannot read"):
        read_file(tmp_path / name)


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
def test_a_new_file_is_written_and_nothing_else_is_left(tmp_path: Path, force: bool) -> None:
    atomic_write(tmp_path / "out", NEW, force=force)
    assert (tmp_path / "out").read_bytes() == NEW
    assert names(tmp_path) == ["out"]


def test_a_path_may_be_relative_and_a_string(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    atomic_write("out", NEW, force=False)
    assert Path("out").read_bytes() == NEW


def test_the_longest_name_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    atomic_write(path, NEW, force=False)
    assert path.read_bytes() == NEW


def test_without_force_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(OLD)
    with pytest.raises(OutputExistsError, match="exists"):
        atomic_write(path, NEW, force=False)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["out"]


def test_with_force_an_existing_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(OLD)
    atomic_write(path, NEW, force=True)
    assert path.read_bytes() == NEW
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_a_new_file_gets_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        atomic_write(tmp_path / "out", NEW, force=False)
    finally:
        os.umask(before)
    assert permissions(tmp_path / "out") == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_an_overwritten_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out"
    path.write_bytes(OLD)
    path.chmod(mode)
    atomic_write(path, NEW, force=True)
    assert permissions(path) == mode


@pytest.mark.parametrize(("owner", "step"), [(os, "fsync"), (Path, "chmod"), (Path, "replace")])
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(28, "No space left on device"), OutputFileError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
    ],
)
def test_a_failure_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    step: str,
    raised: BaseException,
    expected: type[BaseException],
) -> None:
    path = tmp_path / "out"
    path.write_bytes(OLD)

    def fail(*_args: object) -> NoReturn:
        raise raised

    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(expected):
        atomic_write(path, NEW, force=True)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["out"]


def test_a_failure_without_an_old_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "out", NEW, force=False)
    assert names(tmp_path) == []


def test_the_data_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        seen.append(((tmp_path / "out").exists(), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    atomic_write(tmp_path / "out", NEW, force=False)
    assert seen == [(False, len(NEW))]


def test_a_file_that_appears_during_the_write_is_not_overwritten_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    monkeypatch.setattr(os, "fsync", lambda _descriptor: path.write_bytes(OLD))
    with pytest.raises(OutputExistsError):
        atomic_write(path, NEW, force=False)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == ["out"]


def test_a_file_system_without_hard_links_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    atomic_write(tmp_path / "out", NEW, force=False)
    assert (tmp_path / "out").read_bytes() == NEW
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["", "missing/out", "plain/out", "nul\0inside", "x" * 5000])
def test_a_path_that_cannot_be_written_is_an_output_file_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_bytes(OLD)
    with pytest.raises(OutputFileError, match="cannot write"):
        atomic_write(tmp_path / name, NEW, force=True)
    assert names(tmp_path) == ["plain"]


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    atomic_write(link, NEW, force=True)
    assert link.is_symlink()
    assert target.read_bytes() == NEW


def test_a_symbolic_link_to_nothing_yet_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    atomic_write(link, NEW, force=False)
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == NEW


def test_the_null_device_is_written_and_stays_a_device() -> None:
    atomic_write(os.devnull, NEW, force=False)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_fifo_gets_the_data_and_stays_a_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    reader.start()
    atomic_write(path, NEW, force=False)
    reader.join(timeout=10)
    assert received == [NEW]
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_that_takes_nothing_is_an_output_file_error() -> None:
    with pytest.raises(OutputFileError, match="No space left"):
        atomic_write("/dev/full", NEW, force=True)


# --- the check before costly work ------------------------------------------------------------


def test_check_output_agrees_with_atomic_write_and_writes_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(OLD)
    check_output(tmp_path / "new", force=False)
    check_output(old, force=True)
    check_output(os.devnull, force=False)
    with pytest.raises(OutputExistsError):
        check_output(old, force=False)
    with pytest.raises(OutputFileError, match="directory"):
        check_output(tmp_path, force=True)
    with pytest.raises(OutputFileError, match="no folder"):
        check_output(tmp_path / "missing" / "out", force=True)
    assert names(tmp_path) == ["old"]
    assert old.read_bytes() == OLD
