"""The data folder: one process at a time, and files that are whole or not there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.bus.embedded import folder
from gateway.bus.embedded.folder import FolderLock, make_folder, remove_folder, storage_error, write_file
from gateway.errors import BusUnavailable, DiskFull


def test_a_second_lock_on_a_folder_names_the_process_and_the_folder(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "data"), FolderLock(tmp_path / "data")
    first.acquire()
    with pytest.raises(BusUnavailable) as caught:
        second.acquire()
    assert str(os.getpid()) in caught.value.message
    assert str(tmp_path / "data") in caught.value.message
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    code = f"from gateway.bus.embedded.folder import FolderLock; from pathlib import Path; import os; \
FolderLock(Path({str(tmp_path)!r})).acquire(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusUnavailable, match=r"cannot write to the data folder .*file/data"):
        FolderLock(tmp_path / "file" / "data").acquire()


def test_a_lock_file_that_cannot_be_written_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(BusUnavailable, match="Read-only"):
        FolderLock(tmp_path).acquire()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_file(path, b"one")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_removed_with_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    (folder / "a").write_text("")
    remove_folder(folder)
    assert not folder.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_in_any_form_is_disk_full(number: int) -> None:
    assert isinstance(storage_error(OSError(number, "no room"), "append"), DiskFull)


def test_other_errors_say_what_was_tried_and_why_it_failed() -> None:
    error = storage_error(OSError(errno.EIO, "Input/output error"), "append to 't'")
    assert type(error) is BusUnavailable
    assert error.message == "append to 't': Input/output error"


def test_folders_above_are_made_too_and_their_entries_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("gateway.bus.embedded.folder.sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert synced[-2:] == [tmp_path, tmp_path / "a"]


def test_on_a_full_disk_the_lock_is_taken_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = FolderLock(tmp_path)
    lock.acquire()
    with pytest.raises(BusUnavailable, match="process unknown"):
        FolderLock(tmp_path).acquire()
    lock.release()


def test_the_name_of_a_folder_that_was_there_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(folder, "sync_folder", synced.append)
    make_folder(tmp_path)
    assert synced == [tmp_path.parent]


def test_a_folder_above_that_cannot_be_read_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder, "sync_folder", refused)
    make_folder(tmp_path / "new")
    assert (tmp_path / "new").is_dir()
