"""The data folder: its lock, and how files get into it so that a power cut keeps them."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path

import structlog

from gateway.errors import BusUnavailable, DiskFull

log = structlog.get_logger("linkspan.log")

#: Ends the name of a file that is being written; found when a folder is opened, it is removed.
UNFINISHED = ".new"
#: Begins the name of a topic's folder that is being made or removed; no topic's name does.
TEMPORARY = "~"
#: Errors that mean "no room": the disk, a quota, or the process's file size limit.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def storage_error(error: OSError, doing: str) -> BusUnavailable:
    """Translate what the operating system said; DiskFull where room is what lacks."""
    reason = error.strerror or type(error).__name__
    if error.errno in NO_ROOM:
        return DiskFull(f"{doing}: no room on the disk ({reason})")
    return BusUnavailable(f"{doing}: {reason}")


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably, if they are not there.

    One that is there may have been made by hand a moment ago, or by a start that was killed before
    its name was durable: so the name is synced all the same.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
    try:
        sync_folder(path.parent)
    except PermissionError as error:
        log.warning("the folder above cannot be synced", folder=str(path.parent), reason=error.strerror)


def write_file(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all, durably: a new file, fsync, rename, fsync of the folder."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    except OSError:
        os.unlink(fresh)
        raise
    finally:
        os.close(fd)
    os.rename(fresh, path)
    sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a flat folder and the files in it."""
    for entry in sorted(path.iterdir()):
        entry.unlink()
    path.rmdir()


class FolderLock:
    """Keeps a second process out. Released by the operating system when this one dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "lock"
        self._fd = -1

    def acquire(self) -> None:
        """Create the folder if need be and take the lock.

        Raises BusUnavailable when another process holds it (with its pid) or when the
        folder cannot be written.
        """
        try:
            make_folder(self._folder)
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise storage_error(error, f"cannot write to the data folder {self._folder}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sign(fd)
        except BlockingIOError as error:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise BusUnavailable(
                f"the data folder {self._folder} is in use by process {holder or 'unknown'}", path=str(self._folder)
            ) from error
        except OSError as error:
            os.close(fd)
            raise storage_error(error, f"cannot write to the data folder {self._folder}") from error
        self._fd = fd

    @staticmethod
    def _sign(fd: int) -> None:
        os.ftruncate(fd, 0)
        try:
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            # On a full disk the log still has to start: retention may be what makes room.
            if error.errno not in NO_ROOM:
                raise
            log.warning("no room to note who holds the lock", reason=error.strerror)

    def release(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
