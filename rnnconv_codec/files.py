"""Reading whole files, and writing them so that no half-written file is ever left behind."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from rnnconv_codec.errors import InputFileError, OutputExistsError, OutputFileError

if sys.platform != "win32":
    import fcntl

# The permissions asked for when a file is created; the process's umask takes its bits away.
_NEW_FILE_PERMISSIONS = 0o666
# O_BINARY exists on Windows only, where without it every 0x0A would become 0x0D 0x0A.
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_TEMPORARY_NAME_BYTES = 8
_MOST_FOLDERS_REMEMBERED = 1024


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return the whole content of the file at `path`.

    Raises `InputFileError` if it is missing, a directory, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise InputFileError(f"cannot read {os.fspath(path)}: {_reason(error)}") from error


def is_same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, however they are spelled; it need not be there."""
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    try:  # hard links, and names that differ only in case
        return first.samefile(second)
    except (OSError, ValueError):
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are missing.

    Raises `OutputFileError` if that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFileError(f"cannot make the folder {folder}: {_reason(error)}") from error


def check_output(path: str | os.PathLike[str], *, force: bool) -> None:
    """Check, before any costly work, that `atomic_write` to `path` has a chance to succeed.

    Raises `OutputExistsError` if there is a file already and `force` is not set, and
    `OutputFileError` if `path` is a directory or the folder it should go to is missing.
    Special files (devices, FIFOs) hold nothing that could be lost, so they need no `force`.
    """
    try:
        existing = _status(path)
        if existing is None:
            folder = Path(os.path.realpath(path)).parent
            if not folder.is_dir():
                raise OutputFileError(f"cannot write {os.fspath(path)}: no folder {folder}")
            return
    except (OSError, ValueError) as error:
        raise OutputFileError(f"cannot write {os.fspath(path)}: {_reason(error)}") from error
    if stat.S_ISDIR(existing.st_mode):
        raise OutputFileError(f"cannot write {os.fspath(path)}: it is a directory")
    if stat.S_ISREG(existing.st_mode) and not force:
        raise _exists_error(path)


def atomic_write(
    path: str | os.PathLike[str], data: bytes | Iterable[bytes], *, force: bool
) -> None:
    """Write `data` to `path` so that the file is either complete or not changed at all.

    `data` may come in parts, for what is too large to be in memory as a whole.

    The data go to a temporary file in the same folder, to the disk, and then to their name in
    one step. Whatever goes wrong, an interrupt included, the temporary file is removed and a
    file that was there before stays as it was. An overwritten file keeps its permissions; a
    new one gets the umask's default. A symbolic link stays, and the file it points to is
    written. Special files (`/dev/null`, a FIFO) are written directly, with or without `force`.

    A process that is killed cannot remove its temporary file. The next one that writes to the
    folder does; see `_remove_abandoned`.

    Raises `OutputExistsError` if a file is there already and `force` is not set, and
    `OutputFileError` for everything else that keeps the data from being written.
    """
    check_output(path, force=force)
    parts = (data,) if isinstance(data, bytes) else data
    try:
        existing = _status(path)
        if existing is not None and not stat.S_ISREG(existing.st_mode):
            # Renaming over a device or a FIFO would put a plain file in its place.
            with Path(path).open("wb") as stream:
                stream.writelines(parts)
            return
        permissions = None if existing is None else stat.S_IMODE(existing.st_mode)
        _write_and_rename(Path(os.path.realpath(path)), parts, permissions, force=force)
    except FileExistsError as error:
        raise _exists_error(path) from error
    except (OSError, ValueError) as error:
        raise OutputFileError(f"cannot write {os.fspath(path)}: {_reason(error)}") from error


def _write_and_rename(
    target: Path, parts: Iterable[bytes], permissions: int | None, *, force: bool
) -> None:
    _remove_abandoned(target.parent)
    # The name does not contain the target's: that could make it too long for the file system.
    token = secrets.token_hex(_TEMPORARY_NAME_BYTES)
    temporary = target.parent / f".rnncodec-{_host()}-{token}.tmp"
    try:
        with os.fdopen(_create_locked(temporary), "wb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
            if permissions is not None:
                temporary.chmod(permissions)
            if sys.platform != "win32":  # open, and so locked, until it has its name
                _move(temporary, target, force=force)
        if sys.platform == "win32":  # where an open file cannot be renamed
            _move(temporary, target, force=force)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _create_locked(temporary: Path) -> int:
    """Create a file; returns its descriptor, which holds its lock for as long as it is open."""
    while True:
        # Not tempfile.mkstemp, whose files only their owner may read.
        descriptor = os.open(temporary, _CREATE_FLAGS, _NEW_FILE_PERMISSIONS)
        if sys.platform == "win32":
            return descriptor
        # Where a file system has no locks, nothing is ever taken as abandoned.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(temporary):
            return descriptor
        # Another process found it before it was locked, and took it as abandoned.
        os.close(descriptor)


@lru_cache(_MOST_FOLDERS_REMEMBERED)
def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of processes of this machine that were killed.

    Which these are, the locks say: the system lifts those of a dead process, whatever killed it,
    and no other process takes its place, as it may take its number. The name of the machine is
    part of a file's, because a network file system may keep locks from other machines. Looks once
    into each folder; whatever cannot be removed, or not be locked (there are no such locks in
    Windows), stays.
    """
    if sys.platform == "win32":
        return
    name = re.compile(rf"\.rnncodec-{_host()}-[0-9a-f]{{{2 * _TEMPORARY_NAME_BYTES}}}\.tmp")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if name.fullmatch(entry.name):
                with contextlib.suppress(OSError), _locked(entry.path):
                    Path(entry.path).unlink()


if sys.platform != "win32":

    @contextlib.contextmanager
    def _locked(path: str) -> Iterator[None]:
        """Hold the lock of a plain file; raises OSError if it is none, or another one holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{path} is not a plain file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)


@lru_cache(1)
def _host() -> str:
    """A short name of this machine, of letters that every file system has."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()


def _move(temporary: Path, target: Path, *, force: bool) -> None:
    """Give the temporary file its name."""
    if force:
        temporary.replace(target)
    else:
        _move_to_free_name(temporary, target)


def _move_to_free_name(temporary: Path, target: Path) -> None:
    """Rename, but raise `FileExistsError` if another process took the name meanwhile."""
    try:
        os.link(temporary, target)  # a rename would overwrite silently, a hard link never does
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: only the check just before is left
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        temporary.replace(target)
    else:
        temporary.unlink()


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of what `path` leads to, None if there is nothing yet."""
    try:
        return Path(path).stat()
    except FileNotFoundError:
        return None


def _exists_error(path: str | os.PathLike[str]) -> OutputExistsError:
    return OutputExistsError(f"{os.fspath(path)} exists already")


def _reason(error: OSError | ValueError) -> str:
    # An OSError's own text repeats the path and the number; ValueError: a NUL in the path.
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
