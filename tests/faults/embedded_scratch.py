"""A folder in memory, for tests that open a log hundreds of times and are not about what a disk keeps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")


@contextmanager
def scratch(otherwise: Path) -> Iterator[Path]:
    """A new folder, removed at the end; in `otherwise` where there is no file system in memory."""
    base = MEMORY if os.access(MEMORY, os.W_OK) else otherwise
    with tempfile.TemporaryDirectory(prefix="linkspan-test-", dir=base) as folder:
        yield Path(folder)
