"""Text to tokens, for CESQL and `expr`. One pass, linear in the text."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias

from routing.errors import InvalidFilter

#: Characters of an expression.
MAX_LENGTH = 8192
#: Digits of a number; more than any 64-bit integer or decimal of a payload has.
MAX_DIGITS = 40

Dialect: TypeAlias = Literal["cesql", "expr"]
TokenKind: TypeAlias = Literal["word", "integer", "decimal", "string", "symbol", "end"]


class Token(NamedTuple):
    """`text` is as written, but a keyword in capitals and a string without quotes and escapes."""

    kind: TokenKind
    text: str
    at: int
    end: int


KEYWORDS: Final = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"})

_BLANK = r"(?P<blank>[ \t\r\n\f\v]+)"
_STRING = r"""(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_DECIMAL = r"(?P<decimal>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]{1,4})?(?![A-Za-z0-9_]))"
_WORD = r"(?P<word>[A-Za-z0-9_]+)"
_SYMBOL = r"(?P<symbol>!=|<>|<=|>=|[=<>+\-*/%(),{more}])"
_SCANNERS: Final[dict[Dialect, re.Pattern[str]]] = {
    "cesql": re.compile("|".join((_BLANK, _STRING, _WORD, _SYMBOL.format(more=""))), re.DOTALL),
    "expr": re.compile("|".join((_BLANK, _STRING, _DECIMAL, _WORD, _SYMBOL.format(more=r".\[\]"))), re.DOTALL),
}
_HINTS: Final = {
    "==": "equality is written =",
    "&&": "write AND",
    "||": "write OR",
    "!": "write NOT, or != for unequal",
    ".": "payload fields (data.price) and decimals are read by the 'expr' dialect, not by CESQL",
    "[": "payload fields (data.tags[0]) are read by the 'expr' dialect, not by CESQL",
}


def tokens(text: str, dialect: Dialect) -> list[Token]:
    """All tokens, the last one of kind "end". Raises InvalidFilter with the place of what is no token."""
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(
            f"an expression has at most {MAX_LENGTH} characters, this one {len(text)}", position=MAX_LENGTH
        )
    found: list[Token] = []
    scan, at = _SCANNERS[dialect].match, 0
    while at < len(text):
        match = scan(text, at)
        if match is None:
            raise _no_token(text, at)
        kind, word, end = match.lastgroup, match.group(), match.end()
        if kind != "blank":
            found.append(_token(kind, word, at, end))
        at = end
    found.append(Token("end", "", len(text), len(text)))
    return found


def _token(kind: str | None, word: str, at: int, end: int) -> Token:
    match kind:
        case "string":
            # CESQL v1, 2.2: a backslash escapes the quote that the string stands in; others stay, for LIKE.
            quote = word[0]
            return Token("string", word[1:-1].replace("\\" + quote, quote), at, end)
        case "word" if word.isdigit():
            return Token("integer", word, at, end)
        case "word":
            upper = word.upper()
            return Token("word", upper if upper in KEYWORDS else word, at, end)
        case "decimal":
            return Token("decimal", word, at, end)
        case _:
            return Token("symbol", "!=" if word == "<>" else word, at, end)


def _no_token(text: str, at: int) -> InvalidFilter:
    char = text[at]
    if char in "'\"":
        return InvalidFilter(f"this string has no end: expected {char}", position=at)
    hint = _HINTS.get(text[at : at + 2]) or _HINTS.get(char)
    told = f"unexpected {char!r}" + (f": {hint}" if hint else "")
    return InvalidFilter(told, position=at)
