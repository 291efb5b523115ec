"""A file system that forgets what was not synced, as a disk does when the power is cut.

Run as a process of its own (`python -m tests.faults.forgetful_fs MOUNTPOINT`); `ForgetfulDisk` starts it
and speaks with it. It keeps two states of everything, the one that programs see and the durable one:

    fsync, fdatasync of a file     makes its written blocks and its size durable, not its name
    fsync of a folder              makes the names in it durable: new, renamed and removed ones

which is all that POSIX promises; real file systems do more. `cut` freezes it (every call fails with EIO), `on`
brings it back with the durable state alone, or with a seed with whatever part of the rest may have reached
the disk by chance: any of the blocks (as when the kernel wrote back in its own order), and of each folder's
changes the first few (as a journal does). `break_syncs` makes syncs fail as on Linux: the error is told once,
and the blocks count as clean although they never reached the disk.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

BLOCK = 4096
ROOT = Path(__file__).resolve().parent.parent.parent


class File:
    """What programs see, what is durable, and the numbers of the blocks that differ."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        self.dirty: set[int] = set()
        #: The least size since the last sync: what was cut off and written anew is no old data.
        self._least = 0

    def write(self, data: bytes, offset: int) -> None:
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.dirty.update(range(offset // BLOCK, (offset + len(data) - 1) // BLOCK + 1))

    def truncate(self, size: int) -> None:
        if size < len(self.data):
            del self.data[size:]
            self._least = min(self._least, size)
            if size % BLOCK:
                self.dirty.add(size // BLOCK)
        else:
            self.data.extend(bytes(size - len(self.data)))

    def sync(self) -> None:
        self._keep(len(self.data), self.dirty)
        self.dirty.clear()
        self._least = len(self.data)

    def forget(self, chance: random.Random | None) -> None:
        """Only what is durable stays; with `chance`, and any part of the rest."""
        if chance is not None:
            size = chance.choice((len(self.data), len(self.durable)))
            self._keep(size, {block for block in sorted(self.dirty) if chance.random() < 0.5})
        self.data = bytearray(self.durable)
        self.dirty.clear()
        self._least = len(self.data)

    def _keep(self, size: int, blocks: set[int]) -> None:
        del self.durable[min(self._least, size) :]
        self.durable.extend(bytes(size - len(self.durable)))
        for block in blocks:
            part = slice(block * BLOCK, min((block + 1) * BLOCK, size))
            if part.start < part.stop:
                self.durable[part] = self.data[part].ljust(part.stop - part.start, b"\0")


class Folder:
    """Names now, durable names, and the steps between them."""

    def __init__(self) -> None:
        self.names: dict[str, Node] = {}
        self._durable: dict[str, Node] = {}
        self._steps: list[dict[str, Node]] = []

    def changed(self) -> None:
        self._steps.append(dict(self.names))

    def sync(self) -> None:
        self._durable = dict(self.names)
        self._steps.clear()

    def forget(self, chance: random.Random | None) -> None:
        self.names = dict(self._durable if chance is None else chance.choice([self._durable, *self._steps]))
        self.sync()
        for name in sorted(self.names):
            self.names[name].forget(chance)


Node: TypeAlias = File | Folder


class Forgetful:
    """The operations that libfuse calls (one at a time), and the commands of the one who holds the switch."""

    use_ns = True

    def __init__(self) -> None:
        self._root = Folder()
        self._open: dict[int, Node] = {}
        self._handles = itertools.count(1)
        self._off = False
        self._broken_syncs = 0
        self._lock = threading.Lock()

    # The switch

    def command(self, words: list[str]) -> str:
        with self._lock:
            match words:
                case ["cut"]:
                    self._off = True
                case ["on"] | ["on", _]:
                    chance = random.Random(int(words[1])) if len(words) > 1 else None
                    self._root.forget(chance)
                    self._open.clear()
                    self._off, self._broken_syncs = False, 0
                case ["break", count]:
                    self._broken_syncs = int(count)
                case _:
                    return f"unknown command {words}"
        return "done"

    # Names

    def _find(self, path: str) -> Node:
        if self._off:
            raise OSError(errno.EIO, "the power is off")
        node: Node = self._root
        for name in path.split("/"):
            if name:
                if not isinstance(node, Folder):
                    raise OSError(errno.ENOTDIR, path)
                if name not in node.names:
                    raise OSError(errno.ENOENT, path)
                node = node.names[name]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        if not isinstance(folder, Folder):
            raise OSError(errno.ENOTDIR, path)
        return folder, name

    def _handle(self, node: Node) -> int:
        handle = next(self._handles)
        self._open[handle] = node
        return handle

    def _file(self, path: str | None, handle: int | None) -> File:
        if self._off:
            raise OSError(errno.EIO, "the power is off")
        node = self._open.get(handle) if handle is not None else None
        if node is None:
            if path is None:
                raise OSError(errno.EIO, "opened before the power was cut")
            node = self._find(path)
        if not isinstance(node, File):
            raise OSError(errno.EISDIR, path)
        return node

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        with self._lock:
            node = self._open.get(fh) if fh is not None and not self._off else None
            if node is None:
                node = self._find(path or "")
            size = len(node.data) if isinstance(node, File) else 0
            mode = stat.S_IFREG | 0o640 if isinstance(node, File) else stat.S_IFDIR | 0o750
            return {
                "st_mode": mode,
                "st_nlink": 1,
                "st_size": size,
                "st_blocks": -(-size // 512),
                "st_uid": os.getuid(),
                "st_gid": os.getgid(),
            }

    def readdir(self, path: str, fh: int) -> list[str]:
        with self._lock:
            folder = self._find(path)
            return [".", "..", *(folder.names if isinstance(folder, Folder) else ())]

    def create(self, path: str, mode: int) -> int:
        with self._lock:
            folder, name = self._parent(path)
            file = folder.names[name] = File()
            folder.changed()
            return self._handle(file)

    def mkdir(self, path: str, mode: int) -> int:
        with self._lock:
            folder, name = self._parent(path)
            if name in folder.names:
                raise OSError(errno.EEXIST, path)
            folder.names[name] = Folder()
            folder.changed()
            return 0

    def unlink(self, path: str) -> int:
        with self._lock:
            folder, name = self._parent(path)
            self._find(path)
            del folder.names[name]
            folder.changed()
            return 0

    def rmdir(self, path: str) -> int:
        with self._lock:
            node = self._find(path)
            if isinstance(node, Folder) and node.names:
                raise OSError(errno.ENOTEMPTY, path)
            folder, name = self._parent(path)
            del folder.names[name]
            folder.changed()
            return 0

    def rename(self, old: str, new: str) -> int:
        with self._lock:
            source, name = self._parent(old)
            target, fresh = self._parent(new)
            replaced = target.names.get(fresh)
            if isinstance(replaced, Folder) and replaced.names:
                raise OSError(errno.ENOTEMPTY, new)
            node = self._find(old)
            del source.names[name]
            target.names[fresh] = node
            for folder in {id(source): source, id(target): target}.values():
                folder.changed()
            return 0

    # Contents

    def open(self, path: str, flags: int) -> int:
        with self._lock:
            return self._handle(self._find(path))

    def opendir(self, path: str) -> int:
        with self._lock:
            return self._handle(self._find(path))

    def release(self, path: str | None, fh: int) -> int:
        with self._lock:
            self._open.pop(fh, None)
            return 0

    def releasedir(self, path: str | None, fh: int) -> int:
        return self.release(path, fh)

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        with self._lock:
            return bytes(self._file(path, fh).data[offset : offset + size])

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        with self._lock:
            self._file(path, fh).write(data, offset)
            return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        with self._lock:
            self._file(path, fh).truncate(length)
            return 0

    def fallocate(self, path: str | None, mode: int, offset: int, size: int, fh: int) -> int:
        with self._lock:
            file = self._file(path, fh)
            file.truncate(max(len(file.data), offset + size))
            return 0

    def fsync(self, path: str | None, datasync: int, fh: int) -> int:
        with self._lock:
            file = self._file(path, fh)
            if self._broken_syncs:
                self._broken_syncs -= 1
                file.dirty.clear()
                raise OSError(errno.EIO, "the sync failed")
            file.sync()
            return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        with self._lock:
            folder = self._find(path)
            if isinstance(folder, Folder):
                folder.sync()
            return 0

    def chmod(self, path: str, mode: int) -> int:
        return 0

    def utimens(self, path: str, times: object = None) -> int:
        return 0

    def init(self, path: str) -> None:
        threading.Thread(target=self._obey, name="switch", daemon=True).start()

    def _obey(self) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for line in sys.stdin:
            sys.stdout.write(self.command(line.split()) + "\n")
            sys.stdout.flush()


class ForgetfulDisk:
    """A mounted `Forgetful` in a process of its own. Use as a context manager."""

    def __init__(self, mountpoint: Path) -> None:
        self.path = mountpoint

    @staticmethod
    def lacking() -> str | None:
        """Why there can be none here, with what brings it; None when there can."""
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "no access to /dev/fuse: run as root, or load the module with `modprobe fuse`"
        if shutil.which("fusermount3") is None:
            return "fusermount3 is missing: apt-get install fuse3"
        return None

    def __enter__(self) -> ForgetfulDisk:
        self.path.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forgetful_fs", str(self.path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._answer() != "ready":
            raise RuntimeError("the forgetful file system did not mount")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=False, capture_output=True)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def cut(self) -> None:
        """From now on every call fails and nothing becomes durable."""
        self._say("cut")

    def on(self, seed: int | None = None) -> None:
        """The power is back: what was durable is there, and with a seed some of the rest."""
        self._say("on" if seed is None else f"on {seed}")

    def break_syncs(self, count: int) -> None:
        """The next `count` syncs of files fail."""
        self._say(f"break {count}")

    def _say(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert answer == "done", answer

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def mount(mountpoint: str) -> None:
    """Serve until it is unmounted. Nothing is cached by the kernel: it must forget as well."""
    import mfusepy

    operations: Any = type("Mounted", (Forgetful, mfusepy.Operations), {})()
    mfusepy.FUSE(
        operations, mountpoint, foreground=True, nothreads=True, direct_io=True, hard_remove=True,
        attr_timeout=0, entry_timeout=0, negative_timeout=0, ac_attr_timeout=0, fsname="forgetful",
    )  # fmt: skip


if __name__ == "__main__":
    mount(sys.argv[1])
