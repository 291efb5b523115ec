"""Tokens to a tree, for CESQL v1 and `expr`: operator precedence, bounded in depth.

From the loosest to the tightest (CESQL v1, 2.3 and 3.4): AND OR XOR (one level, grouping to the
right), comparisons, + -, * / %, LIKE and IN, NOT and -.

Read so, some texts mean other than what they seem to say: `a AND b OR c`, `NOT a = b`,
`a < b < c`, `a + b IN (c)`. A strict parser refuses them and tells how to write what was meant.
"""

from __future__ import annotations

from typing import Final, NoReturn

from routing.errors import InvalidFilter, Kind
from routing.filters.ast import (
    ARITHMETIC,
    COMPARISONS,
    Attribute,
    Binary,
    Call,
    Exists,
    In,
    InArray,
    Like,
    Literal,
    Logic,
    LogicOp,
    Node,
    Path,
    Payload,
    Unary,
    children,
)
from routing.filters.lexer import MAX_DIGITS, Dialect, Token, tokens

#: Levels of a tree: parentheses, operators whose results are operands, arguments.
MAX_DEPTH: Final = 64
_LONGEST_NAME: Final = 64
_LONGEST_QUOTE: Final = 100
_INTEGERS: Final = {"cesql": range(-(2**31), 2**31), "expr": range(-(2**63), 2**63)}
_LOGIC: Final = {"AND", "OR", "XOR"}
_VALUE: Final = "a value (an attribute, a literal, a function, or an expression in parentheses)"


def parse(text: str, dialect: Dialect, *, strict: bool = True) -> Node:
    """The tree of an expression. Raises InvalidFilter with the place and what was expected there."""
    parser = _Parser(text, dialect, strict)
    node = parser.expression()
    parser.finish()
    _check_depth(node)
    return node


class _Parser:
    def __init__(self, text: str, dialect: Dialect, strict: bool) -> None:
        self._text, self._dialect, self._strict = text, dialect, strict
        self._tokens = tokens(text, dialect)
        self._next = 0
        self._depth = 0

    # Tokens

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _at(self, *texts: str) -> bool:
        token = self._token
        return token.text in texts and token.kind in ("word", "symbol")

    def _accept(self, text: str) -> bool:
        if self._at(text):
            self._next += 1
            return True
        return False

    def _expect(self, text: str, what: str) -> Token:
        if not self._at(text):
            self._fail(f"expected {what}")
        return self._take()

    def _fail(self, expected: str, token: Token | None = None, kind: Kind = "parse") -> NoReturn:
        token = token or self._token
        found = "the end" if token.kind == "end" else self._text[token.at : token.end]
        if len(found) > _LONGEST_NAME:
            found = found[:_LONGEST_NAME] + "..."
        raise InvalidFilter(f"{expected}, found {found}", kind=kind, position=token.at)

    def _refuse(self, message: str, at: int) -> None:
        if self._strict:
            raise InvalidFilter(message, position=at)

    def _source(self, start: int, end: int) -> str:
        """Text from one place to another, as an example for a message."""
        text = " ".join(self._text[start:end].split())
        return text if len(text) <= _LONGEST_QUOTE else "..."

    def _last_end(self) -> int:
        return self._tokens[self._next - 1].end

    def finish(self) -> None:
        if self._token.kind == "end":
            return
        if self._at(")"):
            self._fail("this parenthesis was never opened: expected an operator or the end")
        self._fail("expected an operator (AND, OR, =, <, LIKE, IN, ...) or the end")

    # Rules, from the loosest operator to the tightest

    def expression(self) -> Node:
        self._descend()
        start = self._token.at
        terms, operators, places = [self._comparison()], list[Token](), [(start, self._last_end())]
        while self._at(*_LOGIC):
            operators.append(self._take())
            start = self._token.at
            terms.append(self._comparison())
            places.append((start, self._last_end()))
        self._depth -= 1
        if not operators:
            return terms[0]
        if len({token.text for token in operators}) > 1:
            self._refuse_mixed(operators, places)
        return _grouped(terms, operators)

    def _refuse_mixed(self, operators: list[Token], places: list[tuple[int, int]]) -> None:
        number = next(k for k, token in enumerate(operators) if token.text != operators[0].text)
        first, second = operators[number - 1].text, operators[number].text
        a, b, c = (self._source(*places[number + k]) for k in (-1, 0, 1))
        self._refuse(
            f"{first} and {second} are mixed without parentheses: "
            f"write ({a} {first} {b}) {second} {c}, or {a} {first} ({b} {second} {c})",
            operators[number].at,
        )

    def _comparison(self) -> Node:
        start = self._token.at
        left = self._sum()
        if not self._at(*COMPARISONS):
            return left
        operator, middle = self._take(), self._token.at
        left = Binary(operator.text, left, self._sum(), operator.at)
        while self._at(*COMPARISONS):
            second = self._take()
            a, b = self._source(start, operator.at), self._source(middle, second.at)
            last = self._token.at
            right = self._sum()
            self._refuse(
                f"comparisons do not chain: write {a} {operator.text} {b} AND {b} {second.text} "
                f"{self._source(last, self._last_end())}, or put what is compared first into parentheses",
                second.at,
            )
            left, operator, middle = Binary(second.text, left, right, second.at), second, last
        return left

    def _sum(self) -> Node:
        left = self._product(None)
        while self._at("+", "-"):
            operator = self._take()
            left = Binary(operator.text, left, self._product(operator), operator.at)
        return left

    def _product(self, before: Token | None) -> Node:
        left = self._matched(before)
        while self._at("*", "/", "%"):
            operator = self._take()
            left = Binary(operator.text, left, self._matched(operator), operator.at)
        return left

    def _matched(self, before: Token | None) -> Node:
        """An operand with the LIKEs and INs that follow it; `before` is the arithmetic operator in front of it."""
        start = self._token.at
        node = self._unary()
        while True:
            negated = self._at("NOT") and self._tokens[self._next + 1].text in ("LIKE", "IN")
            token = self._tokens[self._next + negated]
            if token.kind != "word" or token.text not in ("LIKE", "IN"):
                return node
            if before is not None:
                operand = self._source(start, self._last_end())
                sign, word = before.text, token.text
                self._refuse(f"{word} binds tighter than {sign}: write (... {sign} {operand}) {word} ...", token.at)
            self._next += 1 + negated
            node = self._like(node, negated, token) if token.text == "LIKE" else self._in(node, negated, token)

    def _like(self, operand: Node, negated: bool, token: Token) -> Node:
        if self._token.kind != "string":
            self._fail("expected a pattern in quotes after LIKE")
        return Like(operand, self._take().text, negated, token.at)

    def _in(self, operand: Node, negated: bool, token: Token) -> Node:
        if self._dialect == "expr" and self._is_data():
            return InArray(operand, self._payload(), negated, token.at)
        self._expect("(", "( and a list of values after IN")
        if self._at(")"):
            self._fail(f"expected {_VALUE}: a list of IN is not empty")
        return In(operand, self._list("the list"), negated, token.at)

    def _list(self, what: str) -> tuple[Node, ...]:
        """Values up to the closing parenthesis, that included."""
        items = [self.expression()]
        while self._accept(","):
            items.append(self.expression())
        self._expect(")", f", or ) to end {what}")
        return tuple(items)

    def _unary(self) -> Node:
        if not self._at("NOT", "-", "+"):
            return self._primary()
        self._descend()
        token = self._take()
        if token.text == "NOT":
            start = self._token.at
            node: Node = Unary("NOT", self._unary(), token.at)
            self._refuse_loose_not(token, start)
        else:
            node = self._signed(token)
        self._depth -= 1
        return node

    def _descend(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidFilter(f"nested deeper than {MAX_DEPTH} levels", position=self._token.at)

    def _refuse_loose_not(self, token: Token, start: int) -> None:
        following, operand = self._token, self._source(start, self._last_end())
        if following.kind not in ("word", "symbol"):
            return
        word = following.text
        if word in COMPARISONS or word in ARITHMETIC:
            self._refuse(
                f"NOT binds tighter than {word}: write NOT ({operand} {word} ...), or (NOT {operand}) {word} ...",
                token.at,
            )
        elif word in ("LIKE", "IN", "NOT"):
            what = "IN" if "IN" in (word, self._tokens[self._next + 1].text) else "LIKE"
            self._refuse(
                f"NOT binds tighter than {what}: write {operand} NOT {what} ..., or NOT ({operand} {what} ...)",
                token.at,
            )

    def _signed(self, sign: Token) -> Node:
        token = self._token
        if token.kind in ("integer", "decimal") and token.at == sign.end:
            return self._number(sign)
        if sign.text == "+":
            self._fail("expected a number right after the sign +")
        return Unary("-", self._unary(), sign.at)

    def _number(self, sign: Token | None) -> Literal:
        token = self._take()
        text, at = (token.text, token.at) if sign is None else (sign.text + token.text, sign.at)
        if len(token.text) > MAX_DIGITS:
            raise InvalidFilter(f"a number has at most {MAX_DIGITS} digits", position=at)
        if token.kind == "decimal":
            value = float(text)
            if value in (float("inf"), float("-inf")):
                raise InvalidFilter("this number is too large", position=at)
            return Literal(value, at)
        number, integers = int(text), _INTEGERS[self._dialect]
        if number not in integers:
            raise InvalidFilter(f"integers are {integers[0]} to {integers[-1]}", position=at)
        return Literal(number, at)

    def _primary(self) -> Node:
        token = self._token
        if token.kind == "string":
            return Literal(self._take().text, token.at)
        if token.kind in ("integer", "decimal"):
            return self._number(None)
        if token.kind == "word":
            return self._word(token)
        if self._accept("("):
            node = self.expression()
            self._expect(")", f"an operator, or ) for the ( at position {token.at}")
            return node
        return self._fail(f"expected {_VALUE}")

    def _word(self, token: Token) -> Node:
        match token.text:
            case "TRUE" | "FALSE":
                return Literal(self._take().text == "TRUE", token.at)
            case "EXISTS":
                return self._exists()
            case "NOT" | "AND" | "OR" | "XOR" | "LIKE" | "IN":
                self._fail(f"expected {_VALUE}")
        if self._tokens[self._next + 1].text == "(" and self._tokens[self._next + 1].kind == "symbol":
            return self._call()
        if self._dialect == "expr" and self._is_data():
            return self._payload()
        return self._attribute()

    def _exists(self) -> Node:
        token = self._take()
        if self._token.kind not in ("word", "integer"):
            self._fail("expected the name of an attribute after EXISTS")
        if self._dialect == "expr" and self._is_data():
            return Exists(self._payload(), token.at)
        return Exists(self._attribute(), token.at)

    def _attribute(self) -> Attribute:
        token = self._take()
        name = token.text.lower()
        if "_" in name:
            hint = "; fields of the payload are written data." + token.text if self._dialect == "expr" else ""
            raise InvalidFilter(f"an attribute name has letters and digits, no _{hint}", position=token.at)
        if name == "data":
            self._refuse("CESQL does not read the payload: the 'expr' dialect does", token.at)
        if len(name) > _LONGEST_NAME:
            raise InvalidFilter(f"an attribute name has at most {_LONGEST_NAME} characters", position=token.at)
        if self._dialect == "expr" and self._at(".", "["):
            self._fail(f"expected an operator: fields of the payload are written data.{token.text}")
        return Attribute(name, token.at)

    def _call(self) -> Node:
        token = self._take()
        if not token.text[0].isalpha() or any(char.isdigit() for char in token.text):
            self._fail("a function name has letters and _", token)
        self._take()
        arguments = () if self._accept(")") else self._list("the arguments")
        return Call(token.text.upper(), arguments, token.at)

    # Payload paths

    def _is_data(self) -> bool:
        return self._token.kind == "word" and self._token.text.lower() == "data"

    def _payload(self) -> Payload:
        token = self._take()
        path: list[str | int] = []
        while len(path) <= MAX_DEPTH:
            if self._accept("."):
                path.append(self._key())
            elif self._accept("["):
                path.append(self._place())
            else:
                return Payload(tuple(path), token.at)
        raise InvalidFilter(f"a path has at most {MAX_DEPTH} steps", position=token.at)

    def _key(self) -> str:
        token = self._token
        if token.kind not in ("word", "integer"):
            self._fail("expected the name of a field after . (other names are written data['odd name'])")
        self._take()
        return self._text[token.at : token.end]

    def _place(self) -> str | int:
        token = self._token
        if token.kind == "string":
            step: str | int = token.text
        elif token.kind == "integer" and len(token.text) < 10:
            step = int(token.text)
        else:
            self._fail("expected a place in an array (from 0) or the name of a field in quotes after [")
        self._take()
        self._expect("]", "]")
        return step


def _grouped(terms: list[Node], operators: list[Token]) -> Node:
    """Terms joined by equal operators are one node; what follows another operator groups to the right."""
    first = operators[0]
    end = next((k for k, token in enumerate(operators) if token.text != first.text), len(operators))
    own = terms[: end + 1]
    if end < len(operators):
        own[-1] = _grouped(terms[end:], operators[end:])
    return Logic(_logic(first.text), tuple(own), first.at)


def _logic(text: str) -> LogicOp:
    return "AND" if text == "AND" else "OR" if text == "OR" else "XOR"


def _check_depth(root: Node) -> None:
    """A long chain such as 1 + 1 + 1 + ... is deep without parentheses."""
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise InvalidFilter(f"nested deeper than {MAX_DEPTH} levels", position=level[0].at)
        level = [child for node in level for child in children(node)]


__all__ = ["MAX_DEPTH", "Path", "parse"]
