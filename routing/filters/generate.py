"""A tree to the text of a Python expression over the values of one event.

The text holds names and whole numbers that are made here, never anything of the expression's own
text: its literals and patterns go through a table of constants. Each value is looked at once for
the type that it nearly always has; every other case is a call that casts, or raises
EvaluationError. Attributes are variables `a0, a1, ...` (None: not there), payload fields are
`p0, p1, ...` (MISSING or None: not there).
"""

from __future__ import annotations

from typing import Any, Final

from routing.errors import InvalidFilter
from routing.filters import cast
from routing.filters.ast import (
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
    Node,
    Path,
    Payload,
    Unary,
    children,
    walk,
)
from routing.filters.cast import EvaluationError, Site, Type
from routing.filters.inference import Types, literal_form, may_be_whole
from routing.filters.lexer import Dialect
from routing.filters.like import matcher, plain, split_pattern
from routing.filters.runtime import HELPERS, OPERATIONS

#: Levels of a tree in one text: Python's own parser takes 200 parentheses.
_LEVELS: Final = 12
_LOGIC: Final = {"AND": " and ", "OR": " or ", "XOR": " ^ "}
#: CESQL v1, 3.4.4: events are valid, so these are there.
REQUIRED: Final = frozenset({"id", "source", "type", "specversion"})


_NAMES: Final[dict[Type, str]] = {"str": "a string", "num": "a number", "bool": "true or false", "time": "a time"}
_CLASSES: Final[dict[Type, str]] = {"str": "str", "int": "int", "bool": "bool"}


class Generator:
    """Makes texts that share variables, constants and helpers.

    `strict`: what is known to fail whatever the event holds is refused.
    """

    def __init__(self, dialect: Dialect, strict: bool) -> None:
        self.dialect, self._strict = dialect, strict
        self._operations = OPERATIONS[dialect]
        self.types = Types(dialect)
        self.attributes: dict[str, str] = {}
        self.paths: dict[Path, str] = {}
        #: What a text's names mean: constants here, helpers in place of Python's own functions.
        self.names: dict[str, Any] = {"__builtins__": HELPERS}
        self._texts: dict[int, str] = {}
        self._definitions: list[str] = []
        self._temporaries = 0

    # The parts of a text

    def variables(self, node: Node) -> list[str]:
        """The variables that a tree reads, attributes first."""
        found: dict[str, None] = {}
        for part in walk(node):
            if isinstance(part, Attribute):
                found[self._attribute(part)] = None
            elif isinstance(part, Payload):
                found[self._payload(part)] = None
        return sorted(found)

    def _attribute(self, node: Attribute) -> str:
        return self.attributes.setdefault(node.name, f"a{len(self.attributes)}")

    def _payload(self, node: Payload) -> str:
        return self.paths.setdefault(node.path, f"p{len(self.paths)}")

    def constant(self, value: object) -> str:
        name = f"K{len(self.names)}"
        self.names[name] = value
        return name

    def _site(self, node: Node) -> str:
        match node:
            case Attribute(name=name):
                what = f"the attribute {name}"
            case Payload():
                what = path_text(node.path)
            case Call(name=name):
                what = name
            case _:
                what = "the value"
        return self.constant(Site(node.at, what))

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"v{self._temporaries}"

    def _operation(self, name: str) -> str:
        return self._operations[name].__name__

    def definitions(self) -> str:
        """The functions that long texts were cut into."""
        return "".join(self._definitions)

    # Texts

    def text(self, node: Node) -> str:
        """The value as it is, whatever its type."""
        if id(node) not in self._texts:
            self._texts[id(node)] = self._make(node)
        return self._texts[id(node)]

    def checked(self, node: Node) -> str:
        """The value, which is there."""
        match node:
            case Attribute():
                name = self._attribute(node)
                return f"({name} if {name} is not None else present({name}, {self._site(node)}))"
            case Payload():
                name = self._payload(node)
                return (
                    f"({name} if {name} is not None and {name} is not MISSING else present({name}, {self._site(node)}))"
                )
            case _:
                return self.text(node)

    def as_type(self, node: Node, wanted: Type) -> str:
        """The value as a type. Raises InvalidFilter, if strict, for a literal that is none such."""
        known = self.types.of(node)
        if wanted == "any":
            return self.checked(node)
        if known == wanted and not isinstance(node, Literal):
            return self.text(node)
        if isinstance(node, Literal):
            return self._literal_as(node, wanted)
        if isinstance(node, Attribute | Payload):
            return self._variable_as(node, wanted)
        if self._strict and known != wanted and "time" in (known, wanted) and {known, wanted} & {"num", "bool"}:
            message = f"{_NAMES[known]} cannot be read as {_NAMES[wanted]}"
            raise InvalidFilter(message, kind="cast", position=node.at)
        return f"as_{wanted}({self.text(node)}, {self._site(node)})"

    def _literal_as(self, node: Literal, wanted: Type) -> str:
        site = Site(node.at, "the value")
        try:
            return self.constant(getattr(cast, f"as_{wanted}")(node.value, site))
        except EvaluationError as error:
            if self._strict:
                raise InvalidFilter(error.message, kind=error.kind, position=node.at) from None
        return f"as_{wanted}({self.constant(node.value)}, {self.constant(site)})"

    def _variable_as(self, node: Attribute | Payload, wanted: Type) -> str:
        name, site = self.text(node), self._site(node)
        slow = f"as_{wanted}({name}, {site})"
        if wanted == "num":
            if isinstance(node, Payload):
                return f"({name} if {name}.__class__ is float or {name}.__class__ is int else {slow})"
            number = self._temporary()
            # Attributes are mostly strings; what was read before is looked up.
            return f"({number} if ({number} := known_number({name})) is not None else {slow})"
        if wanted in _CLASSES:
            return f"({name} if {name}.__class__ is {_CLASSES[wanted]} else {slow})"
        return slow

    def _make(self, node: Node) -> str:
        text = self._make_whole(node)
        if _height(node) % _LEVELS:
            return text
        name, variables = f"f{len(self._definitions)}", ", ".join(self.variables(node))
        self._definitions.append(f"def {name}({variables}):\n    return {text}\n")
        return f"{name}({variables})"

    def _make_whole(self, node: Node) -> str:
        match node:
            case Literal(value=value):
                return self.constant(value)
            case Attribute():
                return self._attribute(node)
            case Payload():
                return self._payload(node)
            case Unary(operator="NOT"):
                return f"(not {self.as_type(node.operand, 'bool')})"
            case Unary():
                number = self.as_type(node.operand, self.types.number)
                return f"{self._operation('negate')}({number}, {self._site(node)})"
            case Logic(operator=operator, terms=terms):
                return f"({_LOGIC[operator].join(self.as_type(term, 'bool') for term in terms)})"
            case Exists():
                return self._exists(node)
            case Like():
                return self._like(node)
            case In():
                return self._in(node)
            case InArray():
                return self._in_array(node)
            case Call():
                return self._call(node)
            case Binary(operator=operator):
                if operator in ("=", "!="):
                    return self._equality(node)
                return self._ordering(node) if operator in COMPARISONS else self._arithmetic(node)

    def _exists(self, node: Exists) -> str:
        what = node.what
        if isinstance(what, Payload):
            name = self._payload(what)
            return f"({name} is not MISSING and {name} is not None)"
        name = self._attribute(what)
        return self.constant(True) if what.name in REQUIRED else f"({name} is not None)"

    def _arithmetic(self, node: Binary) -> str:
        operator, wanted = node.operator, self.types.number
        helper = self._operation(operator)
        if self.dialect == "expr":
            if operator in ("+", "-") and self.types.of(node) != "num":
                wanted = "any"  # there may be times
            elif operator == "/" and not (may_be_whole(node.left) and may_be_whole(node.right)):
                helper = "divide_exactly"
        if wanted == "any":
            self._check_summands(node)
        left, right = self.as_type(node.left, wanted), self.as_type(node.right, wanted)
        return f"{helper}({left}, {right}, {self._site(node)})"

    def _check_summands(self, node: Binary) -> None:
        for part in (node.left, node.right):
            if (
                isinstance(part, Literal)
                and isinstance(part.value, str)
                and "time"
                not in (
                    self.types.of(node.left),
                    self.types.of(node.right),
                )
            ):
                self._literal_as(part, "num")

    def _equality(self, node: Binary) -> str:
        left, right = node.left, node.right
        operator = "==" if node.operator == "=" else "!="
        types = self.types.of(left), self.types.of(right)
        if "time" in types:
            return f"({self.as_type(left, 'time')} {operator} {self.as_type(right, 'time')})"
        if types[1] != "any" and (types[0] != "any" or self.dialect == "cesql" or isinstance(left, Attribute)):
            return f"({self.as_type(left, types[1])} {operator} {self.as_type(right, types[1])})"
        return self._dynamic_equality(node, operator, types[1])

    def _dynamic_equality(self, node: Binary, operator: str, right: Type) -> str:
        """The types show when the values are there (a payload's may be a time, by its format)."""
        negation = "not " if operator == "!=" else ""
        x, y = self.checked(node.left), self.checked(node.right)
        slow = f"{negation}{self._operation('equal')}({x}, {y}, {self._site(node.left)})"
        if not isinstance(node.left, Attribute | Payload) or not isinstance(node.right, Attribute | Payload | Literal):
            return f"({slow})"
        x, y = self.text(node.left), self.text(node.right)
        if right == "any":
            return f"({x} {operator} {y} if {x}.__class__ is {y}.__class__ is str else {slow})"
        if right == "num":
            return f"({x} {operator} {y} if {x}.__class__ is float or {x}.__class__ is int else {slow})"
        return f"({x} {operator} {y} if {x}.__class__ is {right} else {slow})"

    def _ordering(self, node: Binary) -> str:
        left, right, operator = node.left, node.right, node.operator
        if self.dialect == "cesql":
            return f"({self.as_type(left, 'int')} {operator} {self.as_type(right, 'int')})"
        types = self.types.of(left), self.types.of(right)
        for wanted in ("time", "num"):
            if wanted in types or any(literal_form(part) == wanted for part in (left, right)):
                kind: Type = "time" if wanted == "time" else "num"
                return f"({self.as_type(left, kind)} {operator} {self.as_type(right, kind)})"
        for part, other, turned in ((right, left, operator), (left, right, _TURNED[operator])):
            if isinstance(part, Literal) and isinstance(part.value, str):
                return self._text_ordering(other, turned, part)
        return f"(order({self.checked(left)}, {self.checked(right)}, {self._site(node)}) {operator} 0)"

    def _text_ordering(self, node: Node, operator: str, text: Literal) -> str:
        constant = self.constant(text.value)
        if self._strict and self.types.of(node) == "bool":
            raise InvalidFilter(
                f"{cast.show(text.value)} is no number to compare true or false with", kind="cast", position=text.at
            )
        slow = f"order_text({self.text(node)}, {constant}, {self._site(node)}) {operator} 0"
        if isinstance(node, Attribute | Payload):
            name = self.text(node)
            return f"({name} {operator} {constant} if {name}.__class__ is str else {slow})"
        return f"({slow})"

    def _like(self, node: Like) -> str:
        value, negation = self.as_type(node.operand, "str"), "not " if node.negated else ""
        pieces = split_pattern(node.pattern)
        texts = [plain(piece) for piece in pieces]
        match texts:
            case [str(whole)]:
                return f"({value} {'!=' if node.negated else '=='} {self.constant(whole)})"
            case [str(start), ""]:
                return f"({negation}{value}.startswith({self.constant(start)}))"
            case ["", str(end)]:
                return f"({negation}{value}.endswith({self.constant(end)}))"
            case ["", str(part), ""]:
                return f"({self.constant(part)} {negation}in {value})"
        match_text = self.constant(matcher(node.pattern))
        if None in texts[1:-1]:
            return f"({negation}like({match_text}, {value}, {self._site(node)}))"
        return f"({negation}{match_text}({value}))"

    def _in(self, node: In) -> str:
        negation, operand = "not " if node.negated else "", node.operand
        known = self.types.of(operand)
        if not all(isinstance(item, Literal) for item in node.items):
            return self._in_values(node, negation)
        values = [item.value for item in node.items if isinstance(item, Literal)]
        if known != "any":
            for item in node.items:
                self.as_type(item, known)
        site = self._site(operand)
        slow = f"{negation}{self._operation('member')}({{}}, {self.constant(tuple(values))}, {site})"
        if isinstance(operand, Attribute | Payload):
            name, texts = self.text(operand), self._texts_of(values)
            fast = f"{name} {negation}in {self.constant(texts)} if {name}.__class__ is str else "
            numbers = self._numbers_of(values)
            if numbers and isinstance(operand, Payload):
                inside = f"{name} {negation}in {self.constant(numbers)}"
                fast += f"{inside} if {name}.__class__ is int or {name}.__class__ is float else "
            return f"({fast}{slow.format(self.checked(operand))})"
        return f"({slow.format(self.text(operand))})"

    def _texts_of(self, values: list[Any]) -> frozenset[str]:
        site = Site(0, "")
        return frozenset(cast.as_str(value, site) for value in values)

    def _numbers_of(self, values: list[Any]) -> frozenset[int | float] | None:
        site = Site(0, "")
        try:
            return frozenset(cast.as_num(value, site) for value in values)
        except EvaluationError:
            return None

    def _in_values(self, node: In, negation: str) -> str:
        """A list with more than literals: evaluated from left to right until one is equal."""
        value, same, site = self._temporary(), self._operation("same"), self._site(node.operand)
        values = [f"({value} := {self.checked(node.operand)})", *[value] * (len(node.items) - 1)]
        tests = [f"{same}({x}, {self.checked(item)}, {site})" for x, item in zip(values, node.items, strict=True)]
        return f"({negation}({' or '.join(tests)}))"

    def _in_array(self, node: InArray) -> str:
        negation = "not " if node.negated else ""
        operand, array = self.checked(node.operand), self._payload(node.array)
        return f"({negation}holds({operand}, {array}, {self._site(node.array)}))"

    def _call(self, node: Call) -> str:
        if node.name in self.types.special:
            return self._special_call(node)
        function = self.types.function(node)
        arguments = [self.as_type(argument, function.parameter(k)) for k, argument in enumerate(node.arguments)]
        if function.call.__name__ == "_itself":
            return arguments[0]
        name = self.constant(function.call)
        return f"{name}({', '.join([self._site(node), *arguments])})"

    def _special_call(self, node: Call) -> str:
        count = len(node.arguments)
        if node.name == "IF":
            if count != 3:
                raise InvalidFilter(f"IF takes 3 arguments, not {count}", kind="missingFunction", position=node.at)
            condition, yes, no = node.arguments
            return f"({self.checked(yes)} if {self.as_type(condition, 'bool')} else {self.checked(no)})"
        if count < 2:
            message = f"COALESCE takes 2 arguments or more, not {count}"
            raise InvalidFilter(message, kind="missingFunction", position=node.at)
        return self._coalesce(node)

    def _coalesce(self, node: Call) -> str:
        *tried, last = node.arguments
        text = ""
        for argument in tried:
            if not isinstance(argument, Attribute | Payload):
                message = "COALESCE tries attributes and fields of the payload; only the last argument may be more"
                raise InvalidFilter(message, position=argument.at)
            name = self.text(argument)
            text += f"{name} if {name} is not None and {name} is not MISSING else "
        return f"({text}{self.checked(last)})"


_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _height(node: Node) -> int:
    """Levels below and with the node."""
    height, level = 0, [node]
    while level:
        height += 1
        level = [child for parent in level for child in children(parent)]
    return height


def path_text(path: Path) -> str:
    """A path as it is written in an expression."""
    text = "data"
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier() and step.isascii():
            text += f".{step}"
        else:
            quoted = step.replace("'", "\\'")
            text += f"['{quoted}']"
    return text
