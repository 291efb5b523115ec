"""Query strings, read strictly: an unknown name is an error that says which was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from urllib.parse import parse_qsl, urlencode

from gateway.errors import Fault, InvalidInput

MAX_FIELDS = 200
MAX_FAULTS = 20


class Query:
    """The parameters of one request. Everything raises InvalidInput, naming the parameter."""

    def __init__(self, text: str, known: Iterable[str], repeated: Iterable[str] = ()) -> None:
        self.pairs = _pairs(text)
        many = set(repeated)
        names = [*known, *many]
        seen: dict[str, list[str]] = {}
        for name, value in self.pairs:
            seen.setdefault(name, []).append(value)
        unknown = [name for name in seen if name not in names]
        faults = [Fault(name[:80], _unknown(name, names)) for name in unknown[:MAX_FAULTS]]
        faults += [
            Fault(name, "is given twice") for name, values in seen.items() if len(values) > 1 and name not in many
        ]
        faults += [
            Fault(name, "is empty: give it a value, or leave it out")
            for name, values in seen.items()
            if "" in values and name in names
        ]
        if faults:
            raise InvalidInput(
                f"query parameter {faults[0].where!r} {faults[0].message}", faults=tuple(faults[:MAX_FAULTS])
            )
        self._values = seen

    def get(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def number(self, name: str, most: int) -> int | None:
        """A whole number from 1 to `most`; None when it is not given."""
        text = self.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and 1 <= int(text) <= most):
            raise query_fault(name, f"takes a whole number from 1 to {most}, not {text[:40]!r}")
        return int(text)

    def replaced(self, name: str, value: str) -> str:
        """The query string with `name` set to `value`."""
        pairs = [pair for pair in self.pairs if pair[0] != name]
        return urlencode([*pairs, (name, value)], safe="/*:")


def query_fault(name: str, message: str) -> InvalidInput:
    """The error for one parameter."""
    return InvalidInput(f"query parameter {name!r} {message}", faults=(Fault(name, message),))


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeError:
        raise InvalidInput("the query is not UTF-8 in percent-encoding") from None
    except ValueError:
        raise InvalidInput(f"the query has more than {MAX_FIELDS} parameters") from None


def _unknown(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, 1, 0.6)
    if close:
        return f"is unknown; {close[0]!r} was meant?"
    return (
        f"is unknown; there {'is' if len(names) == 1 else 'are'} {', '.join(sorted(names))}" if names else "is unknown"
    )
