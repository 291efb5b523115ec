"""Expressions, compiled once and evaluated over whole batches.

Terms that AND joins are stages: each looks only at the events that the ones before it left, so
a payload is not decoded for an event that its attributes rule out already. A stage is one list
comprehension; the first error in it leads to a loop that counts errors one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from routing.batch import Batch, Decode, Plain, Value
from routing.errors import InvalidFilter, RoutingError
from routing.filters import equality
from routing.filters.ast import Attribute, Binary, In, Like, Literal, Logic, Node, Path, Payload, walk
from routing.filters.cast import ZEROS, EvaluationError, Type
from routing.filters.fold import fold
from routing.filters.generate import REQUIRED, Generator
from routing.filters.lexer import Dialect
from routing.filters.parser import parse
from routing.filters.runtime import code_of
from routing.shape import MISSING

Places: TypeAlias = Sequence[int]
_TELL: Final = {"str": "a string", "int": "an integer", "num": "a number", "time": "a time"}

_TEMPLATE: Final = """
def quick{name}(places{columns}):
    return [i for {row} in zip(places{columns}) if {test}]

def slow{name}(places{columns}):
    out = []
    keep = out.append
    errors = 0
    for {row} in zip(places{columns}):
        try:
            if {exact}:
                keep(i)
        except EvaluationError:
            errors += 1
    return out, errors
"""
_VALUES: Final = """
def one({arguments}):
    return {value}

def values({parameters}):
    out = []
    keep = out.append
    errors = 0
    for {row} in zip({parameters}):
        try:
            keep({value})
        except EvaluationError:
            errors += 1
            keep({zero})
    return out, errors
"""


def compile_cesql(text: str, *, strict: bool = True, boolean: bool = False) -> Expression:
    """An expression of CESQL v1. See `Expression` for what is raised, and for the options."""
    return Expression(text, "cesql", strict=strict, boolean=boolean)


def compile_expr(text: str, *, strict: bool = True, boolean: bool = False) -> Expression:
    """An expression of `expr`: CESQL with payloads, decimals, times, more functions."""
    return Expression(text, "expr", strict=strict, boolean=boolean)


class Expression:
    """One compiled expression; immutable, and free to share.

    Raises InvalidFilter with kind and position. `strict` refuses what is read otherwise than it
    looks, and what fails whatever an event holds; `boolean` what can never be true or false.
    `paths` and `attributes` are what it reads. `equality`: an attribute that must be one of some
    strings, for it to be true. `key`: equal keys give equal results.
    """

    def __init__(self, text: str, dialect: Dialect, *, strict: bool = True, boolean: bool = False) -> None:
        self.text, self.dialect, self._strict = text, dialect, strict
        root = fold(parse(text, dialect, strict=strict), dialect, strict)
        generator = Generator(dialect, strict)
        self._root = root
        self.result: Type = generator.types.of(root)
        if boolean:
            _check_boolean(root, self.result)
        nodes = walk(root)
        self.paths: frozenset[Path] = frozenset(node.path for node in nodes if isinstance(node, Payload))
        self.attributes = frozenset(node.name for node in nodes if isinstance(node, Attribute))
        self.equality = equality.equality(root)
        self.key = f"{dialect} {root!r}"
        terms = root.terms if isinstance(root, Logic) and root.operator == "AND" else (root,)
        _build_stages(generator, terms)
        self._stages = [_Stage(generator, number, term) for number, term in enumerate(terms)]
        self._values: _Values | None = None

    def __repr__(self) -> str:
        return f"<{self.dialect} {self.text!r}>"

    def places(self, batch: Batch, among: Places | None = None) -> tuple[list[int], int]:
        """The places (of `among`, or of all) whose value is true, in order, and how many had an error."""
        places: Places = range(len(batch)) if among is None else among
        whole, errors = among is None, 0
        for stage in self._stages:
            found, failed = stage.run(batch, places, whole)
            errors += failed
            whole = whole and len(found) == len(places)
            places = found
            if not places:
                break
        return list(places) if type(places) is not list else places, errors

    def column(self, batch: Batch) -> tuple[list[Any], int]:
        """The value of each event, the zero value of its type where there is an error, and how many had one."""
        places = range(len(batch))
        made = self._made()
        return made.values(places, *(read(batch, places, True) for read in made.reads))

    def _made(self) -> _Values:
        """Filters never ask for values, so what makes them is made when it is needed."""
        if self._values is None:
            self._values = _Values(self._root, self.dialect, self._strict)
        return self._values

    def one(
        self, attributes: dict[str, Value], data: bytes | None = None, decode: Decode | None = None
    ) -> tuple[Any, RoutingError | None]:
        """The value for one event and the error, if there is one. What a failed function gives all the same is
        the value if nothing was made of it."""
        batch, made = Batch((Plain(attributes, data),), decode=decode), self._made()
        try:
            return made.one(*(read(batch, (0,), True)[0] for read in made.reads)), None
        except EvaluationError as error:
            value = ZEROS[self.result]
            if error.value is not None and error.site.at == self._root.at:
                value = error.value  # type: ignore[assignment]  # a function's own result
            return value, RoutingError(error.message, kind=error.kind, position=error.site.at)


Read: TypeAlias = Callable[[Batch, Places, bool], Sequence[Any]]


class _Stage:
    """One term: which of some places it leaves."""

    __slots__ = ("_missing", "_quick", "_reads", "_slow")

    def __init__(self, generator: Generator, number: int, term: Node) -> None:
        self._quick, self._slow = generator.names.pop(f"quick{number}"), generator.names.pop(f"slow{number}")
        self._reads = _reads(generator, term)
        self._missing = _guards(generator, term)

    def run(self, batch: Batch, places: Places, whole: bool) -> tuple[list[int], int]:
        columns = [read(batch, places, whole) for read in self._reads]
        try:
            found = self._quick(places, *columns)
        except EvaluationError:
            return self._slow(places, *columns)  # type: ignore[no-any-return]
        return found, sum(columns[0].count(value) for value in self._missing)


def _check_boolean(root: Node, result: Type) -> None:
    if result == "any" and isinstance(root, Binary):
        result = "num"  # a sum: of numbers, or of a time and seconds
    if result not in ("bool", "any"):
        raise InvalidFilter(f"a filter is true or false, this is {_TELL[result]}", kind="cast", position=root.at)


class _Values:
    """The value of an expression, of one event (from its variables) and of many."""

    __slots__ = ("one", "reads", "values")

    def __init__(self, root: Node, dialect: Dialect, strict: bool) -> None:
        generator = Generator(dialect, strict)
        value, variables = generator.checked(root), generator.variables(root)
        source = _VALUES.format(
            arguments=", ".join(variables),
            parameters=", ".join(["places", *variables]),
            row=", ".join(["i", *variables]) if variables else "(i,)",
            value=value,
            zero=generator.constant(ZEROS[generator.types.of(root)]),
        )
        exec(code_of(generator.definitions() + source), generator.names)
        self.one: Callable[..., Any] = generator.names["one"]
        self.values: Callable[..., tuple[list[Any], int]] = generator.names["values"]
        self.reads = _reads(generator, root)


def _build_stages(generator: Generator, terms: Sequence[Node]) -> None:
    """The functions of the stages, into the generator's names."""
    parts = [_stage_text(generator, number, term, len(terms) == 1) for number, term in enumerate(terms)]
    exec(code_of(generator.definitions() + "".join(parts)), generator.names)


def _stage_text(generator: Generator, number: int, term: Node, alone: bool) -> str:
    if alone and generator.types.of(term) != "bool":
        exact = f"({generator.checked(term)}) is True"  # CESQL v1, 1.2: what is not a boolean does not pass
    else:
        exact = generator.as_type(term, "bool")
    variables = generator.variables(term)
    guards = [f"{variables[0]} is not {generator.constant(value)}" for value in _guards(generator, term)]
    return _TEMPLATE.format(
        name=number,
        columns="".join(f", {name}" for name in variables),
        row=", ".join(["i", *variables]) if variables else "(i,)",
        test=" and ".join([*guards, exact]),
        exact=exact,
    )


def _reads(generator: Generator, node: Node) -> list[Read]:
    """How the columns of a node's variables are had from a batch, in the variables' order."""
    attributes = {variable: name for name, variable in generator.attributes.items()}
    paths = {variable: path for path, variable in generator.paths.items()}
    return [
        _read_attribute(attributes[name]) if name in attributes else _read_path(paths[name])
        for name in generator.variables(node)
    ]


def _read_attribute(name: str) -> Read:
    def read(batch: Batch, places: Places, whole: bool) -> Sequence[Any]:
        column = batch.attribute(name)
        return column if whole else [column[place] for place in places]

    return read


def _read_path(path: Path) -> Read:
    def read(batch: Batch, places: Places, whole: bool) -> Sequence[Any]:
        return batch.field(path) if whole else batch.values(path, places)

    return read


def _guards(generator: Generator, term: Node) -> tuple[object, ...]:
    """What the one variable of a simple term is where it is missing: such events fail, without an exception for each.

    A term is simple if it compares one variable, once, with literals.
    """
    match term:
        case (
            Binary(left=Attribute() | Payload() as variable, right=Literal())
            | Binary(left=Literal(), right=Attribute() | Payload() as variable)
        ):
            pass
        case Like(operand=Attribute() | Payload() as variable):
            pass
        case In(operand=Attribute() | Payload() as variable, items=items) if all(isinstance(i, Literal) for i in items):
            pass
        case _:
            return ()
    if generator.types.of(term) != "bool":
        return ()
    if isinstance(variable, Attribute):
        return () if variable.name in REQUIRED else (None,)
    return (MISSING, None)
