"""From the text of a .proto file to descriptors, by `protoc` as grpcio-tools brings it.

It is run as a program of its own, in a folder that holds nothing else: whatever it does with a
hostile text, it does it there, within a time. Takes some 50 ms; call it in a worker thread.
"""

from __future__ import annotations

import re
import subprocess
import sys
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from routing.schemas.schema import InvalidSchema, short

#: Seconds that it may take.
TIMEOUT = 10.0
_NAME = "schema.proto"
_ERROR = re.compile(rf"^{re.escape(_NAME)}:\s*(.+)$", re.MULTILINE)
#: What a .proto file has and base64 has not.
_MARKS = frozenset('{};="')


def is_source(text: str) -> bool:
    """Whether this is the text of a .proto file, and not descriptors in base64."""
    return not _MARKS.isdisjoint(text.rstrip("=\r\n "))


def descriptors_of(text: str) -> str:
    """A FileDescriptorSet in base64, of a .proto file or of such a set itself.

    Imports are the well-known types alone. Raises InvalidSchema with the line of the text.
    """
    if not is_source(text):
        return text.strip()
    if find_spec("grpc_tools") is None:
        raise InvalidSchema("the text of .proto files needs grpcio-tools; a FileDescriptorSet in base64 does not")
    with TemporaryDirectory(prefix="linkspan-protoc-") as folder:
        (Path(folder) / _NAME).write_text(text, encoding="utf-8")
        done = _run(folder)
        if done.returncode != 0:
            raise InvalidSchema(short(_told(done.stderr)))
        return b64encode((Path(folder) / "out").read_bytes()).decode()


def set_of(descriptors: str) -> bytes:
    """The bytes of descriptors in base64. Raises InvalidSchema."""
    try:
        return b64decode("".join(descriptors.split()), validate=True)
    except (Base64Error, ValueError):
        raise InvalidSchema("is neither the text of a .proto file nor a FileDescriptorSet in base64") from None


def _run(folder: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "grpc_tools.protoc", "-I.", "--include_imports",
        f"--descriptor_set_out={folder}/out", _NAME,
    ]  # fmt: skip
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise InvalidSchema(f"takes longer than {TIMEOUT:g} s to compile") from None


def _told(stderr: str) -> str:
    """Its errors, as places in the text."""
    found = [line for line in _ERROR.findall(stderr) if "warning:" not in line]
    return "; ".join(f"line {line}" if line[0].isdigit() else line for line in found[:5]) or stderr[-200:]
