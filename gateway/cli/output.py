"""The terminal's one writer: results on stdout, everything else on stderr, and how a command ends.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 cannot connect, 4 refused by the gateway.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TextIO

DONE, FAILED, WRONG_USE, CANNOT_CONNECT, REFUSED = 0, 1, 2, 3, 4
#: What a shell reports for a command that was ended by SIGINT.
INTERRUPTED = 130

P = ParamSpec("P")

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# C0 and C1 controls: an event's data must not move the cursor, forge a line or set a title.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


class CommandError(Exception):
    """Ends a command with a message, an exit code and a stable code for `--json`.

    `told`: the code came from the gateway, and is shown to people too: documentation explains it.
    """

    def __init__(
        self,
        message: str,
        exit_code: int = FAILED,
        *,
        code: str = "failed",
        faults: Sequence[Mapping[str, Any]] = (),
        retriable: bool = False,
        told: bool = False,
    ) -> None:
        super().__init__(message)
        self.message, self.exit_code, self.code = message, exit_code, code
        self.faults, self.retriable, self.told = faults, retriable, told


def wants_color(stream: TextIO) -> bool:
    """Colours go to terminals only, and not where NO_COLOR or TERM=dumb says so."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """`text` in a style of _STYLES if the stream (stdout) shows colours, else as it is."""
    if not wants_color(stream or sys.stdout):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def visible(text: str) -> str:
    """One line of text that is safe on a terminal: control characters are shown, not sent."""
    return _CONTROL.sub(lambda found: repr(found.group())[1:-1], text)


def line(text: str = "", *, flush: bool = False) -> None:
    """A line of result."""
    sys.stdout.write(text + "\n")
    if flush:
        sys.stdout.flush()


def record(value: Any, *, flush: bool = False) -> None:
    """A line of JSON as result."""
    line(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=flush)


def note(text: str) -> None:
    """A line for the person, not for the next program in the pipe."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Progress:
    """A counter that rewrites its own line on a terminal, and is silent elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False

    def show(self, text: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{self._what}: {text}")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    """Rows in aligned columns under a head."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for index, row in enumerate((head, *rows)):
        text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        line(styled(text, "bold") if index == 0 else text)


def complain(error: CommandError, *, as_json: bool) -> None:
    """Say on stderr why a command failed."""
    if as_json:
        body: dict[str, Any] = {"code": error.code, "message": error.message}
        if error.faults:
            body["faults"] = list(error.faults)
        note(json.dumps({"error": body}, ensure_ascii=False))
        return
    code = f" ({error.code})" if error.told else ""
    note(f"{styled('error', 'red', sys.stderr)}: {visible(error.message + code)}")
    for fault in error.faults[:20]:
        where = fault.get("where")
        note(f"  {visible(f'{where}: ' if where else '')}{visible(str(fault.get('message', '')))}")


def command(function: Callable[P, int | None]) -> Callable[P, None]:
    """Give a command its ending: errors in words and the exit code, Ctrl-C and a closed pipe without noise."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs) or DONE
            sys.stdout.flush()
        except CommandError as error:
            complain(error, as_json=bool(kwargs.get("as_json")))
            code = error.exit_code
        except BrokenPipeError:
            # The reader (`| head`) has what it wanted. Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code:
            # typer.Exit would do the same; SystemExit spares the import and passes through it.
            raise SystemExit(code)

    return run
